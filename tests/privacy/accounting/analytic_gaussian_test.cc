#include "mledge/privacy/accounting/analytic_gaussian.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Theorem 8 of Balle and Wang as it is printed, in extended precision.
long double DirectDelta(long double multiplier, long double epsilon) {
  const auto phi = [](long double x) {
    return 0.5L * std::erfc(-x / std::sqrt(2.0L));
  };
  const long double mu = 1 / multiplier;
  return phi(mu / 2 - epsilon / mu) -
         std::exp(epsilon) * phi(-mu / 2 - epsilon / mu);
}

TEST(GaussianDeltaTest, IsTheTheorem) {
  for (double multiplier : {0.3, 1.0, 4.0, 30.0}) {
    for (double epsilon : {0.0, 0.01, 0.5, 2.0, 8.0}) {
      const double direct = DirectDelta(multiplier, epsilon);
      if (direct < 1e-13) continue;  // the direct form has no digits left
      const auto delta = GaussianDelta(multiplier, epsilon);
      ASSERT_THAT(delta, IsOk());
      EXPECT_NEAR(*delta / direct, 1, 1e-5) << multiplier << ' ' << epsilon;
    }
  }
}

// Computed with mpmath 1.4 at 60 digits.
TEST(GaussianDeltaTest, KeepsItsDigitsInTheTails) {
  EXPECT_NEAR(*GaussianDelta(2, 10) / 9.85512061085017e-89, 1, 1e-9);
  EXPECT_NEAR(*GaussianDelta(1, 5) / 5.79372169191949e-7, 1, 1e-9);
  EXPECT_NEAR(*GaussianDelta(50, 0.1) / 1.12400123569225e-9, 1, 1e-9);
}

// δ by another way: the integral of (p − e^ε q)⁺ over the densities, in long
// double by Simpson's rule.
double IntegratedDelta(double z, double epsilon) {
  const auto positive_part = [&](long double x) {
    const long double p = std::exp(-(x - 1 / z) * (x - 1 / z) / 2);
    const long double q =
        std::exp(static_cast<long double>(epsilon) - x * x / 2);
    return std::max(p - q, 0.0L);
  };
  // p exceeds e^ε q from here on.
  const long double begin = epsilon * z + 0.5L / z;
  constexpr int kSteps = 20'000;
  const long double step = 30.0L / kSteps;
  long double sum = positive_part(begin) + positive_part(begin + 30);
  for (int i = 1; i < kSteps; ++i) {
    sum += positive_part(begin + i * step) * (i % 2 == 0 ? 2 : 4);
  }
  return static_cast<double>(sum * step / 3 /
                             std::sqrt(2 * std::numbers::pi_v<long double>));
}

TEST(GaussianDeltaTest, IsTheIntegralOfTheDefinition) {
  for (const double z : {0.3, 1.0, 3.0, 20.0}) {
    for (const double epsilon : {0.05, 0.5, 2.0, 8.0}) {
      const double exact = IntegratedDelta(z, epsilon);
      if (exact < 1e-30) continue;
      const auto delta = GaussianDelta(z, epsilon);
      ASSERT_THAT(delta, IsOk());
      EXPECT_NEAR(*delta / exact, 1, 1e-8) << z << " " << epsilon;
      EXPECT_GE(*delta, exact * (1 - 1e-11)) << z << " " << epsilon;
    }
  }
}

TEST(GaussianEpsilonTest, AgreesWithKnownValues) {
  // Replace-one at twice the clip norm: multiplier 2 becomes 1.
  EXPECT_NEAR(*GaussianEpsilon(1, 1e-5), 4.377, 5e-4);
  // A zCDP mechanism of rho = 0.81 that is one Gaussian.
  EXPECT_NEAR(*GaussianEpsilon(1 / std::sqrt(2 * 0.81), 1e-10), 8.549, 5e-4);
}

TEST(GaussianEpsilonTest, InvertsDeltaAndRoundsUp) {
  for (double multiplier : {0.01, 0.3, 1.0, 10.0, 1e4}) {
    for (double delta : {0.3, 1e-5, 1e-12, 1e-90}) {
      const auto epsilon = GaussianEpsilon(multiplier, delta);
      ASSERT_THAT(epsilon, IsOk());
      if (*epsilon == 0) {
        EXPECT_LE(*GaussianDelta(multiplier, 0), delta * (1 + 1e-11));
        continue;
      }
      EXPECT_LE(*GaussianDelta(multiplier, *epsilon), delta * (1 + 2e-12));
      EXPECT_GE(*GaussianDelta(multiplier, *epsilon * (1 - 1e-9)), delta);
    }
  }
}

TEST(GaussianMultiplierTest, IsTheLeastThatSuffices) {
  for (double epsilon : {0.01, 1.0, 8.0, 300.0}) {
    for (double delta : {1e-3, 1e-6, 1e-10}) {
      const auto multiplier = GaussianMultiplier(epsilon, delta);
      ASSERT_THAT(multiplier, IsOk());
      EXPECT_LE(*GaussianEpsilon(*multiplier, delta), epsilon * (1 + 2e-12));
      EXPECT_GT(*GaussianEpsilon(*multiplier * (1 - 1e-6), delta), epsilon);
    }
  }
}

// Published by the authors' own program for ε = 1, δ = 1e-5: σ = 3.7306.
TEST(GaussianMultiplierTest, IsAsPublished) {
  EXPECT_NEAR(*GaussianMultiplier(1, 1e-5), 3.7306, 1e-4);
}

TEST(AnalyticGaussianTest, RefusesBadMultipliers) {
  for (double bad : {0.0, -1.0, kNan, kInfinity, 1e300}) {
    EXPECT_THAT(
        GaussianEpsilon(bad, 1e-5),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("noise multiplier")));
    EXPECT_THAT(GaussianDelta(bad, 1), StatusIs(StatusCode::kInvalidArgument));
  }
}

TEST(AnalyticGaussianTest, RefusesBadDeltas) {
  for (double bad : {0.0, -1e-5, 1.0, 2.0, kNan, kInfinity, 1e-200}) {
    EXPECT_THAT(GaussianEpsilon(1, bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("delta is")));
    EXPECT_THAT(GaussianMultiplier(1, bad),
                StatusIs(StatusCode::kInvalidArgument));
  }
}

TEST(AnalyticGaussianTest, RefusesBadEpsilons) {
  for (double bad : {-1.0, kNan, kInfinity, 1e300}) {
    EXPECT_THAT(GaussianDelta(1, bad), StatusIs(StatusCode::kInvalidArgument,
                                                HasSubstr("epsilon is")));
    EXPECT_THAT(GaussianMultiplier(bad, 1e-5),
                StatusIs(StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(
      GaussianMultiplier(0, 1e-5),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("no finite noise")));
}

}  // namespace
}  // namespace mledge
