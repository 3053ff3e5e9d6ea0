#include "mledge/privacy/matrix/correlated_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/privacy/matrix/internal/noise_filter.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using matrix_internal::NoiseFilter;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr CorrelatedGrid kGrid = {
    .fraction_bits = 10, .dimension = 1000, .l2_sensitivity = 100};
constexpr ParticipationLimits kLimits = {
    .rounds = 64, .participations = 4, .separation = 8};

StrategyMatrix Bands(int64_t bands, int fraction_bits) {
  return *RoundStrategyToGrid(BandedToeplitz{*SquareRootCoefficients(bands)},
                              fraction_bits);
}

StrategyMatrix Buffers() {
  return *RoundStrategyToGrid(
      BufferedToeplitz{{0.3, 0.8, 0.97}, {0.25, 0.15, 0.08}}, 0);
}

TEST(RoundStrategyToGridTest, RoundsBandsAndDropsZeros) {
  const StrategyMatrix rounded =
      *RoundStrategyToGrid(BandedToeplitz{{1, 0.5, 0.3, 0.1, 0.1}}, 2);
  EXPECT_THAT(std::get<BandedToeplitz>(rounded).coefficients,
              ElementsAre(1.0, 0.5, 0.25));
}

TEST(RoundStrategyToGridTest, ChangesNothingTwice) {
  for (const StrategyMatrix& strategy :
       {Bands(20, 10), Buffers(), StrategyMatrix(TreeAggregation{})}) {
    EXPECT_THAT(RoundStrategyToGrid(strategy, 10), IsOkAndHolds(strategy));
  }
}

TEST(RoundStrategyToGridTest, RefusesBuffersThatVanish) {
  EXPECT_THAT(RoundStrategyToGrid(BufferedToeplitz{{0.5}, {1e-10}}, 0),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("weight")));
  EXPECT_THAT(RoundStrategyToGrid(BufferedToeplitz{{1e-10}, {0.5}}, 0),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("decay")));
}

TEST(CorrelatedGridTest, RefusesEachBadFieldByName) {
  const auto check = [](CorrelatedGrid grid, const char* name) {
    EXPECT_THAT(CorrelatedSensitivity(Bands(4, 0), kLimits, grid),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(name)));
  };
  for (int bits : {-1, 31, std::numeric_limits<int>::max()}) {
    check({bits, 10, 1}, "fraction_bits");
  }
  for (int64_t dimension :
       {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    check({0, dimension, 1}, "dimension");
  }
  for (double sensitivity : {0.0, -1.0, kNan, kInfinity, 1e300}) {
    check({0, 10, sensitivity}, "l2_sensitivity");
  }
  for (double deviation : {0.0, -20.0, 15.9, kNan, kInfinity, 1e13}) {
    EXPECT_THAT(
        CorrelatedNoiseMultiplier(Bands(4, 10), kLimits, kGrid, deviation),
        StatusIs(StatusCode::kInvalidArgument,
                 HasSubstr("standard_deviation")));
  }
  for (double multiplier : {0.0, -1.0, kNan}) {
    EXPECT_THAT(
        CorrelatedStandardDeviation(Bands(4, 10), kLimits, kGrid, multiplier),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("noise_multiplier")));
  }
  for (double multiplier : {1e-9, 1e12, kInfinity}) {
    EXPECT_THAT(
        CorrelatedStandardDeviation(Bands(4, 10), kLimits, kGrid, multiplier),
        StatusIs(StatusCode::kInvalidArgument,
                 HasSubstr("standard_deviation")));
  }
}

TEST(CorrelatedGridTest, RefusesStrategiesThatAreNotOnTheGrid) {
  const BandedToeplitz off = {*SquareRootCoefficients(20)};
  EXPECT_THAT(
      CorrelatedSensitivity(off, kLimits, kGrid),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("RoundStrategyToGrid")));
  EXPECT_THAT(
      NoiseFilter::Create(off, 64, 10, 1000),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("RoundStrategyToGrid")));
}

TEST(CorrelatedGridTest, BandsAndTreeCostNothingForRounding) {
  EXPECT_EQ(*CorrelatedSensitivity(Bands(8, 10), kLimits, kGrid),
            *Sensitivity(Bands(8, 10), kLimits));
  EXPECT_EQ(*CorrelatedSensitivity(TreeAggregation{}, kLimits, kGrid),
            *Sensitivity(TreeAggregation{}, kLimits));
}

TEST(CorrelatedGridTest, RoundingOfBuffersVanishesOnFinerGrids) {
  const double exact = *Sensitivity(Buffers(), kLimits);
  double before = kInfinity;
  for (int bits = 0; bits <= 24; bits += 4) {
    CorrelatedGrid grid = kGrid;
    grid.fraction_bits = bits;
    const double sensitivity = *CorrelatedSensitivity(Buffers(), kLimits, grid);
    EXPECT_GT(sensitivity, exact);
    EXPECT_LT(sensitivity, before);
    before = sensitivity;
  }
  EXPECT_LT(before, exact * (1 + 1e-6));
}

TEST(CorrelatedGridTest, StandardDeviationAndMultiplierAreInverse) {
  for (const StrategyMatrix& strategy :
       {Bands(8, 10), Buffers(), StrategyMatrix(TreeAggregation{})}) {
    for (double multiplier = 0.01; multiplier < 100; multiplier *= 1.9) {
      const double deviation =
          *CorrelatedStandardDeviation(strategy, kLimits, kGrid, multiplier);
      const double back =
          *CorrelatedNoiseMultiplier(strategy, kLimits, kGrid, deviation);
      EXPECT_GE(back, multiplier);
      EXPECT_LE(back, multiplier * (1 + 1e-12));
    }
  }
}

