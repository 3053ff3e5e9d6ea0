#include "mledge/privacy/matrix/toeplitz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/privacy/matrix/participation.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Coefficients of the product of two Toeplitz matrices.
std::vector<double> Product(const std::vector<double>& a,
                            const std::vector<double>& b) {
  std::vector<double> product(a.size());
  for (size_t t = 0; t < a.size(); ++t) {
    for (size_t i = 0; i <= t; ++i) product[t] += a[i] * b[t - i];
  }
  return product;
}

const BufferedToeplitz kBuffered = {.decays = {0.5, 0.99},
                                    .weights = {0.3, 0.1}};

TEST(SquareRootCoefficientsTest, StartAsTheBinomialSeries) {
  EXPECT_THAT(SquareRootCoefficients(5),
              IsOkAndHolds(ElementsAre(1.0, 0.5, 0.375, 0.3125, 0.2734375)));
}

TEST(SquareRootCoefficientsTest, SquaredArePrefixSums) {
  const std::vector<double> c = *SquareRootCoefficients(500);
  EXPECT_THAT(Product(c, c),
              Pointwise(DoubleNear(1e-12), std::vector<double>(500, 1.0)));
}

TEST(SquareRootCoefficientsTest, RefusesCountsOutOfRange) {
  for (int64_t count : {int64_t{0}, int64_t{-5}, kMaximumRounds + 1}) {
    EXPECT_THAT(
        SquareRootCoefficients(count),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("coefficients")));
  }
}

TEST(ToeplitzTest, BandsEndInZeros) {
  EXPECT_THAT(Coefficients(BandedToeplitz{{1, 0.5}}, 4),
              IsOkAndHolds(ElementsAre(1.0, 0.5, 0.0, 0.0)));
  EXPECT_THAT(Coefficients(BandedToeplitz{{1, 0.5, 0.25}}, 2),
              IsOkAndHolds(ElementsAre(1.0, 0.5)));
}

TEST(ToeplitzTest, BuffersAreSumsOfPowers) {
  const std::vector<double> c = *Coefficients(kBuffered, 100);
  EXPECT_EQ(c[0], 1);
  for (int i = 1; i < 100; ++i) {
    EXPECT_NEAR(c[i], 0.3 * std::pow(0.5, i - 1) + 0.1 * std::pow(0.99, i - 1),
                1e-14);
  }
}

TEST(ToeplitzTest, InversesInvert) {
  std::vector<double> identity(200);
  identity[0] = 1;
  for (const BandedToeplitz& matrix :
       {BandedToeplitz{{1}}, BandedToeplitz{{1, 0.5, 0.375, 0.2}},
        BandedToeplitz{*SquareRootCoefficients(200)}}) {
    EXPECT_THAT(
        Product(*Coefficients(matrix, 200), *InverseCoefficients(matrix, 200)),
        Pointwise(DoubleNear(1e-12), identity));
  }
  EXPECT_THAT(Product(*Coefficients(kBuffered, 200),
                      *InverseCoefficients(kBuffered, 200)),
              Pointwise(DoubleNear(1e-12), identity));
}

// The inverse of a BLT is one with as many buffers: for one buffer, with decay
// θ − ω and weight −ω.
TEST(ToeplitzTest, InverseOfOneBufferHasItsClosedForm) {
  const std::vector<double> inverse =
      *InverseCoefficients(BufferedToeplitz{{0.9}, {0.25}}, 60);
  EXPECT_EQ(inverse[0], 1);
  for (int t = 1; t < 60; ++t) {
    EXPECT_NEAR(inverse[t], -0.25 * std::pow(0.65, t - 1), 1e-14);
  }
}

TEST(ToeplitzTest, SquareRootsInverseHasItsClosedForm) {
  const std::vector<double> inverse =
      *InverseCoefficients(BandedToeplitz{*SquareRootCoefficients(300)}, 300);
  double expected = 1;
  for (int t = 1; t < 300; ++t) {
    expected *= (2.0 * t - 3) / (2.0 * t);
    EXPECT_NEAR(inverse[t], expected, 1e-14);
  }
}

TEST(ToeplitzTest, RefusesShapesByName) {
  struct Case {
    std::vector<double> coefficients;
    const char* message;
  };
  const std::vector<Case> cases = {
      {{}, "0 coefficients"},
      {{2, 1}, "coefficient 0 is 2"},
      {{kNan}, "coefficient 0 is nan"},
      {{0}, "coefficient 0 is 0"},
      {{1, kNan}, "coefficient 1 is nan"},
      {{1, 0.5, kInfinity}, "coefficient 2 is inf"},
      {{1, 1e300}, "coefficient 1 is 1e+300, larger"},
      {{1, 0.5, -0.1}, "coefficient 2 is -0.1: sensitivity"},
      {{1, 0.5, 0.6}, "coefficient 2 is 0.6, larger than the one before"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Coefficients(BandedToeplitz{c.coefficients}, 3),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(c.message)));
    EXPECT_THAT(InverseCoefficients(BandedToeplitz{c.coefficients}, 3),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

TEST(ToeplitzTest, RefusesBadBuffersByName) {
  struct Case {
    BufferedToeplitz matrix;
    const char* message;
  };
  const std::vector<Case> cases = {
      {{}, "0 decays"},
      {{{0.5}, {}}, "1 decays and 0 weights"},
      {{std::vector<double>(17, 0.5), std::vector<double>(17, 0.01)},
       "17 decays"},
      {{{0.0}, {0.5}}, "decay of buffer 0 is 0"},
      {{{0.5, 1.0}, {0.5, 0.1}}, "decay of buffer 1 is 1"},
      {{{kNan}, {0.5}}, "decay of buffer 0 is nan"},
      {{{-0.5}, {0.5}}, "decay of buffer 0 is -0.5"},
      {{{0.5}, {0.0}}, "weight of buffer 0 is 0"},
      {{{0.5}, {-0.1}}, "weight of buffer 0 is -0.1"},
      {{{0.5}, {kNan}}, "weight of buffer 0 is nan"},
      {{{0.5}, {kInfinity}}, "weight of buffer 0 is inf"},
      {{{0.5, 0.6}, {0.7, 0.6}}, "sum to 1.3"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Coefficients(c.matrix, 3),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

TEST(ToeplitzTest, RefusesRoundsOutOfRange) {
  for (int64_t rounds : {int64_t{0}, int64_t{-1}, kMaximumRounds + 1}) {
    EXPECT_THAT(Coefficients(BandedToeplitz{{1}}, rounds),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("rounds")));
    EXPECT_THAT(InverseCoefficients(kBuffered, rounds),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("rounds")));
  }
  EXPECT_THAT(InverseCoefficients(
                  BandedToeplitz{*SquareRootCoefficients(1 << 18)}, 1 << 18),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("fewer bands")));
}

}  // namespace
}  // namespace mledge
