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
// contributions out of the same published (unrounded) results, and see by how
// much what the independent noise must then have been moves.
class RoundingPropertyTest : public ::testing::Test {
 protected:
  static constexpr int64_t kDimension = 6;
  static constexpr int kTrials = 300;

  struct Movement {
    // [round][coordinate], in units of z's grid: contributions, and the noise
    // without them less the noise with them.
    std::vector<std::vector<int64_t>> contributions;
    std::vector<std::vector<int64_t>> moved;
    double largest_norm = 1;  // of a contribution, on the sums' grid

    double Norm() const {
      double square = 0;
      for (const std::vector<int64_t>& row : moved) {
        for (int64_t value : row) square += std::pow(value, 2);
      }
      return std::sqrt(square);
    }
  };

  // Contributions of small integers in random rounds, the first in round 0, in
  // the first half of the coordinates; noise of a few units, so that sums of
  // products come close to zero and to halves.
  static Movement Move(const StrategyMatrix& strategy,
                       const ParticipationLimits& limits, int fraction_bits,
                       uint64_t seed) {
    TrainingRandom random({.task_seed = seed, .purpose = "rounding"});
    const NoiseFilter filter =
        *NoiseFilter::Create(strategy, limits.rounds, fraction_bits, 1 << 20);
    Vectors with(filter.vectors(), std::vector<int64_t>(kDimension));
    Vectors without = with;
    ParticipationRecord record;
    Movement movement;
    for (int64_t round = 0; round < limits.rounds; ++round) {
      std::vector<int64_t> contribution(kDimension);
      const auto joined = Participate(limits, record, round);
      if (joined.ok() && (round == 0 || random.UniformBelow(3) == 0)) {
        record = *joined;
        double square = 0;
        for (int64_t i = 0; i < kDimension / 2; ++i) {
          contribution[i] = static_cast<int64_t>(random.UniformBelow(5)) - 1;
          square += std::pow(contribution[i], 2);
          contribution[i] *= int64_t{1} << fraction_bits;
        }
        movement.largest_norm =
            std::max(movement.largest_norm, std::sqrt(square));
      }
      // With the device the noise is z and its result x; without it, the same
      // published value needs the result x + contribution, so noise of that
      // plus what the filter takes back.
      std::vector<int64_t> z(kDimension);
      for (int64_t& value : z) value = std::llround(3 * random.Normal());
      const std::vector<int64_t> x = Results(filter, round, z, &with);
      Vectors untouched = without;
      const std::vector<int64_t> taken_back =
          Results(filter, round, std::vector<int64_t>(kDimension), &untouched);
      std::vector<int64_t> needed(kDimension);
      std::vector<int64_t> moved(kDimension);
      for (int64_t i = 0; i < kDimension; ++i) {
        needed[i] = x[i] + contribution[i] - taken_back[i];
        moved[i] = needed[i] - z[i];
      }
      Results(filter, round, needed, &without);
      movement.contributions.push_back(contribution);
      movement.moved.push_back(moved);
    }
    return movement;
  }

  static double Allowed(const StrategyMatrix& strategy,
                        const ParticipationLimits& limits, int fraction_bits,
                        const Movement& movement) {
    return std::ldexp(
        movement.largest_norm *
            *CorrelatedSensitivity(strategy, limits,
                                   {.fraction_bits = fraction_bits,
                                    .dimension = kDimension,
                                    .l2_sensitivity = movement.largest_norm}),
        fraction_bits);
  }

  // Largest distance of the movement from C·contributions, any coordinate.
  static double Deviation(const std::vector<double>& c,
                          const Movement& movement) {
    double largest = 0;
    for (size_t t = 0; t < movement.moved.size(); ++t) {
      for (int64_t i = 0; i < kDimension; ++i) {
        double expected = 0;
        for (size_t j = 0; j <= t; ++j) {
          expected +=
              c[t - j] * static_cast<double>(movement.contributions[j][i]);
        }
        largest = std::max(
            largest,
            std::abs(static_cast<double>(movement.moved[t][i]) - expected));
      }
    }
    return largest;
  }

 private:
  using Vectors = std::vector<std::vector<int64_t>>;

  static std::vector<int64_t> Results(const NoiseFilter& filter, int64_t round,
                                      std::vector<int64_t> values,
                                      Vectors* state) {
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
      for (uint64_t trial = 0; trial < kTrials; ++trial) {
        const Movement movement = Move(strategy, kLimits, bits, seed + trial);
        EXPECT_LE(movement.Norm(), Allowed(strategy, kLimits, bits, movement))
            << DescribeStrategy(strategy) << ", bits " << bits;
      }
    }
  }
}

