#include "mledge/aggregation/secagg/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;

constexpr ThreatModel kHonest = ThreatModel::kSemiHonest;
constexpr ThreatModel kMalicious = ThreatModel::kSemiMalicious;

struct Vector {
  int64_t clients;
  double corrupt;
  double dropout;
  ThreatModel threat_model;
  int64_t neighbors;
  int64_t threshold;
};

// For σ = 40, η = 20.
void ExpectFound(LossChoice losses, const std::vector<Vector>& vectors) {
  for (const Vector& vector : vectors) {
    SCOPED_TRACE(::testing::Message()
                 << vector.clients << " " << vector.corrupt << " "
                 << vector.dropout << " " << ToString(vector.threat_model));
    const auto found = FindParameters({.clients = vector.clients,
                                       .corrupt_fraction = vector.corrupt,
                                       .dropout_fraction = vector.dropout,
                                       .sigma = 40,
                                       .eta = 20,
                                       .threat_model = vector.threat_model,
                                       .losses = losses});
    ASSERT_THAT(found, IsOk());
    EXPECT_EQ(found->neighbors, vector.neighbors);
    EXPECT_EQ(found->threshold, vector.threshold);
    EXPECT_FALSE(found->full_graph);
  }
}

TEST(FindParametersTest, GivesThePublishedVectors) {
  ExpectFound(LossChoice::kIndependent,
              {
                  {1000, .05, .05, kHonest, 30, 17},
                  {1000, .05, .05, kMalicious, 52, 37},
                  {10000, .05, .05, kHonest, 34, 20},
                  {10000, .05, .05, kMalicious, 62, 44},
                  {1000, .33, .05, kHonest, 78, 60},
                  {1000, .33, .05, kMalicious, 132, 109},
                  {1000, .05, .33, kHonest, 72, 24},
                  {1000, .05, .33, kMalicious, 398, 223},
                  {1000, .33, .33, kHonest, 286, 150},
                  {1'000'000, .05, .05, kHonest, 38, 22},
                  {1'000'000, .05, .05, kMalicious, 74, 52},
              });
}

// Rule 4 in an independent program (Python: exact fractions,
// no logarithm anywhere).
TEST(FindParametersTest, GivesTheVectorsOfLossesChosenByTheServer) {
  ExpectFound(LossChoice::kAdversarial,
              {
                  {1000, .05, .05, kMalicious, 54, 39},
                  {10000, .05, .05, kMalicious, 68, 49},
                  {1000, .33, .05, kMalicious, 150, 125},
                  {1000, .05, .33, kMalicious, 442, 252},
                  {100, .1, .1, kMalicious, 42, 32},
                  {300, .1, .1, kMalicious, 78, 56},
                  {1000, .1, .1, kMalicious, 106, 75},
                  {60, .1, .1, kMalicious, 26, 20},
              });
}

TEST(FindParametersTest, RefusesWhatNoThresholdProtects) {
  EXPECT_THAT(FindParameters({.clients = 1000,
                              .corrupt_fraction = .33,
                              .dropout_fraction = .33,
                              .eta = 20}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("2 · dropout fraction is 0.99")));
  EXPECT_THAT(FindParameters({.clients = 1000,
                              .corrupt_fraction = .5,
                              .dropout_fraction = .45,
                              .threat_model = kHonest}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("semi-honest")));
}

TEST(FindParametersTest, DefaultsOfAThousand) {
  const auto found = FindParameters({.clients = 1000});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(*found, (SecaggParameters{.clients = 1000,
                                      .neighbors = 124,
                                      .threshold = 86,
                                      .corrupt = 100,
                                      .dropouts = 100}));
  EXPECT_EQ(found->least_alive(), 900);
}

TEST(FindParametersTest, FullGraphOnRequest) {
  const auto found = FindParameters({.clients = 200,
                                     .corrupt_fraction = .05,
                                     .dropout_fraction = .4,
                                     .graph = GraphKind::kFull});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->neighbors, 199);
  EXPECT_EQ(found->threshold, 105);
  EXPECT_TRUE(found->full_graph);
}

