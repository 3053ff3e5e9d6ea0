#include "mledge/privacy/accounting/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

EventOfNoise Sampled(double q, int64_t steps) {
  return [=](double noise) {
    return Repeated({PoissonSampledGaussianEvent{q, noise}}, steps);
  };
}

// Pitfall 15: the safe side, and close to it.
TEST(CalibrateNoiseTest, LandsWithinAThousandthAndNeverOverTarget) {
  for (AccountantKind kind : {AccountantKind::kPld, AccountantKind::kRdp}) {
    for (double q : {0.002, 0.05, 1.0}) {
      for (int64_t steps : {1, 50, 5000}) {
        for (double target : {0.2, 2.0, 20.0}) {
          const AccountantOptions options = {.kind = kind};
          const auto found =
              CalibrateNoise(Sampled(q, steps), target, 1e-6, options);
          ASSERT_THAT(found, IsOk());
          EXPECT_LE(found->epsilon, target);
          EXPECT_GE(found->epsilon, target * 0.999)
              << q << ' ' << steps << ' ' << target;
          EXPECT_THAT(EpsilonOf(Sampled(q, steps)(found->noise_multiplier),
                                1e-6, options),
                      IsOkAndHolds(found->epsilon));
        }
      }
    }
  }
}

TEST(CalibrateNoiseTest, AgreesWithTheClosedFormOfAGaussian) {
  const auto found = CalibrateNoise(Sampled(1, 100), 3, 1e-8, {});
  ASSERT_THAT(found, IsOk());
  const double exact = 10 * *GaussianMultiplier(3, 1e-8);
  EXPECT_GE(found->noise_multiplier, exact * (1 - 1e-12));
  EXPECT_LE(found->noise_multiplier, exact * 1.001);
}

// The reference page: q = 0.001, 2000 rounds, delta = 1e-6, epsilon = 2.
TEST(CalibrateNoiseTest, TheExampleOfTheReference) {
  const auto found = CalibrateNoise(Sampled(0.001, 2000), 2, 1e-6, {});
  ASSERT_THAT(found, IsOk());
  EXPECT_NEAR(found->noise_multiplier, 0.623, 5e-4);
  // Against the coordinator, who knows the cohort, there is no amplification.
  EXPECT_NEAR(*GaussianEpsilon(found->noise_multiplier, 1e-6), 8.46, 0.02);
}

TEST(CalibrateNoiseTest, WhatNoNoiseHidesIsAnError) {
  const auto leaky = [](double noise) {
    return PrivacyEvent{
        ComposedEvent{{{GaussianEvent{noise}}, {NonPrivateEvent{}}}, 1}};
  };
  EXPECT_THAT(CalibrateNoise(leaky, 1, 1e-6, {}),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("more noise does not hide")));
  const auto expensive = [](double noise) {
    return PrivacyEvent{
        ComposedEvent{{{GaussianEvent{noise}}, {LaplaceEvent{0.1}}}, 1}};
  };
  EXPECT_THAT(CalibrateNoise(expensive, 1, 1e-6, {}),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST(CalibrateNoiseTest, RefusesBadTargets) {
  for (double bad : {0.0, -1.0, kNan, kInfinity, 1e300}) {
    EXPECT_THAT(
        CalibrateNoise(Sampled(0.1, 10), bad, 1e-6, {}),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("target epsilon")));
  }
  for (double bad : {0.0, -1.0, 1.0, kNan, kInfinity}) {
    EXPECT_THAT(CalibrateNoise(Sampled(0.1, 10), 1, bad, {}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("delta")));
  }
  EXPECT_THAT(CalibrateNoise(Sampled(kNan, 10), 1, 1e-6, {}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("sampling_probability")));
}

}  // namespace
}  // namespace mledge