// The statement on which every claim rests, tried: take a device's
// contributions out of the same published (unrounded) results; what the
// independent noise must then have been moves by no more than the sensitivity.
class RoundingPropertyTest : public ::testing::Test {
 protected:
  // Largest movement over random contributions, relative to what is allowed.
  static double Movement(const StrategyMatrix& strategy,
                         const ParticipationLimits& limits, int fraction_bits,
                         uint64_t seed) {
    constexpr int64_t kDimension = 6;
    TrainingRandom random({.task_seed = seed, .purpose = "rounding"});
    const NoiseFilter filter =
        *NoiseFilter::Create(strategy, limits.rounds, fraction_bits, 1 << 20);
    double largest_square = 1;
    double moved = 0;
    std::vector<std::vector<int64_t>> with(filter.vectors(),
                                           std::vector<int64_t>(kDimension));
    auto without = with;
    int64_t participations = 0;
    int64_t last = -limits.separation;
    for (int64_t round = 0; round < limits.rounds; ++round) {
      std::vector<int64_t> contribution(kDimension);
      if (participations < limits.participations &&
          round >= last + limits.separation &&
          (round == 0 || random.UniformBelow(3) == 0)) {
        ++participations;
        last = round;
        double square = 0;
        for (int64_t& value : contribution) {
          value = static_cast<int64_t>(random.UniformBelow(9)) - 2;
          square += static_cast<double>(value * value);
        }
        largest_square = std::max(largest_square, square);
      }
      // In the world with the device the noise is z and the result x; in the
      // world without, the same published value needs noise z' with result
      // x' = x + 2^f·contribution.
      std::vector<int64_t> z(kDimension);
      for (int64_t& value : z) {
        value = std::llround(40000 * random.Normal());
      }
      const std::vector<int64_t> x = Results(filter, round, z, &with);
      // The filter subtracts what it takes back: x' = z' − taken'.
      auto state = without;
      const std::vector<int64_t> taken =
          Results(filter, round, std::vector<int64_t>(kDimension), &state);
      std::vector<int64_t> moved_z(kDimension);
      for (int64_t i = 0; i < kDimension; ++i) {
        const int64_t wanted =
            x[i] + contribution[i] * (int64_t{1} << fraction_bits);
        moved_z[i] = wanted - taken[i];
        moved += std::pow(static_cast<double>(moved_z[i] - z[i]), 2);
      }
      Results(filter, round, moved_z, &without);
    }
    const double allowed =
        *CorrelatedSensitivity(strategy, limits,
                               {.fraction_bits = fraction_bits,
                                .dimension = kDimension,
                                .l2_sensitivity = std::sqrt(largest_square)});
    return std::sqrt(moved) /
           std::ldexp(allowed * std::sqrt(largest_square), fraction_bits);
  }

 private:
  static std::vector<int64_t> Results(
      const NoiseFilter& filter, int64_t round, std::vector<int64_t> values,
      std::vector<std::vector<int64_t>>* state) {
    std::vector<int64_t*> vectors;
    for (std::vector<int64_t>& vector : *state) {
      vectors.push_back(vector.data());
    }
    filter.Apply(round, vectors, values);
    return values;
  }
};

TEST_F(RoundingPropertyTest, NoiseMovesByNoMoreThanTheSensitivity) {
  const uint64_t seed = TestSeed(21);
  const auto trace = TraceSeed(seed);
  for (int bits : {0, 3, 10}) {
    for (const StrategyMatrix& strategy :
         {Bands(8, bits), Bands(64, bits), Buffers(), IndependentNoise(),
          StrategyMatrix(TreeAggregation{})}) {
      for (uint64_t trial = 0; trial < 200; ++trial) {
        EXPECT_LE(Movement(strategy, kLimits, bits, seed + trial), 1)
            << DescribeStrategy(strategy) << ", bits " << bits;
      }
    }
  }
}

// So that the test above is known to be able to fail: with the worst pattern
// and direction, bands and the tree reach their sensitivity exactly.
TEST_F(RoundingPropertyTest, OneParticipationReachesTheSensitivity) {
  const ParticipationLimits once = {
      .rounds = 64, .participations = 1, .separation = 1};
  EXPECT_NEAR(Movement(Bands(8, 10), once, 10, 5), 1, 1e-9);
  EXPECT_NEAR(Movement(TreeAggregation{}, once, 0, 5), 1, 1e-9);
  EXPECT_GT(Movement(Buffers(), once, 16, 5), 0.99);
}

TEST(NoiseFilterTest, RefusesIntegersThatMightNotFit) {
  EXPECT_THAT(NoiseFilter::Create(Bands(64, 30), 64, 30, int64_t{1} << 40),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("2^62")));
  EXPECT_THAT(NoiseFilter::Create(Buffers(), 64, 0, int64_t{1} << 45),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("2^62")));
}

TEST(RoundHalfUpTest, CommutesWithAddingIntegers) {
  for (int64_t value = -70; value <= 70; ++value) {
    for (int64_t shift : {-1000, -1, 0, 1, 77}) {
      EXPECT_EQ(matrix_internal::RoundHalfUp(value + shift * 16, 4),
                matrix_internal::RoundHalfUp(value, 4) + shift);
    }
    EXPECT_EQ(matrix_internal::RoundHalfUp(value, 4),
              static_cast<int64_t>(
                  std::floor(static_cast<double>(value) / 16 + 0.5)));
    EXPECT_EQ(matrix_internal::RoundHalfUp(value, 0), value);
  }
}

}  // namespace
}  // namespace mledge