TEST(FindParametersTest, FullGraphWhereNoHararyDegreeIsFeasible) {
  ParameterRequest request{
      .clients = 20, .corrupt_fraction = .9, .dropout_fraction = 0};
  const auto found = FindParameters(request);
  ASSERT_THAT(found, IsOk());
  EXPECT_TRUE(found->full_graph);
  EXPECT_EQ(found->neighbors, 19);
  EXPECT_EQ(found->corrupt, 18);
  request.graph = GraphKind::kHarary;
  EXPECT_THAT(FindParameters(request),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("the full graph is")));
}

TEST(FindParametersTest, NobodyIsCorruptBelowTen) {
  const auto found = FindParameters({.clients = 9});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->corrupt, 0);
}

TEST(FindParametersTest, ThirtyDevicesOfWhichNineMayDrop) {
  const auto found = FindParameters({.clients = 30, .dropout_fraction = .3});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->dropouts, 9);
  EXPECT_GE(2 * found->threshold - found->neighbors, found->corrupt);
}

TEST(FindParametersTest, SaysWhichLimitBroke) {
  const auto breaks = [](std::string_view limit) {
    return StatusIs(absl::StatusCode::kFailedPrecondition,
                    HasSubstr(std::string(limit) + " limit breaks"));
  };
  EXPECT_THAT(FindParameters({.clients = 4,
                              .corrupt_fraction = .75,
                              .dropout_fraction = 0,
                              .graph = GraphKind::kHarary}),
              breaks("connectivity"));
  EXPECT_THAT(
      FindParameters(
          {.clients = 4, .corrupt_fraction = .75, .dropout_fraction = 0}),
      breaks("privacy"));
  EXPECT_THAT(
      FindParameters(
          {.clients = 10, .corrupt_fraction = .5, .dropout_fraction = .2}),
      breaks("correctness"));
}

