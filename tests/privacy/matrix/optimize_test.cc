#include "mledge/privacy/matrix/optimize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "mledge/privacy/matrix/correlated_grid.h"
#include "mledge/privacy/matrix/internal/lbfgs.h"
#include "mledge/privacy/matrix/strategy_matrix.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr ErrorMeasure kMeasures[] = {ErrorMeasure::kMaximum,
                                      ErrorMeasure::kRootMeanSquare};
constexpr ParticipationLimits kOnce = {
    .rounds = 1024, .participations = 1, .separation = 1};
constexpr ParticipationLimits kEight = {
    .rounds = 256, .participations = 8, .separation = 32};
constexpr ParticipationLimits kSix = {
    .rounds = 2000, .participations = 6, .separation = 342};

double ErrorOf(const StrategyMatrix& strategy,
               const ParticipationLimits& limits, ErrorMeasure measure) {
  const PrefixSumError error = *ErrorPerUnitNoise(strategy, limits);
  return measure == ErrorMeasure::kMaximum ? error.maximum
                                           : error.root_mean_square;
}

double SquareRootError(int64_t bands, const ParticipationLimits& limits,
                       ErrorMeasure measure) {
  return ErrorOf(BandedToeplitz{*SquareRootCoefficients(bands)}, limits,
                 measure);
}

TEST(MinimizeTest, FindsTheBottomOfACurvedValley) {
  // Rosenbrock's function, with its minimum 0 at (1, 1).
  const auto function = [](std::span<const double> x,
                           std::span<double> gradient) {
    const double a = 1 - x[0];
    const double b = x[1] - x[0] * x[0];
    gradient[0] = -2 * a - 400 * x[0] * b;
    gradient[1] = 200 * b;
    return a * a + 100 * b * b;
  };
  const matrix_internal::Minimum minimum =
      matrix_internal::Minimize(function, {-1.2, 1});
  EXPECT_NEAR(minimum.x[0], 1, 1e-6);
  EXPECT_NEAR(minimum.x[1], 1, 1e-6);
}

TEST(MinimizeTest, StaysWhereTheFunctionIsDefined) {
  const auto function = [](std::span<const double> x,
                           std::span<double> gradient) {
    if (x[0] <= 0) return std::numeric_limits<double>::infinity();
    gradient[0] = 1 - 1 / x[0];
    return x[0] - std::log(x[0]);
  };
  EXPECT_NEAR(matrix_internal::Minimize(function, {1e-3}).x[0], 1, 1e-6);
  EXPECT_NEAR(matrix_internal::Minimize(function, {1e3}).x[0], 1, 1e-6);
}

TEST(OptimizeBandsTest, MatchesTheReferenceFigure) {
  const auto measure = ErrorMeasure::kRootMeanSquare;
  const BandedToeplitz bands = *OptimizeBands(kEight, 8, measure);
  EXPECT_NEAR(ErrorOf(bands, kEight, measure), 12.86, 0.005);
}

TEST(OptimizeBandsTest, IsNeverWorseThanTheSquareRootOrFewerBands) {
  for (const ErrorMeasure measure : kMeasures) {
    double before = std::numeric_limits<double>::infinity();
    for (int64_t bands : {1, 2, 5, 16, 32, 64}) {
      const BandedToeplitz found = *OptimizeBands(kEight, bands, measure);
      const double error = ErrorOf(found, kEight, measure);
      EXPECT_LE(error, SquareRootError(bands, kEight, measure) * (1 + 1e-12));
      EXPECT_LE(error, before * (1 + 1e-5)) << bands;
      before = error;
    }
  }
}

// For the maximum error under one participation the square root is the best of
// all Toeplitz matrices (Dvijotham et al. 2024, arXiv 2404.16706).
TEST(OptimizeBandsTest, CannotBeatTheSquareRootWhereThatIsOptimal) {
  const ParticipationLimits limits = {128, 1, 1};
  const BandedToeplitz found =
      *OptimizeBands(limits, 128, ErrorMeasure::kMaximum);
  EXPECT_NEAR(ErrorOf(found, limits, ErrorMeasure::kMaximum) /
                  SquareRootError(128, limits, ErrorMeasure::kMaximum),
              1, 1e-9);
}

