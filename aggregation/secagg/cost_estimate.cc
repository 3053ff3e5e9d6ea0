#include "mledge/aggregation/secagg/cost_estimate.h"

#include <bit>
#include <cmath>

#include "mledge/aggregation/secagg/mask.h"
#include "mledge/aggregation/secagg/share_box.h"

namespace mledge::secagg {
namespace {

// Bytes as they travel, field headers included; see
// proto/mledge/v1/secure_aggregation.proto.
constexpr int64_t kCertificate = 600;  // a device's, ECDSA P-256, DER
constexpr int64_t kSignature = 72;     // ECDSA P-256, DER, at most
constexpr int64_t kHash = 34;
// Certificate, two public keys, commitment, base version, signature.
constexpr int64_t kLeaf = kCertificate + 2 * 35 + kHash + 3 + kSignature + 9;
// Hash, divider, versions of the sibling.
constexpr int64_t kPathStep = kHash + 14 + 8 + 2;
constexpr int64_t kOffer = 400;
constexpr int64_t kDirectory = 250;    // with the witness
constexpr int64_t kSession = 38;       // its hash and the message around it
constexpr int64_t kSetsWitness = 190;  // the registrar's statement over sets
// With the number of the member.
constexpr int64_t kBox = static_cast<int64_t>(kShareBoxSize) + 3;
constexpr int64_t kShare = static_cast<int64_t>(kShareValueSize) + 3;
constexpr int64_t kNeighborSignature = kSignature + 8;

}  // namespace

SessionCost EstimateCost(const SecaggParameters& parameters, Modulus modulus,
                         int64_t length) {
  const int64_t n = parameters.clients;
  const int64_t k = parameters.neighbors;
  const int64_t alive = parameters.least_alive();
  // In the full graph the device forms the root itself and needs no paths.
  const int64_t path =
      parameters.full_graph
          ? 0
          : kPathStep * std::bit_width(static_cast<uint64_t>(n - 1));
  const int64_t sets = kSession + 2 * ((n + 7) / 8 + 4) + kSetsWitness;
  const int64_t keystream = KeystreamSize(modulus, length);

  SessionCost cost;
  DeviceCost& device = cost.device;
  device.masked_input_bytes = modulus.PackedSize(length);
  device.bytes_sent = kLeaf + kSession + k * kBox + device.masked_input_bytes +
                      kSession + kSignature + kSession + k * kShare;
  device.bytes_received = kOffer + kDirectory + path + k * (kLeaf + path + 8) +
                          kSession + k * kBox + sets + kSession +
                          k * kNeighborSignature;
  device.key_agreements = 2 * k;
  device.signatures_made = 2;  // leaf, sets
  // Of each neighbor: certificate, leaf, sets; and of the registrar: directory,
  // version log, sets.
  device.signatures_verified = 3 * k + 3;
  device.keystream_bytes = (k + 1) * keystream;

  // Of each lost device's neighbors, on average as many alive as of all.
  const auto pairs = static_cast<int64_t>(std::llround(
      static_cast<double>(parameters.dropouts) * static_cast<double>(k) *
      static_cast<double>(alive) / static_cast<double>(n - 1)));
  ServerCost& server = cost.server;
  server.bytes_received =
      n * (kLeaf + kSession + k * kBox) +
      alive * (device.masked_input_bytes + 2 * kSession + kSignature) +
      alive * k * kShare;
  server.bytes_sent = n * device.bytes_received;
  server.key_agreements = pairs;
  server.signatures_verified = 2 * n + alive;
  server.seeds_reconstructed = n;
  server.keystream_bytes = (alive + pairs) * keystream;
  return cost;
}

}  // namespace mledge::secagg