TEST(FindParametersTest, RefusesTooFewClients) {
  EXPECT_THAT(FindParameters({.clients = 2}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(FindParameters({.clients = -5}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(FindParametersTest, RefusesTooManyClients) {
  EXPECT_THAT(FindParameters({.clients = kMostClients + 1}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(FindParametersTest, RefusesFractionsThatAreNone) {
  for (const double bad : {-0.1, 1.0, 7.0, std::nan(""),
                           std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(FindParameters({.clients = 100, .corrupt_fraction = bad}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("corrupt fraction")));
    EXPECT_THAT(FindParameters({.clients = 100, .dropout_fraction = bad}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("dropout fraction")));
  }
}

TEST(FindParametersTest, RefusesSigmaAndEtaOutOfRange) {
  for (const int bad : {0, -1, 129}) {
    EXPECT_THAT(FindParameters({.clients = 100, .sigma = bad}),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(FindParameters({.clients = 100, .eta = bad}),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(FindParametersTest, AnswersWithinASecond) {
  const auto start = std::chrono::steady_clock::now();
  for (const int64_t clients : {100, 1000, 10'000, 100'000, 1'000'000}) {
    for (const double dropout : {.05, .1, .3, .4}) {
      FindParameters({.clients = clients, .dropout_fraction = dropout})
          .IgnoreError();
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

// What was found satisfies the rules as the device checks them, and no smaller
// degree does.
TEST(FindParametersTest, DeviceAcceptsWhatTheCoordinatorFinds) {
  for (const int64_t clients : {20, 33, 100, 250, 1000}) {
    for (const ThreatModel threat_model : {kHonest, kMalicious}) {
      SCOPED_TRACE(::testing::Message() << clients << ToString(threat_model));
      const auto found =
          FindParameters({.clients = clients, .threat_model = threat_model});
      ASSERT_THAT(found, IsOk());
      const SecaggPolicy policy{.threat_model = threat_model,
                                .least_alive = 10};
      EXPECT_THAT(CheckParameters(clients, found->neighbors, found->threshold,
                                  found->least_alive(), policy),
                  IsOk());
      EXPECT_THAT(
          CheckParameters(clients, found->neighbors, found->threshold - 1,
                          found->least_alive(), policy),
          StatusIs(absl::StatusCode::kFailedPrecondition,
                   HasSubstr("threshold")));
    }
  }
}

TEST(CheckParametersTest, RefusesTheThresholdThatSplitViewsBreak) {
  EXPECT_THAT(CheckParameters(1000, 114, 58, 900, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("at least 80")));
  EXPECT_THAT(
      CheckParameters(1000, 114, 58, 900, {.losses = LossChoice::kIndependent}),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("at least 78")));
}

TEST(CheckParametersTest, RefusesAThresholdThatCutsBreak) {
  EXPECT_THAT(CheckParameters(1000, 124, 85, 900, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("at least 86")));
  EXPECT_THAT(CheckParameters(1000, 124, 86, 900, {}), IsOk());
  // However few may be lost: members whose boxes are kept back go on and are
  // silent, and count as alive.
  EXPECT_THAT(CheckParameters(1000, 124, 85, 1000, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  // The full graph cannot be cut.
  EXPECT_THAT(
      CheckParameters(
          125, 124,
          LeastPrivateThreshold(125, 12, 124, 40, ThreatModel::kSemiMalicious),
          120, {}),
      IsOk());
}

// One arc by counting, with numbers that are exact in 64 bits.
TEST(CheckParametersTest, CutsAreCountedAsTheRuleSays) {
  // n = 40, A = 4, k = 10: all four corrupt members are in an arc of five with
  // C(4, 4) · C(36, 1) / C(40, 5), and five never.
  const long double arc = std::log2(36.0L / 658008.0L);
  const long double cut = std::log2(40.0L * 40 / 2) + 2 * arc;  // about −18.7
  const int sigma = static_cast<int>(std::floor(-cut)) - 1;
  EXPECT_EQ(LeastUncutThreshold(40, 4, 10, sigma), 5 + 4);
  EXPECT_EQ(LeastUncutThreshold(40, 4, 10, sigma + 1), 5 + 5);
}

TEST(CheckParametersTest, SemiHonestSetsNeedTheDevicesConsent) {
  const auto found = FindParameters({.clients = 1000, .threat_model = kHonest});
  ASSERT_THAT(found, IsOk());
  EXPECT_THAT(
      CheckParameters(1000, found->neighbors, found->threshold, 900, {}),
      StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(CheckParameters(1000, found->neighbors, found->threshold, 900,
                              {.threat_model = kHonest}),
              IsOk());
}

TEST(CheckParametersTest, RefusesADisconnectedGraph) {
  EXPECT_THAT(CheckParameters(1000, 4, 4, 900, {.threat_model = kHonest}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("connectivity")));
}

TEST(CheckParametersTest, TakesLossesFromTheLeastAlive) {
  // The same degree holds for 100 losses and not for 800.
  EXPECT_THAT(CheckParameters(1000, 124, 86, 900, {}), IsOk());
  EXPECT_THAT(CheckParameters(1000, 124, 86, 200, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("connectivity")));
}

TEST(CheckParametersTest, RefusesASmallCohort) {
  EXPECT_THAT(CheckParameters(10, 9, 9, 10, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("at least 20")));
}

TEST(CheckParametersTest, RefusesASmallLeastAlive) {
  EXPECT_THAT(CheckParameters(40, 39, 39, 19, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("at least 20")));
}

TEST(CheckParametersTest, RefusesNumbersThatAreNoSession) {
  const auto is_invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(CheckParameters(2, 1, 1, 2, {}), is_invalid);
  EXPECT_THAT(CheckParameters(100, 100, 50, 90, {}), is_invalid);
  EXPECT_THAT(CheckParameters(100, 31, 20, 90, {}), is_invalid);
  EXPECT_THAT(CheckParameters(100, 0, 0, 90, {}), is_invalid);
  EXPECT_THAT(CheckParameters(100, -2, 1, 90, {}), is_invalid);
  EXPECT_THAT(CheckParameters(100, 30, 31, 90, {}), is_invalid);
  EXPECT_THAT(CheckParameters(100, 30, 0, 90, {}), is_invalid);
  EXPECT_THAT(CheckParameters(100, 30, 20, 101, {}), is_invalid);
  EXPECT_THAT(CheckParameters(100, 30, 20, 0, {}), is_invalid);
  EXPECT_THAT(CheckParameters(std::numeric_limits<int64_t>::max(), 2, 2, 2, {}),
              is_invalid);
  EXPECT_THAT(CheckParameters(100, 30, 25, 90, {.corrupt_fraction = 1.5}),
              is_invalid);
}

TEST(ParametersTest, FractionsJustBelowAnIntegerCountAsIt) {
  EXPECT_EQ(CountOfFraction(0.29, 100), 29);
  EXPECT_EQ(CountOfFraction(0.1, 9), 0);
  EXPECT_EQ(CountOfFraction(0.33, 1'000'000), 330'000);
}

TEST(ParametersTest, SigmaGrowsWithTheSessionsOfADay) {
  EXPECT_EQ(SigmaForSessions(40, 1), 40);
  EXPECT_EQ(SigmaForSessions(40, 2), 41);
  EXPECT_EQ(SigmaForSessions(40, 96), 47);
}

// Exact: binomial coefficients up to C(40, 20) are exact in 64 bits.
uint64_t Choose(int64_t n, int64_t k) {
  if (k < 0 || k > n) return 0;
  uint64_t result = 1;
  for (int64_t i = 0; i < k; ++i) {
    result =
        result * static_cast<uint64_t>(n - i) / static_cast<uint64_t>(i + 1);
  }
  return result;
}

TEST(HypergeometricTest, TailsAreThoseOfCounting) {
  for (const int64_t population : {3, 8, 17, 40}) {
    for (int64_t marked = 0; marked <= population; ++marked) {
      for (int64_t drawn = 1; drawn <= population; drawn += 2) {
        for (int64_t x = 0; x <= drawn; ++x) {
          uint64_t above = 0;
          uint64_t below = 0;
          for (int64_t i = 0; i <= drawn; ++i) {
            const uint64_t ways =
                Choose(marked, i) * Choose(population - marked, drawn - i);
            if (i > x) above += ways;
            if (i < x) below += ways;
          }
          const auto all = static_cast<long double>(Choose(population, drawn));
          EXPECT_NEAR(
              std::exp2(Log2HypergeometricAbove(population, marked, drawn, x)),
              above / all, 1e-12L);
          EXPECT_NEAR(
              std::exp2(Log2HypergeometricBelow(population, marked, drawn, x)),
              below / all, 1e-12L);
          if (above > 0) {
            EXPECT_NEAR(Log2HypergeometricAbove(population, marked, drawn, x),
                        std::log2(above / all), 1e-9L);
          }
        }
      }
    }
  }
}

// B!(n−k)! / ((B−k)! n!) = C(B, k) / (C(n, k)) · 1 … both count falling
// factorials: B(B−1)…(B−k+1) / (n(n−1)…(n−k+1)).
TEST(ConnectivityTest, IsTheProductOfFallingFactors) {
  for (const auto& [n, b, k] : {std::tuple{20, 9, 4}, {50, 30, 8}, {9, 5, 4}}) {
    long double product = static_cast<long double>(n) * (n - k - 1) / 2;
    for (int i = 0; i < k; ++i) {
      product *= static_cast<long double>(b - i) / (n - i);
    }
    EXPECT_NEAR(Log2Disconnected(n, b, k), std::log2(product), 1e-12L);
  }
  EXPECT_TRUE(std::isinf(Log2Disconnected(20, 3, 4)));
  EXPECT_TRUE(std::isinf(Log2Disconnected(20, 19, 19)));
}

// Noise inside the sum is sized for honest members that stay: a coordinator
// that offers a smaller session, or names fewer alive, gets no sum.
TEST(CheckSessionTest, DemandsTheMembersThatTheNoiseIsSizedFor) {
  SecaggPolicy policy;
  policy.least_honest = 720;
  policy.noise_corrupt_fraction = 0.1;
  const auto found = FindParameters({.clients = 900});
  ASSERT_THAT(found, IsOk());
  EXPECT_THAT(CheckParameters(900, found->neighbors, found->threshold,
                              found->least_alive(), policy),
              IsOk());
  EXPECT_THAT(CheckParameters(900, found->neighbors, found->threshold,
                              found->least_alive() - 1, policy),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("sized for 720 honest")));
  EXPECT_THAT(CheckParameters(20, 19, 15, 20, policy),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("sized for 720 honest")));
}

}  // namespace
}  // namespace mledge::secagg
