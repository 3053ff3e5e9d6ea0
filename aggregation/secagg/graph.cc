#include "mledge/aggregation/secagg/graph.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "mledge/aggregation/secagg/keyed_stream.h"
#include "mledge/aggregation/secagg/parameters.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

absl::Status CheckClients(int64_t clients) {
  if (clients >= kFewestClients && clients <= kMostClients) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(StrCat("a session's graph takes ",
                                           kFewestClients, " to ", kMostClients,
                                           " members, not ", clients));
}

}  // namespace

absl::StatusOr<NeighborGraph> NeighborGraph::Harary(int64_t clients,
                                                    int64_t neighbors,
                                                    const Digest& seed) {
  MLEDGE_RETURN_IF_ERROR(CheckClients(clients));
  if (neighbors < 2 || neighbors > clients - 1 || neighbors % 2 != 0) {
    return absl::InvalidArgumentError(
        StrCat("each member of a Harary graph has an even number of neighbors, "
               "2 to ",
               clients - 1, " here, not ", neighbors));
  }
  NeighborGraph graph(clients, neighbors);
  graph.order_.resize(static_cast<size_t>(clients));
  std::iota(graph.order_.begin(), graph.order_.end(), 0U);
  KeyedStream stream(seed.bytes, "graph order");
  for (size_t i = graph.order_.size(); i > 1; --i) {
    std::swap(graph.order_[i - 1],
              graph.order_[stream.UniformBelow(static_cast<uint32_t>(i))]);
  }
  graph.place_of_.resize(graph.order_.size());
  for (size_t place = 0; place < graph.order_.size(); ++place) {
    graph.place_of_[graph.order_[place]] = static_cast<uint32_t>(place);
  }
  return graph;
}

absl::StatusOr<NeighborGraph> NeighborGraph::Full(int64_t clients) {
  MLEDGE_RETURN_IF_ERROR(CheckClients(clients));
  return NeighborGraph(clients, clients - 1);
}

absl::StatusOr<NeighborGraph> NeighborGraph::ForSession(int64_t clients,
                                                        int64_t neighbors,
                                                        const Digest& seed) {
  if (neighbors == clients - 1) return Full(clients);
  return Harary(clients, neighbors, seed);
}

std::vector<uint32_t> NeighborGraph::Neighbors(uint32_t index) const {
  std::vector<uint32_t> neighbors;
  neighbors.reserve(static_cast<size_t>(degree_));
  if (full()) {
    for (uint32_t other = 0; other < clients_; ++other) {
      if (other != index) neighbors.push_back(other);
    }
    return neighbors;
  }
  const int64_t place = place_of_[index];
  for (int64_t step = 1; step <= degree_ / 2; ++step) {
    neighbors.push_back(order_[(place + step) % clients_]);
    neighbors.push_back(order_[(place - step + clients_) % clients_]);
  }
  std::sort(neighbors.begin(), neighbors.end());
  return neighbors;
}

std::vector<uint32_t> NeighborGraph::Circle() const {
  if (!full()) return order_;
  std::vector<uint32_t> members(static_cast<size_t>(clients_));
  std::iota(members.begin(), members.end(), 0);
  return members;
}

bool NeighborGraph::AreNeighbors(uint32_t a, uint32_t b) const {
  if (a == b || a >= clients_ || b >= clients_) return false;
  if (full()) return true;
  const int64_t apart = std::abs(int64_t{place_of_[a]} - int64_t{place_of_[b]});
  return std::min(apart, clients_ - apart) <= degree_ / 2;
}

}  // namespace mledge::secagg
