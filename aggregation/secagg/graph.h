#ifndef MLEDGE_AGGREGATION_SECAGG_GRAPH_H_
#define MLEDGE_AGGREGATION_SECAGG_GRAPH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/core/sha256.h"

// Who shares masks and shares with whom. Members are the indices 0 … n−1 of the
// directory's leaves. The seed is public: H(the registrar's signature over the
// directory), so that nobody who picks members picks neighbours. A value;
// const access from several threads is safe.

namespace mledge::secagg {

class NeighborGraph {
 public:
  // The members stand on a circle in an order drawn from `seed`, without bias
  // (Fisher–Yates over an AES-128-CTR stream, rejecting what would favour some
  // orders); each is a neighbour of the k/2 before and the k/2 behind.
  // INVALID_ARGUMENT: n < 3 or above kMostClients, k odd, < 2 or > n − 1.
  static absl::StatusOr<NeighborGraph> Harary(int64_t clients,
                                              int64_t neighbors,
                                              const Digest& seed);
  // k = n − 1; needs no seed. INVALID_ARGUMENT: n as above.
  static absl::StatusOr<NeighborGraph> Full(int64_t clients);
  // Full where neighbors is clients − 1, else Harary: what the members of one
  // session call with the numbers of their directory.
  static absl::StatusOr<NeighborGraph> ForSession(int64_t clients,
                                                  int64_t neighbors,
                                                  const Digest& seed);

  int64_t clients() const { return clients_; }
  int64_t degree() const { return degree_; }
  bool full() const { return order_.empty(); }

  // Ascending, without `index` itself. Precondition: 0 ≤ index < clients().
  std::vector<uint32_t> Neighbors(uint32_t index) const;
  // All members, so that the neighbourhoods of one and the next differ by two
  // at most.
  std::vector<uint32_t> Circle() const;
  // False for a member and itself, and for indices that are none.
  bool AreNeighbors(uint32_t a, uint32_t b) const;

 private:
  NeighborGraph(int64_t clients, int64_t degree)
      : clients_(clients), degree_(degree) {}

  int64_t clients_;
  int64_t degree_;
  std::vector<uint32_t> order_;     // who stands at a place; empty: full
  std::vector<uint32_t> place_of_;  // the inverse
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_GRAPH_H_
