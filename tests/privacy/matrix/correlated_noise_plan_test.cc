#include "mledge/privacy/matrix/correlated_noise_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/privacy/matrix/correlated_grid.h"
#include "mledge/privacy/matrix/discrete_gaussian_sampler.h"
#include "mledge/privacy/matrix/optimize.h"
#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

CorrelatedNoiseRequest RequestOf(const StrategyMatrix& strategy) {
  return {.strategy = strategy,
          .limits = {.rounds = 256, .participations = 8, .separation = 32},
          .dimension = 1'000'000,
          .l2_sensitivity = 3000,
          .equivalent_noise_multiplier = 0.7};
}

std::vector<StrategyMatrix> Strategies() {
  const CorrelatedNoiseRequest request = RequestOf({});
  return {IndependentNoise(), TreeAggregation{},
          *OptimizeBands(request.limits, 8, ErrorMeasure::kRootMeanSquare),
          BandedToeplitz{*SquareRootCoefficients(256)},
          *OptimizeBuffers(request.limits, 4, ErrorMeasure::kRootMeanSquare)};
}

double MultiplierOf(const MatrixMechanismEvent& event) {
  return event.noise_multiplier / event.sensitivity;
}

TEST(PlanCorrelatedNoiseTest, GivesAtLeastTheNoiseAskedFor) {
  for (const StrategyMatrix& strategy : Strategies()) {
    for (double multiplier : {0.05, 0.7, 20.0}) {
      CorrelatedNoiseRequest request = RequestOf(strategy);
      request.equivalent_noise_multiplier = multiplier;
      const CorrelatedNoisePlan plan = *PlanCorrelatedNoise(request);
      EXPECT_GE(MultiplierOf(plan.event), multiplier * (1 - 1e-15));
      EXPECT_LE(MultiplierOf(plan.event), multiplier * (1 + 2e-7));
      EXPECT_EQ(plan.event.rounds, 256);
      EXPECT_EQ(plan.event.participations, 8);
      EXPECT_EQ(plan.event.separation, 32);
      EXPECT_THAT(CorrelatedNoise::Create([&] {
                    CorrelatedNoiseOptions small = plan.options;
                    small.dimension = 10;
                    return small;
                  }()),
                  IsOk());
    }
  }
}

TEST(PlanCorrelatedNoiseTest, KeepsTheCostOfRoundingWithinBounds) {
  for (const StrategyMatrix& strategy : Strategies()) {
    for (double cost : {1e-6, 1e-3, 0.1}) {
      CorrelatedNoiseRequest request = RequestOf(strategy);
      request.rounding_cost = cost;
      const CorrelatedNoisePlan plan = *PlanCorrelatedNoise(request);
      const double exact =
          0.7 * ErrorPerUnitNoise(strategy, request.limits)->root_mean_square;
      // On top, what 256 roundings to the sums' grid add.
      const double rounding = std::sqrt(128.5 / 12) / 3000;
      EXPECT_LE(plan.error.root_mean_square,
                std::hypot(exact * (1 + cost), rounding))
          << DescribeStrategy(strategy);
    }
  }
}

TEST(PlanCorrelatedNoiseTest, ChoosesTheCoarsestGridThatWillDo) {
  CorrelatedNoiseRequest request = RequestOf(Strategies()[4]);
  request.rounding_cost = 0.1;
  const int coarse = PlanCorrelatedNoise(request)->options.fraction_bits;
  request.rounding_cost = 1e-5;
  EXPECT_GT(PlanCorrelatedNoise(request)->options.fraction_bits, coarse);
  // Integers of the tree need nothing finer than the sums.
  EXPECT_EQ(
      PlanCorrelatedNoise(RequestOf(TreeAggregation{}))->options.fraction_bits,
      0);
}

// A calibration that ends in other last bits, on another machine, must not make
// saved states useless.
TEST(PlanCorrelatedNoiseTest, DoesNotDependOnTheMultipliersLastBits) {
  CorrelatedNoiseRequest request = RequestOf(Strategies()[4]);
  const CorrelatedNoiseOptions options = PlanCorrelatedNoise(request)->options;
  request.equivalent_noise_multiplier *= 1 + 1e-14;
  const CorrelatedNoiseOptions again = PlanCorrelatedNoise(request)->options;
  EXPECT_EQ(again.strategy, options.strategy);
  EXPECT_EQ(again.fraction_bits, options.fraction_bits);
  EXPECT_EQ(again.standard_deviation, options.standard_deviation);
}

