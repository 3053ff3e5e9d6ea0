#include "mledge/privacy/plan/internal/noise_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "mledge/tests/support/status_matchers.h"

namespace mledge::plan_internal {
namespace {

TEST(NoiseSearchTest, EndsOnTheSafeSideAndNearby) {
  for (const double wanted : {0.02, 0.7, 1.0, 33.3, 3e4}) {
    double last = 0;
    ASSERT_THAT(
        FindNoiseMultiplier(1 / wanted,
                            [&](double multiplier) -> absl::StatusOr<double> {
                              last = multiplier;
                              return 1 / multiplier;
                            }),
        IsOk());
    EXPECT_GE(last, wanted);
    EXPECT_LT(last, wanted * 1.0002);
  }
}

TEST(NoiseSearchTest, BearsStepsAndFailures) {
  double last = 0;
  ASSERT_THAT(
      FindNoiseMultiplier(1,
                          [&](double multiplier) -> absl::StatusOr<double> {
                            last = multiplier;
                            // A grid that changes with the noise, and none
                            // below 0.5.
                            if (multiplier < 0.5)
                              return absl::FailedPreconditionError("grid");
                            return 3 / multiplier *
                                   (1 + 1e-5 * std::sin(1e4 * multiplier));
                          }),
      IsOk());
  EXPECT_NEAR(last, 3, 1e-3);
}

TEST(NoiseSearchTest, SaysWhatTheMostNoiseStillCosts) {
  EXPECT_THAT(FindNoiseMultiplier(
                  0.5, [](double) -> absl::StatusOr<double> { return 2.0; }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::HasSubstr("still costs 2")));
  EXPECT_THAT(FindNoiseMultiplier(0.5,
                                  [](double) -> absl::StatusOr<double> {
                                    return absl::InternalError("broken");
                                  }),
              StatusIs(absl::StatusCode::kInternal));
}

}  // namespace
}  // namespace mledge::plan_internal
