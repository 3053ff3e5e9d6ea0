#include "mledge/aggregation/secagg/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <vector>

#include "mledge/aggregation/secagg/keyed_stream.h"
#include "mledge/aggregation/secagg/parameters.h"
#include "mledge/core/sha256.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

using ::testing::ElementsAre;

TEST(NeighborGraphTest, IsSymmetricRegularAndConnected) {
  for (const auto& [clients, degree] :
       {std::pair{10, 4}, {11, 10}, {300, 30}, {37, 2}}) {
    const auto graph =
        NeighborGraph::Harary(clients, degree, Sha256Of("a seed"));
    ASSERT_THAT(graph, IsOk());
    std::set<uint32_t> reached = {0};
    std::vector<uint32_t> queue = {0};
    for (uint32_t a = 0; a < static_cast<uint32_t>(clients); ++a) {
      const std::vector<uint32_t> neighbors = graph->Neighbors(a);
      EXPECT_EQ(static_cast<int>(neighbors.size()), degree);
      EXPECT_TRUE(std::is_sorted(neighbors.begin(), neighbors.end()));
      EXPECT_EQ(std::set(neighbors.begin(), neighbors.end()).size(),
                neighbors.size());
      for (uint32_t b = 0; b < static_cast<uint32_t>(clients); ++b) {
        const bool listed =
            std::binary_search(neighbors.begin(), neighbors.end(), b);
        EXPECT_EQ(graph->AreNeighbors(a, b), listed);
        EXPECT_EQ(graph->AreNeighbors(b, a), listed);
      }
    }
    while (!queue.empty()) {
      const uint32_t a = queue.back();
      queue.pop_back();
      for (const uint32_t b : graph->Neighbors(a)) {
        if (reached.insert(b).second) queue.push_back(b);
      }
    }
    EXPECT_EQ(static_cast<int>(reached.size()), clients);
  }
}

TEST(NeighborGraphTest, FullGraphHasEverybodyElse) {
  const auto graph = NeighborGraph::Full(5);
  ASSERT_THAT(graph, IsOk());
  EXPECT_THAT(graph->Neighbors(2), ElementsAre(0, 1, 3, 4));
  EXPECT_TRUE(graph->AreNeighbors(0, 4));
  EXPECT_FALSE(graph->AreNeighbors(4, 4));
  EXPECT_FALSE(graph->AreNeighbors(4, 5));
  EXPECT_EQ(graph->degree(), 4);
}

