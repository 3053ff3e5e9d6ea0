#ifndef MLEDGE_AGGREGATION_SECAGG_COST_ESTIMATE_H_
#define MLEDGE_AGGREGATION_SECAGG_COST_ESTIMATE_H_

#include <cstdint>

#include "mledge/aggregation/secagg/modular.h"
#include "mledge/aggregation/secagg/parameters.h"

// What a session will cost a device and the server, to plan with: arithmetic on
// the parameters and the sizes of the messages, not a measurement. Everybody
// shares, and as many as the parameters allow are lost right after, which is
// the server's worst case.

namespace mledge::secagg {

struct DeviceCost {
  int64_t bytes_sent = 0;  // leaf, share boxes, masked input, signature, shares
  int64_t bytes_received = 0;      // offer, directory with leaves, boxes, sets
  int64_t masked_input_bytes = 0;  // of bytes_sent
  int64_t key_agreements = 0;      // two a neighbor
  int64_t signatures_made = 0;
  int64_t signatures_verified = 0;
  int64_t keystream_bytes = 0;
};

struct ServerCost {
  int64_t bytes_received = 0;
  int64_t bytes_sent = 0;
  int64_t key_agreements = 0;  // of every lost device with its alive neighbors
  int64_t signatures_verified = 0;
  int64_t seeds_reconstructed = 0;
  int64_t keystream_bytes = 0;
};

struct SessionCost {
  DeviceCost device;
  ServerCost server;
};

// `length` coordinates of that modulus. Precondition: parameters that
// FindParameters gave, length ≥ 0.
SessionCost EstimateCost(const SecaggParameters& parameters, Modulus modulus,
                         int64_t length);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_COST_ESTIMATE_H_
