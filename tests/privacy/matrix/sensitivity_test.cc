#include "mledge/privacy/matrix/sensitivity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/privacy/matrix/toeplitz.h"
#include "mledge/privacy/matrix/tree.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

using Matrix = std::vector<std::vector<double>>;  // rows

// The largest norm of a sum of columns over every pattern of participations,
// tried one by one.
double BruteForce(const Matrix& matrix, const ParticipationLimits& limits) {
  double largest = 0;
  std::vector<double> sum(matrix.size());
  const std::function<void(int64_t, int64_t)> extend = [&](int64_t first,
                                                           int64_t left) {
    double square = 0;
    for (double value : sum) square += value * value;
    largest = std::max(largest, square);
    if (left == 0) return;
    for (int64_t column = first; column < limits.rounds; ++column) {
      for (size_t row = 0; row < matrix.size(); ++row) {
        sum[row] += matrix[row][column];
      }
      extend(column + limits.separation, left - 1);
      for (size_t row = 0; row < matrix.size(); ++row) {
        sum[row] -= matrix[row][column];
      }
    }
  };
  extend(0, limits.participations);
  return std::sqrt(largest);
}

Matrix ToeplitzMatrix(const std::vector<double>& c, int64_t rounds) {
  Matrix matrix(rounds, std::vector<double>(rounds));
  for (int64_t i = 0; i < rounds; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      if (i - j < static_cast<int64_t>(c.size())) matrix[i][j] = c[i - j];
    }
  }
  return matrix;
}

// One row for each node that some prefix sum uses: the blocks of 2^l rounds
// that begin at an even multiple of 2^l.
Matrix TreeMatrix(int64_t rounds) {
  Matrix matrix;
  for (int64_t width = 1; width <= rounds; width *= 2) {
    for (int64_t begin = 0; begin + width <= rounds; begin += 2 * width) {
      std::vector<double> row(rounds);
      std::fill(row.begin() + begin, row.begin() + begin + width, 1.0);
      matrix.push_back(row);
    }
  }
  return matrix;
}

TEST(ToeplitzSensitivityTest, EqualsTheWorstOfAllPatterns) {
  const uint64_t seed = TestSeed(11);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "sensitivity"});
  for (int trial = 0; trial < 300; ++trial) {
    const ParticipationLimits limits = {
        .rounds = 1 + static_cast<int64_t>(random.UniformBelow(12)),
        .participations = 1 + static_cast<int64_t>(random.UniformBelow(5)),
        .separation = 1 + static_cast<int64_t>(random.UniformBelow(5))};
    std::vector<double> c = {1};
    while (c.size() < random.UniformBelow(12) + 1) {
      // Plateaus and zeros as well.
      const uint64_t kind = random.UniformBelow(4);
      c.push_back(c.back() * (kind == 0   ? 1
                              : kind == 1 ? 0
                                          : random.UniformDouble()));
    }
    const double expected =
        BruteForce(ToeplitzMatrix(c, limits.rounds), limits);
    const absl::StatusOr<double> sensitivity = ToeplitzSensitivity(c, limits);
    ASSERT_THAT(sensitivity, IsOk());
    EXPECT_GE(*sensitivity, expected) << trial;
    EXPECT_LE(*sensitivity, expected * (1 + 1e-9)) << trial;
  }
}

TEST(ToeplitzSensitivityTest, OfOneParticipationIsTheNormOfTheFirstColumn) {
  EXPECT_NEAR(
      *ToeplitzSensitivity(std::vector<double>{1, 0.5, 0.25}, {100, 1, 1}),
      std::sqrt(1.3125), 1e-12);
  EXPECT_NEAR(
      *ToeplitzSensitivity(std::vector<double>{1, 0.5, 0.25}, {2, 1, 1}),
      std::sqrt(1.25), 1e-12);
}

TEST(ToeplitzSensitivityTest, OfIndependentNoiseIsTheRootOfParticipations) {
  EXPECT_NEAR(*ToeplitzSensitivity(std::vector<double>{1}, {2000, 6, 342}),
              std::sqrt(6.0), 1e-11);
}

TEST(ToeplitzSensitivityTest, BandsNoWiderThanTheSeparationDoNotOverlap) {
  const std::vector<double> c = *SquareRootCoefficients(32);
  double square = 0;
  for (double value : c) square += value * value;
  EXPECT_NEAR(*ToeplitzSensitivity(c, {256, 8, 32}), std::sqrt(8 * square),
              1e-11);
}