TEST(PlanCorrelatedNoiseTest, RefusesEachBadFieldByName) {
  const auto check = [](const CorrelatedNoiseRequest& request,
                        const char* name) {
    EXPECT_THAT(PlanCorrelatedNoise(request),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(name)));
  };
  const CorrelatedNoiseRequest good = RequestOf(Strategies()[4]);
  CorrelatedNoiseRequest request = good;
  for (double bad : {0.0, -1.0, kNan, kInfinity, 1e10}) {
    request.equivalent_noise_multiplier = bad;
    check(request, "noise_multiplier");
  }
  request = good;
  for (double bad : {0.0, -1.0, kNan, kInfinity, 1e30}) {
    request.l2_sensitivity = bad;
    check(request, "l2_sensitivity");
  }
  request = good;
  for (double bad : {0.0, -1.0, kNan, kInfinity, 2.0}) {
    request.rounding_cost = bad;
    check(request, "rounding_cost");
  }
  request = good;
  request.dimension = 0;
  check(request, "dimension");
  request = good;
  request.limits.participations = 0;
  check(request, "participations");
  request = good;
  request.limits.separation = -3;
  check(request, "separation");
  request = good;
  request.limits.rounds = kMaximumRounds + 1;
  check(request, "rounds");
  request = good;
  request.strategy = BandedToeplitz{{1, kNan}};
  check(request, "coefficient 1");
  request = good;
  request.equivalent_noise_multiplier = 1e-9;
  request.l2_sensitivity = 0.001;
  check(request, "no grid");
}

TEST(CorrelatedNoiseEventTest, RefusesAnotherNumberOfRounds) {
  const CorrelatedNoiseRequest request = RequestOf(Strategies()[2]);
  const CorrelatedNoisePlan plan = *PlanCorrelatedNoise(request);
  ParticipationLimits limits = request.limits;
  EXPECT_THAT(CorrelatedNoiseEvent(plan.options, limits, 3000), IsOk());
  limits.rounds = 255;
  EXPECT_THAT(CorrelatedNoiseEvent(plan.options, limits, 3000),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("255")));
}

// More contributions than planned for are less private, and the event says so.
TEST(CorrelatedNoiseEventTest, GrowsWithParticipationsAndSensitivity) {
  const CorrelatedNoiseRequest request = RequestOf(Strategies()[4]);
  const CorrelatedNoisePlan plan = *PlanCorrelatedNoise(request);
  ParticipationLimits limits = request.limits;
  limits.separation = 16;
  limits.participations = 16;
  EXPECT_LT(MultiplierOf(*CorrelatedNoiseEvent(plan.options, limits, 3000)),
            0.7);
  EXPECT_LT(
      MultiplierOf(*CorrelatedNoiseEvent(plan.options, request.limits, 3001)),
      0.7);
}

// The whole way with the sampler of real fleets: 16 rounds of 20,000
// coordinates. The variance of the last prefix sum, estimated from N values, is
// off by more than 5.5·√(2/N) of itself in 4e-8 of the runs.
TEST(CorrelatedNoiseStatisticalTest, DrawsThePlannedNoiseFromSecretRandomness) {
  constexpr int64_t kDimension = 20'000;
  const uint64_t seed = TestSeed(51);
  const auto trace = TraceSeed(seed);
  for (const StrategyMatrix& strategy : Strategies()) {
    // On a grid that is fine for the noise, and on one where rounding shows.
    for (double l2_sensitivity : {3000.0, 2.0}) {
      CorrelatedNoiseRequest request = RequestOf(strategy);
      request.l2_sensitivity = l2_sensitivity;
      request.limits = {.rounds = 16, .participations = 2, .separation = 4};
      request.dimension = kDimension;
      const CorrelatedNoisePlan plan = *PlanCorrelatedNoise(request);
      TestSecretRandom random(seed);
      const NoiseSampler sampler =
          *DiscreteGaussianSampler(plan.options.standard_deviation, &random);
      const auto noise = *CorrelatedNoise::Create(plan.options);
      std::vector<int64_t> total(kDimension);
      double mean_square = 0;
      for (int64_t round = 0; round < 16; ++round) {
        ASSERT_THAT(noise->AddNoise(round, sampler, total), IsOk());
        double square = 0;
        for (int64_t value : total) {
          square += static_cast<double>(value) * static_cast<double>(value);
        }
        mean_square += square / kDimension / 16;
      }
      const double expected =
          plan.error.root_mean_square * request.l2_sensitivity;
      EXPECT_NEAR(mean_square / (expected * expected), 1,
                  5.5 * std::sqrt(2.0 / kDimension))
          << DescribeStrategy(strategy) << " " << l2_sensitivity;
    }
  }
}

}  // namespace
}  // namespace mledge
