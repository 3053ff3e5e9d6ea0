// What the samplers of Skellam and discrete Laplace noise do with their
// arguments; their distributions are in sampler_statistical_test.cc.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "mledge/privacy/noise/discrete_laplace.h"
#include "mledge/privacy/noise/skellam.h"
#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename Sampler>
std::vector<int32_t> Draw(double parameter, size_t count, uint64_t seed) {
  TestSecretRandom random(seed);
  std::vector<int32_t> draws(count);
  Sampler::Create(parameter)->Fill(random, draws);
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
  const std::vector<int32_t> all = Draw<Skellam>(9, 2500, 4);
  for (const size_t count : {0, 1, 1024, 1025}) {
    const std::vector<int32_t> some = Draw<Skellam>(9, count, 4);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << count;
  }
  EXPECT_NE(all, Draw<Skellam>(9, 2500, 5));
}

TEST(DiscreteLaplaceTest, RefusesScalesThatAreNone) {
  for (const double bad : {0.0, -1.0, kNan, kInfinity, 0x1p-5, 0x1p21}) {
    EXPECT_THAT(DiscreteLaplace::Create(bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("scale")))
        << bad;
  }
}

TEST(DiscreteLaplaceTest, TakesTheEndsOfItsRange) {
  // 2 e^-16: one draw in 4.4 million is not zero.
  const std::vector<int32_t> narrow =
      Draw<DiscreteLaplace>(DiscreteLaplace::kLeastScale, 100'000, 1);
  EXPECT_GT(std::count(narrow.begin(), narrow.end(), 0), 99'996);
  const std::vector<int32_t> wide =
      Draw<DiscreteLaplace>(DiscreteLaplace::kMostScale, 100'000, 2);
  double sum = 0;
  for (const int32_t x : wide) sum += std::abs(static_cast<double>(x));
  // E|x| = s, its standard error s / √n; within 6.
  EXPECT_NEAR(sum / 1e5 / DiscreteLaplace::kMostScale, 1, 6 / std::sqrt(1e5));
}

TEST(DiscreteLaplaceTest, EveryCountIsAPrefix) {
  const std::vector<int32_t> all = Draw<DiscreteLaplace>(50, 2500, 4);
  for (const size_t count : {0, 1, 1024, 1025}) {
    const std::vector<int32_t> some = Draw<DiscreteLaplace>(50, count, 4);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << count;
  }
}

}  // namespace
}  // namespace mledge
