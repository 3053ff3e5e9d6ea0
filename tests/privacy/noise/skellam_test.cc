// What the sampler does with its arguments; its distribution is in
// sampler_statistical_test.cc.

#include "mledge/privacy/noise/skellam.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<int32_t> Draw(double variance, size_t count, uint64_t seed) {
  TestSecretRandom random(seed);
  std::vector<int32_t> draws(count);
  Skellam::Create(variance)->Fill(random, draws);
  return draws;
}

TEST(SkellamTest, RefusesVariancesThatAreNone) {
  for (const double bad : {0.0, -1.0, kNan, kInfinity, 1e-3, 65537.0}) {
    EXPECT_THAT(Skellam::Create(bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("variance")))
        << bad;
  }
}

TEST(SkellamTest, TakesTheEndsOfItsRange) {
  for (const double variance :
       {Skellam::kLeastVariance, Skellam::kMostVariance}) {
    const auto skellam = Skellam::Create(variance);
    ASSERT_THAT(skellam, IsOk());
    // Heavier tails than a Gaussian's 13.4 deviations.
    EXPECT_GE(skellam->largest_magnitude(), 13.4 * std::sqrt(variance));
  }
}

TEST(SkellamTest, EveryCountIsAPrefix) {
  const std::vector<int32_t> all = Draw(9, 2500, 4);
  for (const size_t count : {0, 1, 1024, 1025}) {
    const std::vector<int32_t> some = Draw(9, count, 4);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << count;
  }
  EXPECT_NE(all, Draw(9, 2500, 5));
}

}  // namespace
}  // namespace mledge
