#include "mledge/privacy/noise/discrete_gaussian.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::Each;
using ::testing::HasSubstr;

std::vector<int32_t> Draw(double variance, size_t count, uint64_t seed) {
  TestSecretRandom random(seed);
  std::vector<int32_t> draws(count);
  DiscreteGaussian::Create(variance)->Fill(random, draws);
  return draws;
}

TEST(DiscreteGaussianTest, RefusesVariancesThatAreNone) {
  for (const double bad :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
        std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::denorm_min(), 0x1p-9, 0x1p81}) {
    EXPECT_THAT(DiscreteGaussian::Create(bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("variance")))
        << bad;
  }
}

TEST(DiscreteGaussianTest, FillsNothing) {
  TestSecretRandom random(1);
  DiscreteGaussian::Create(1)->Fill(random, std::span<int32_t>());
}

TEST(DiscreteGaussianTest, SameRandomnessGivesTheSameNoiseInBothWidths) {
  for (const double variance : {0.25, 64.0, 1e6}) {
    const auto gaussian = DiscreteGaussian::Create(variance);
    ASSERT_THAT(gaussian, IsOk());
    std::vector<int64_t> wide(3000);
    TestSecretRandom random(5);
    gaussian->Fill(random, wide);
    const std::vector<int32_t> narrow = Draw(variance, 3000, 5);
    EXPECT_TRUE(std::equal(wide.begin(), wide.end(), narrow.begin()));
    EXPECT_NE(narrow, Draw(variance, 3000, 6));
  }
}

// A short batch is the beginning of a long one.
TEST(DiscreteGaussianTest, EveryCountIsAPrefix) {
  const std::vector<int32_t> all = Draw(300, 2500, 9);
  for (const size_t count : {1, 7, 1023, 1024, 1025, 2049}) {
    const std::vector<int32_t> some = Draw(300, count, 9);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << count;
  }
}

TEST(DiscreteGaussianTest, VarianceIsRoundedUp) {
  EXPECT_EQ(VarianceOf(4096), 4096.0 * 4096);
  for (const double sigma : {0.1, 0.7, 1.3, 7.3, 1000.1}) {
    const auto exact = static_cast<long double>(sigma) * sigma;
    EXPECT_GE(VarianceOf(sigma), exact) << sigma;
    EXPECT_LE(VarianceOf(sigma), exact * (1 + 0x1p-51L)) << sigma;
  }
}

TEST(DiscreteGaussianTest, TinyNoiseIsMostlyZero) {
  EXPECT_THAT(Draw(DiscreteGaussian::kLeastVariance, 100'000, 3), Each(0));
}

TEST(DiscreteGaussianTest, HugeNoiseHasItsVariance) {
  // 2^17 draws: the sample's standard deviation is off by 0.2 % (1 sigma); the
  // tolerance is 6 of them: a false alarm in 10^9.
  const auto gaussian = DiscreteGaussian::Create(0x1p80);
  ASSERT_THAT(gaussian, IsOk());
  TestSecretRandom random(4);
  std::vector<int64_t> draws(1 << 17);
  gaussian->Fill(random, draws);
  double squares = 0;
  for (const int64_t draw : draws) {
    const double scaled = std::ldexp(static_cast<double>(draw), -40);
    squares += scaled * scaled;
    EXPECT_LE(std::abs(draw), gaussian->largest_magnitude());
  }
  EXPECT_NEAR(std::sqrt(squares / (1 << 17)), 1, 0.012);
}

// Pitfall 9: noise made of floating-point numbers has low bits that are always
// zero where it is large, and a tail that ends early.
TEST(DiscreteGaussianTest, ReachesWhatFloatsDoNot) {
  const auto gaussian = DiscreteGaussian::Create(0x1p80);
  ASSERT_THAT(gaussian, IsOk());
  TestSecretRandom random(6);
  std::vector<int64_t> draws(1 << 17);
  gaussian->Fill(random, draws);
  int odd = 0;
  for (const int64_t draw : draws) odd += static_cast<int>(draw & 1);
  // Binomial(2^17, 1/2) within 6 deviations.
  EXPECT_NEAR(odd, 1 << 16, 6 * std::sqrt(1 << 15));
  // The table goes on to 13.4 deviations, where 2^-130 is left.
  EXPECT_GE(gaussian->largest_magnitude(), 13 * std::ldexp(1, 40));
}

// Pitfall 10: no two batches of one generator share randomness. 10^6 draws; a
// correlation within 6 standard errors.
TEST(DiscreteGaussianTest, BatchesAreIndependent) {
  TestSecretRandom random(8);
  const auto gaussian = DiscreteGaussian::Create(100);
  std::vector<int32_t> a(1'000'000);
  std::vector<int32_t> b(a.size());
  gaussian->Fill(random, a);
  gaussian->Fill(random, b);
  double products = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    products += static_cast<double>(a[i]) * b[i];
  }
  EXPECT_NEAR(products / 1e6 / 100, 0, 6e-3);
}

TEST(DiscreteGaussianTest, NoiseTooWideForThirtyTwoBitsEndsTheProcess) {
  const auto gaussian = DiscreteGaussian::Create(0x1p60);
  ASSERT_THAT(gaussian, IsOk());
  TestSecretRandom random(4);
  std::vector<int32_t> draws(1);
  EXPECT_DEATH(gaussian->Fill(random, draws), "64 bits");
}

}  // namespace
}  // namespace mledge