TEST_F(RoundingPropertyTest, UnderBandsNoiseMovesByExactlyTheProduct) {
  const uint64_t seed = TestSeed(22);
  const auto trace = TraceSeed(seed);
  for (int bits : {0, 3, 10}) {
    for (int64_t bands : {1, 2, 8, 64}) {
      const StrategyMatrix strategy = Bands(bands, bits);
      const std::vector<double> c =
          *Coefficients(std::get<BandedToeplitz>(strategy), kLimits.rounds);
      for (uint64_t trial = 0; trial < kTrials; ++trial) {
        EXPECT_EQ(Deviation(c, Move(strategy, kLimits, bits, seed + trial)), 0)
            << bands << " bands, bits " << bits;
      }
    }
  }
}

// δ of correlated_grid.h, less than 1.004 for these buffers; nothing at all in
// coordinates that no contribution touches, because states are the same there.
TEST_F(RoundingPropertyTest, UnderBuffersNoiseMovesByLittleMoreThanTheProduct) {
  const uint64_t seed = TestSeed(23);
  const auto trace = TraceSeed(seed);
  const std::vector<double> c =
      *Coefficients(std::get<BufferedToeplitz>(Buffers()), kLimits.rounds);
  double largest = 0;
  for (int bits : {0, 3, 10}) {
    for (uint64_t trial = 0; trial < kTrials; ++trial) {
      const Movement movement = Move(Buffers(), kLimits, bits, seed + trial);
      largest = std::max(largest, Deviation(c, movement));
      for (const std::vector<int64_t>& row : movement.moved) {
        for (int64_t i = kDimension / 2; i < kDimension; ++i) {
          EXPECT_EQ(row[i], 0);
        }
      }
    }
  }
  EXPECT_LE(largest, 1.004);
  // The bound is not idle.
  EXPECT_GE(largest, 0.9);
}

// On a grid as coarse as the sums', buffers do move noise by more than their
// sensitivity in real numbers, so what is added to it is needed.
TEST_F(RoundingPropertyTest, BuffersNeedMoreThanTheirSensitivity) {
  const ParticipationLimits once = {
      .rounds = 64, .participations = 1, .separation = 1};
  int above = 0;
  for (uint64_t trial = 0; trial < kTrials; ++trial) {
    const Movement movement = Move(Buffers(), once, 0, trial);
    if (movement.Norm() >
        *Sensitivity(Buffers(), once) * movement.largest_norm) {
      ++above;
    }
  }
  EXPECT_GT(above, 0);
}

// So that the first test is known to be able to fail: with the worst pattern
// and direction, bands and the tree reach their sensitivity exactly.
TEST_F(RoundingPropertyTest, OneParticipationReachesTheSensitivity) {
  const ParticipationLimits once = {
      .rounds = 64, .participations = 1, .separation = 1};
  const auto share = [&](const StrategyMatrix& strategy, int bits) {
    const Movement movement = Move(strategy, once, bits, 5);
    return movement.Norm() / Allowed(strategy, once, bits, movement);
  };
  EXPECT_NEAR(share(Bands(8, 10), 10), 1, 1e-9);
  EXPECT_NEAR(share(TreeAggregation{}, 0), 1, 1e-9);
  EXPECT_GT(share(Buffers(), 16), 0.99);
}

// By integration: a Gaussian of variance σ² − 8, rounded to y with probability
// proportional to exp(−(y − x)²/16), has the pmf of the discrete Gaussian of
// variance σ². The trapezoidal rule on smooth functions that vanish at the ends
// is exact to the last digits.
TEST(CorrelatedGridTest, ADiscreteGaussianIsARandomlyRoundedGaussian) {
  for (double sigma : {16.0, 20.5}) {
    const double variance = sigma * sigma - 8;
    double normalisation = 0;
    for (int y = -400; y <= 400; ++y) {
      normalisation += std::exp(-y * y / (2 * sigma * sigma));
    }
    for (int y : {0, 1, 7, 40, 100}) {
      constexpr double kStep = 1.0 / 16;
      double probability = 0;
      for (double x = -400; x <= 400; x += kStep) {
        double weights = 0;
        const double nearest = std::round(x);
        for (double z = nearest - 60; z <= nearest + 60; ++z) {
          weights += std::exp(-(z - x) * (z - x) / 16);
        }
        probability += kStep * std::exp(-x * x / (2 * variance)) /
                       std::sqrt(2 * M_PI * variance) *
                       std::exp(-(y - x) * (y - x) / 16) / weights;
      }
      EXPECT_NEAR(
          probability * normalisation / std::exp(-y * y / (2 * sigma * sigma)),
          1, 1e-11)
          << y;
    }
  }
}

TEST(NoiseFilterTest, RefusesIntegersThatMightNotFit) {
  EXPECT_THAT(NoiseFilter::Create(Bands(64, 30), 64, 30, int64_t{1} << 40),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("2^62")));
  EXPECT_THAT(NoiseFilter::Create(Buffers(), 64, 0, int64_t{1} << 52),
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