TEST(NeighborGraphTest, SessionOfAllOthersIsFull) {
  EXPECT_TRUE(NeighborGraph::ForSession(10, 9, Digest{})->full());
  EXPECT_FALSE(NeighborGraph::ForSession(10, 8, Digest{})->full());
  EXPECT_THAT(NeighborGraph::ForSession(10, 10, Digest{}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(NeighborGraphTest, DependsOnTheSeed) {
  const auto a = NeighborGraph::Harary(100, 4, Sha256Of("a"));
  const auto again = NeighborGraph::Harary(100, 4, Sha256Of("a"));
  const auto b = NeighborGraph::Harary(100, 4, Sha256Of("b"));
  EXPECT_EQ(a->Neighbors(0), again->Neighbors(0));
  EXPECT_NE(a->Neighbors(0), b->Neighbors(0));
}

// All ends must draw the same graph: a change here is a change of the protocol.
TEST(NeighborGraphTest, OrderIsPinned) {
  const auto graph = NeighborGraph::Harary(20, 4, Sha256Of("pinned"));
  EXPECT_THAT(graph->Neighbors(0), ElementsAre(2, 5, 6, 10));
  EXPECT_THAT(graph->Neighbors(19), ElementsAre(4, 7, 11, 18));
}

TEST(NeighborGraphTest, RefusesBadDegrees) {
  for (const int64_t bad : {-2, 0, 1, 3, 10, 12}) {
    EXPECT_THAT(NeighborGraph::Harary(10, bad, Digest{}),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(NeighborGraphTest, RefusesBadSizes) {
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, int64_t{2},
                            kMostClients + 1, int64_t{1} << 40}) {
    EXPECT_THAT(NeighborGraph::Full(bad),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(NeighborGraph::Harary(bad, 2, Digest{}),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

// Each of the 12 circles of 5 members (4! / 2) should come up equally often:
// 6000 draws, chi-squared with 11 degrees of freedom; above 50 by chance with
// probability 6e-7, and the seeds are fixed.
TEST(NeighborGraphTest, OrdersAreUniform) {
  std::map<std::vector<uint32_t>, int> seen;
  constexpr int kDraws = 6000;
  for (int draw = 0; draw < kDraws; ++draw) {
    const auto graph =
        NeighborGraph::Harary(5, 2, Sha256Of("draw " + std::to_string(draw)));
    std::vector<uint32_t> edges;
    for (uint32_t a = 0; a < 5; ++a) {
      for (const uint32_t b : graph->Neighbors(a)) edges.push_back(b);
    }
    ++seen[edges];
  }
  ASSERT_EQ(seen.size(), 12U);
  double chi_squared = 0;
  for (const auto& [edges, count] : seen) {
    chi_squared += (count - 500.0) * (count - 500.0) / 500.0;
  }
  EXPECT_LT(chi_squared, 50);
}

TEST(KeyedStreamTest, BoundsAreKept) {
  KeyedStream stream(Sha256Of("bounds").bytes, "test");
  std::vector<int> seen(3);
  for (int i = 0; i < 3000; ++i) ++seen.at(stream.UniformBelow(3));
  for (const int count : seen) EXPECT_NEAR(count, 1000, 150);
  EXPECT_EQ(stream.UniformBelow(1), 0U);
}

TEST(KeyedStreamTest, LabelsGiveOtherStreams) {
  KeyedStream a(Sha256Of("x").bytes, "a");
  KeyedStream b(Sha256Of("x").bytes, "b");
  EXPECT_NE(a.NextU32(), b.NextU32());
}

TEST(KeyedStreamTest, PiecesAreTheWhole) {
  KeyedStream one(Sha256Of("x").bytes, "a");
  KeyedStream other(Sha256Of("x").bytes, "a");
  std::vector<uint8_t> whole(10'000);
  one.Fill(whole);
  std::vector<uint8_t> pieces(10'000);
  for (size_t at = 0; at < pieces.size(); at += 77) {
    other.Fill(std::span(pieces).subspan(
        at, std::min<size_t>(77, pieces.size() - at)));
  }
  EXPECT_EQ(whole, pieces);
}

TEST(NeighborGraphTest, TheCircleHoldsEverybodyBesideItsNeighbors) {
  const NeighborGraph harary =
      *NeighborGraph::Harary(101, 8, Sha256Of("circle"));
  const NeighborGraph full = *NeighborGraph::Full(9);
  for (const NeighborGraph& graph : {harary, full}) {
    const std::vector<uint32_t> circle = graph.Circle();
    std::vector<uint32_t> sorted = circle;
    std::sort(sorted.begin(), sorted.end());
    ASSERT_EQ(sorted.size(), static_cast<size_t>(graph.clients()));
    for (uint32_t i = 0; i < sorted.size(); ++i) EXPECT_EQ(sorted[i], i);
    for (size_t i = 1; i < circle.size(); ++i) {
      const std::vector<uint32_t> one = graph.Neighbors(circle[i - 1]);
      const std::vector<uint32_t> next = graph.Neighbors(circle[i]);
      std::vector<uint32_t> left;
      std::set_difference(one.begin(), one.end(), next.begin(), next.end(),
                          std::back_inserter(left));
      EXPECT_LE(left.size(), 2u);
    }
  }
}

}  // namespace
}  // namespace mledge::secagg