TEST(OptimizeBandsTest, IsAMinimum) {
  for (const ErrorMeasure measure : kMeasures) {
    const BandedToeplitz found = *OptimizeBands(kEight, 8, measure);
    const double error = ErrorOf(found, kEight, measure);
    for (size_t i = 1; i < 8; ++i) {
      for (double factor : {0.98, 1.02}) {
        BandedToeplitz moved = found;
        moved.coefficients[i] *= factor;
        if (!ValidateCoefficients(moved.coefficients).ok()) continue;
        EXPECT_GE(ErrorOf(moved, kEight, measure), error * (1 - 1e-9))
            << i << " " << factor;
      }
    }
  }
}

TEST(OptimizeBuffersTest, ThreeBuffersComeWithinOnePercentOfTheSquareRoot) {
  const auto measure = ErrorMeasure::kMaximum;
  const BufferedToeplitz three = *OptimizeBuffers(kOnce, 3, measure);
  EXPECT_LE(ErrorOf(three, kOnce, measure),
            1.01 * SquareRootError(1024, kOnce, measure));
  const BufferedToeplitz five = *OptimizeBuffers(kOnce, 5, measure);
  EXPECT_LE(ErrorOf(five, kOnce, measure), ErrorOf(three, kOnce, measure));
}

TEST(OptimizeBuffersTest, MoreBuffersAreNeverWorse) {
  for (const ParticipationLimits& limits : {kOnce, kEight, kSix}) {
    for (const ErrorMeasure measure : kMeasures) {
      double before = ErrorOf(IndependentNoise(), limits, measure);
      SCOPED_TRACE(limits.rounds);
      for (int64_t buffers = 1; buffers <= 4; ++buffers) {
        const BufferedToeplitz found =
            *OptimizeBuffers(limits, buffers, measure);
        EXPECT_LE(static_cast<int64_t>(found.decays.size()), buffers);
        const double error = ErrorOf(found, limits, measure);
        EXPECT_LE(error, before * (1 + 1e-9)) << buffers;
        before = error;
      }
    }
  }
}

// Six participations in 2000 rounds, as in published runs on language models:
// four buffers come within a few per cent of the best band of 342.
TEST(OptimizeBuffersTest, NearlyReachBandsUnderSeveralParticipations) {
  const auto measure = ErrorMeasure::kRootMeanSquare;
  const double buffers =
      ErrorOf(*OptimizeBuffers(kSix, 4, measure), kSix, measure);
  const double bands =
      ErrorOf(*OptimizeBands(kSix, 342, measure), kSix, measure);
  EXPECT_LE(buffers, 1.05 * bands);
  EXPECT_LE(buffers, 0.9 * SquareRootError(2000, kSix, measure));
}

TEST(OptimizeBuffersTest, FindsWhatIntegersCanCompute) {
  const auto measure = ErrorMeasure::kRootMeanSquare;
  for (const ParticipationLimits& limits :
       {kOnce, kEight, kSix, ParticipationLimits{1, 1, 1},
        ParticipationLimits{2, 2, 1}, ParticipationLimits{50, 50, 1}}) {
    const BufferedToeplitz found = *OptimizeBuffers(limits, 4, measure);
    const absl::StatusOr<StrategyMatrix> rounded =
        RoundStrategyToGrid(found, 16);
    ASSERT_THAT(rounded, IsOk());
    EXPECT_NEAR(
        ErrorOf(*rounded, limits, measure) / ErrorOf(found, limits, measure), 1,
        1e-5);
  }
}

TEST(OptimizeTest, RefusesBadSizesAndLimitsByName) {
  const auto measure = ErrorMeasure::kMaximum;
  for (int64_t bad : {int64_t{0}, int64_t{-1}, int64_t{257},
                      std::numeric_limits<int64_t>::max()}) {
    EXPECT_THAT(OptimizeBands(kEight, bad, measure),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("bands")));
    EXPECT_THAT(OptimizeBuffers(kEight, bad, measure),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("buffers")));
  }
  EXPECT_THAT(OptimizeBands({kMaximumRounds, 1, 1}, 100, measure),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("at most 8 ")));
  EXPECT_THAT(OptimizeBuffers({kMaximumRounds, 1, 1}, 2, measure),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("at most 1 ")));
  EXPECT_THAT(
      OptimizeBands({10, 0, 1}, 1, measure),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("participations")));
  EXPECT_THAT(OptimizeBuffers({10, 1, 0}, 1, measure),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("separation")));
}

}  // namespace
}  // namespace mledge
