// Do the samplers draw from the distributions that they claim? 10^7 draws of
// each scale, from fixed seeds, against the exact probabilities.
//
// False alarms: each chi-square test fails a right sampler with probability
// 10^-6, each comparison of a moment or a tail with 2·10^-9 (6 standard
// errors). With the seeds given the outcome is the same at each run. What a
// pass cannot show: errors of less than about 3·10^-4 of the deviation; the
// bound of 2^-100 is proved, not measured (discrete_gaussian.h).

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/tests/privacy/noise/sample_statistics.h"
#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

constexpr size_t kDraws = 10'000'000;
constexpr double kLeastPValue = 1e-6;
constexpr double kStandardErrors = 6;

class DiscreteGaussianDrawsTest : public ::testing::TestWithParam<double> {};

TEST_P(DiscreteGaussianDrawsTest, FollowTheExactProbabilities) {
  const double variance = VarianceOf(GetParam());
  const uint64_t seed = TestSeed(21);
  const auto trace = TraceSeed(seed);
  TestSecretRandom random(seed);
  std::vector<int32_t> draws(kDraws);
  DiscreteGaussian::Create(variance)->Fill(random, draws);
  const DiscreteGaussianPmf pmf(variance);
  const auto histogram = Histogram(draws);
  const auto largest = static_cast<int64_t>(8 * GetParam()) + 2;

  const ChiSquare test = ChiSquareTest(histogram, pmf, largest);
  EXPECT_GE(test.p_value, kLeastPValue)
      << "statistic " << test.statistic << " of " << test.degrees_of_freedom;

  double sum = 0;
  double squares = 0;
  double fourths = 0;
  int64_t beyond_three = 0;
  for (const auto& [value, count] : histogram) {
    const double x = static_cast<double>(value);
    const auto n = static_cast<double>(count);
    sum += n * x;
    squares += n * x * x;
    fourths += n * x * x * x * x;
    if (std::abs(x) > 3 * GetParam()) beyond_three += count;
  }
  const double sample_variance = squares / kDraws;
  const double deviation = std::sqrt(pmf.exact_variance());
  EXPECT_NEAR(sum / kDraws, 0,
              kStandardErrors * deviation / std::sqrt(double{kDraws}));
  EXPECT_NEAR(sample_variance, pmf.exact_variance(),
              kStandardErrors * std::sqrt((fourths / kDraws -
                                           sample_variance * sample_variance) /
                                          kDraws));
  double tail = 0;
  for (auto x = static_cast<int64_t>(3 * GetParam()) + 1; x <= 2 * largest;
       ++x) {
    tail += 2 * pmf(x);
  }
  EXPECT_NEAR(static_cast<double>(beyond_three), tail * kDraws,
              kStandardErrors * std::sqrt(tail * kDraws));
}

INSTANTIATE_TEST_SUITE_P(Scales, DiscreteGaussianDrawsTest,
                         ::testing::Values(0.5, 1.0, 7.3, 32.9, 33.0, 100.0,
                                           4096.0));

}  // namespace
}  // namespace mledge
