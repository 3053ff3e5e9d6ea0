#include "mledge/privacy/matrix/strategy_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

BandedToeplitz SquareRoot(int64_t bands) {
  return BandedToeplitz{*SquareRootCoefficients(bands)};
}

constexpr ParticipationLimits kOnce = {
    .rounds = 1024, .participations = 1, .separation = 1};
constexpr ParticipationLimits kEight = {
    .rounds = 256, .participations = 8, .separation = 32};

// Figures of the literature's strategies at one participation in 1024 rounds.
TEST(ErrorPerUnitNoiseTest, MatchesReferenceFiguresForOneParticipation) {
  EXPECT_NEAR(ErrorPerUnitNoise(IndependentNoise(), kOnce)->maximum, 32.0,
              1e-9);
  EXPECT_NEAR(ErrorPerUnitNoise(TreeAggregation{}, kOnce)->maximum, 10.49,
              0.005);
  EXPECT_NEAR(ErrorPerUnitNoise(SquareRoot(1024), kOnce)->maximum, 3.27, 0.005);
}

TEST(ErrorPerUnitNoiseTest, MatchesReferenceFiguresForEightParticipations) {
  EXPECT_NEAR(ErrorPerUnitNoise(IndependentNoise(), kEight)->root_mean_square,
              32.1, 0.05);
  EXPECT_NEAR(ErrorPerUnitNoise(SquareRoot(256), kEight)->root_mean_square,
              11.64, 0.005);
  EXPECT_NEAR(ErrorPerUnitNoise(SquareRoot(64), kEight)->root_mean_square, 9.36,
              0.005);
  EXPECT_NEAR(ErrorPerUnitNoise(SquareRoot(8), kEight)->root_mean_square, 13.89,
              0.005);
}

TEST(ErrorPerUnitNoiseTest, OfTheTreeJumpsWithItsHeight) {
  // 7 = 111b: three nodes, three levels; 8 rounds need a fourth level.
  EXPECT_NEAR(ErrorPerUnitNoise(TreeAggregation{}, {7, 1, 1})->maximum, 3,
              1e-12);
  EXPECT_NEAR(ErrorPerUnitNoise(TreeAggregation{}, {8, 1, 1})->maximum,
              std::sqrt(12.0), 1e-12);
}

// RDP of order a of the tree is a·height/(2z²); that of one Gaussian mechanism
// of multiplier m is a/(2m²).
TEST(EquivalentNoiseMultiplierTest, GivesTheTreesRenyiDivergence) {
  for (int64_t rounds : {7, 8, 1023, 1024}) {
    const double multiplier = *EquivalentNoiseMultiplier(
        TreeAggregation{}, {rounds, 1, 1}, /*noise_multiplier=*/2.5);
    const double height = std::ceil(std::log2(rounds + 1.0));
    EXPECT_NEAR(1 / (2 * multiplier * multiplier), height / (2 * 2.5 * 2.5),
                1e-12);
  }
}

TEST(EquivalentNoiseMultiplierTest, RoundsDown) {
  for (double z = 0.1; z < 30; z *= 1.37) {
    const double sensitivity = *Sensitivity(SquareRoot(8), kEight);
    EXPECT_LT(*EquivalentNoiseMultiplier(SquareRoot(8), kEight, z),
              z / sensitivity);
  }
}

TEST(EquivalentNoiseMultiplierTest, RefusesBadNoiseByName) {
  for (double bad : {0.0, -1.0, kNan, kInfinity, -kInfinity, 1.1e9}) {
    EXPECT_THAT(
        EquivalentNoiseMultiplier(IndependentNoise(), kOnce, bad),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("noise_multiplier")));
  }
}

TEST(StrategyMatrixTest, RefusesBadLimitsAndMatricesForEachKind) {
  const BufferedToeplitz buffered = {{0.9}, {0.5}};
  for (const StrategyMatrix& strategy :
       {StrategyMatrix(TreeAggregation{}), IndependentNoise(),
        StrategyMatrix(buffered)}) {
    EXPECT_THAT(Sensitivity(strategy, {0, 1, 1}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("rounds")));
    EXPECT_THAT(ErrorPerUnitNoise(strategy, {kMaximumRounds + 1, 1, 1}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("rounds")));
    EXPECT_THAT(VectorsOfMemory(strategy, -1),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("rounds")));
    EXPECT_THAT(ValidateStrategy(strategy), IsOk());
  }
  EXPECT_THAT(ValidateStrategy(BandedToeplitz{{1, 2}}),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(ValidateStrategy(BufferedToeplitz{{2}, {1}}),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(StrategyMatrixTest, SaysWhatItKeepsInMemory) {
  EXPECT_THAT(VectorsOfMemory(IndependentNoise(), 100), IsOkAndHolds(0));
  EXPECT_THAT(VectorsOfMemory(SquareRoot(8), 100), IsOkAndHolds(7));
  EXPECT_THAT(VectorsOfMemory(SquareRoot(8), 3), IsOkAndHolds(2));
  EXPECT_THAT(VectorsOfMemory(BufferedToeplitz{{0.9, 0.5}, {0.3, 0.2}}, 2000),
              IsOkAndHolds(2));
  EXPECT_THAT(VectorsOfMemory(TreeAggregation{}, 1023), IsOkAndHolds(9));
  EXPECT_THAT(VectorsOfMemory(TreeAggregation{}, 1024), IsOkAndHolds(10));
}

TEST(StrategyMatrixTest, DescribesItself) {
  EXPECT_EQ(DescribeStrategy(TreeAggregation{}), "tree aggregation");
  EXPECT_EQ(DescribeStrategy(IndependentNoise()), "independent noise");
  EXPECT_EQ(DescribeStrategy(SquareRoot(8)), "8 bands");
  EXPECT_EQ(DescribeStrategy(BufferedToeplitz{{0.9, 0.5}, {0.3, 0.2}}),
            "2 buffers");
}

}  // namespace
}  // namespace mledge