TEST(ToeplitzSensitivityTest, MatchesTheFormulaOnLongSchedules) {
  const std::vector<double> c = *SquareRootCoefficients(20000);
  const ParticipationLimits limits = {20000, 37, 113};
  long double square = 0;
  for (int64_t t = 0; t < limits.rounds; ++t) {
    long double sum = 0;
    for (int64_t i = 0; i < 37 && i * 113 <= t; ++i) sum += c[t - i * 113];
    square += sum * sum;
  }
  const double expected = static_cast<double>(std::sqrt(square));
  EXPECT_GE(*ToeplitzSensitivity(c, limits), expected);
  EXPECT_LE(*ToeplitzSensitivity(c, limits), expected * (1 + 1e-9));
}

TEST(ToeplitzSensitivityTest, NeverFallsWithMoreParticipationsOrRounds) {
  const std::vector<double> c = *SquareRootCoefficients(200);
  double before = 0;
  for (int64_t k = 1; k <= 12; ++k) {
    const double sensitivity = *ToeplitzSensitivity(c, {200, k, 17});
    EXPECT_GE(sensitivity, before);
    EXPECT_GE(*ToeplitzSensitivity(c, {201, k, 17}), sensitivity);
    EXPECT_LE(*ToeplitzSensitivity(c, {200, k, 18}), sensitivity);
    before = sensitivity;
  }
}

TEST(ToeplitzSensitivityTest, RefusesOtherShapesAndLimitsByName) {
  const ParticipationLimits limits = {10, 1, 1};
  EXPECT_THAT(
      ToeplitzSensitivity(std::vector<double>{1, -0.5}, limits),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("not negative")));
  EXPECT_THAT(
      ToeplitzSensitivity(std::vector<double>{1, 0.2, 0.3}, limits),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("do not increase")));
  EXPECT_THAT(ToeplitzSensitivity({}, limits),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(
      ToeplitzSensitivity(std::vector<double>{1}, {10, 0, 1}),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("participations 0")));
}

// Why increasing coefficients are refused: the first column is not the worst
// there, so the formula would be too small.
TEST(ToeplitzSensitivityTest, ItsFormulaWouldBeWrongForIncreasingCoefficients) {
  const std::vector<double> c = {1, 0, 0, 2};
  const ParticipationLimits limits = {4, 2, 1};
  const Matrix matrix = ToeplitzMatrix(c, 4);
  double formula = 0;
  for (const std::vector<double>& row : matrix) {
    formula += (row[0] + row[1]) * (row[0] + row[1]);
  }
  EXPECT_LT(std::sqrt(formula), BruteForce(matrix, limits));
}

TEST(TreeTest, HeightJumpsAtPowersOfTwo) {
  EXPECT_THAT(TreeHeight(1), IsOkAndHolds(1));
  EXPECT_THAT(TreeHeight(7), IsOkAndHolds(3));
  EXPECT_THAT(TreeHeight(8), IsOkAndHolds(4));
  EXPECT_THAT(TreeHeight(1023), IsOkAndHolds(10));
  EXPECT_THAT(TreeHeight(1024), IsOkAndHolds(11));
  for (int64_t bad : {int64_t{0}, int64_t{-1}, kMaximumRounds + 1}) {
    EXPECT_THAT(TreeHeight(bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("rounds")));
  }
}

TEST(TreeTest, SensitivityToOneParticipationIsTheRootOfTheHeight) {
  for (int64_t rounds = 1; rounds <= 40; ++rounds) {
    const ParticipationLimits limits = {rounds, 1, 1};
    const double expected = BruteForce(TreeMatrix(rounds), limits);
    EXPECT_DOUBLE_EQ(*TreeSensitivity(limits), expected) << rounds;
    EXPECT_DOUBLE_EQ(expected, std::sqrt(std::ceil(std::log2(rounds + 1.0))))
        << rounds;
  }
}

TEST(TreeTest, SensitivityIsNeverBelowTheWorstOfAllPatterns) {
  for (int64_t rounds = 1; rounds <= 16; ++rounds) {
    const Matrix matrix = TreeMatrix(rounds);
    for (int64_t k = 1; k <= 5; ++k) {
      for (int64_t b = 1; b <= 6; ++b) {
        const ParticipationLimits limits = {rounds, k, b};
        EXPECT_GE(*TreeSensitivity(limits) * (1 + 1e-15),
                  BruteForce(matrix, limits))
            << rounds << " " << k << " " << b;
      }
    }
  }
}

}  // namespace
}  // namespace mledge
