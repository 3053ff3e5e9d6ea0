#include "mledge/privacy/noise/distributed_noise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

DistributedNoiseOptions Usual() {
  return {.clip_norm = 1,
          .dimension = 1 << 20,
          .cohort = 1000,
          .least_alive = 900,
          .corrupt_fraction = 0.1,
          .noise_multiplier = 1};
}

TEST(PlanDistributedNoiseTest, SizesNoiseForHonestSurvivors) {
  const auto plan = PlanDistributedNoise(Usual());
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->honest_survivors, 800);
  const double l2 = plan->grid.sensitivity.l2;
  // Together as much as asked for, and hardly more.
  EXPECT_GE(800 * plan->grid.variance, l2 * l2);
  EXPECT_LE(800 * plan->grid.variance, l2 * l2 * (1 + 1e-12));
  EXPECT_GE(plan->central_standard_deviation(), 1 - 1e-12);
  EXPECT_NEAR(plan->central_standard_deviation(), plan->grid.inflation, 1e-9);
  // Everybody's noise: what dropouts and liars did not take away.
  EXPECT_NEAR(plan->noise_in_sum(1000) / plan->central_standard_deviation(),
              std::sqrt(1000.0 / 800), 1e-9);
}

TEST(DistributedNoisePlanTest, StatesNoMoreNoiseThanThereIs) {
  DistributedNoisePlan plan{.honest_survivors = 7};
  for (const double variance : {0.25, 0.3, 2.0, 1e7 + 0.1}) {
    plan.grid.variance = variance;
    const auto deviation =
        static_cast<long double>(plan.local_standard_deviation());
    EXPECT_LE(deviation * deviation, variance);
    EXPECT_GE(deviation * deviation, variance * (1 - 1e-15L));
    EXPECT_LE(plan.honest_variance(), 7 * static_cast<long double>(variance));
    EXPECT_NEAR(plan.honest_variance() / variance, 7, 1e-13);
  }
  plan.grid.variance = 0.25;
  EXPECT_EQ(plan.local_standard_deviation(), 0.5);
}

TEST(PlanDistributedNoiseTest, CorruptFractionIsRoundedTowardsMoreCorrupt) {
  DistributedNoiseOptions options = Usual();
  options.cohort = 100;
  options.least_alive = 60;
  options.corrupt_fraction = 0.29;  // 0.29 · 100 is below 29 in doubles
  const auto plan = PlanDistributedNoise(options);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->honest_survivors, 31);
}

TEST(PlanDistributedNoiseTest, GridCostsLittleAndNoMoreBitsThanThat) {
  const auto plan = PlanDistributedNoise(Usual());
  ASSERT_THAT(plan, IsOk());
  EXPECT_LE(plan->grid.inflation, 1.01);
  EXPECT_THAT(std::sqrt(plan->grid.variance),
              AllOf(Ge(kLeastGridDeviation), Le(kMostGridDeviation)));
  // One bit coarser would cost more than 1 %.
  const auto coarser =
      SensitivityAfterRounding(std::ldexp(1.0, plan->grid.fraction_bits - 1),
                               1 << 20, GridRounding::kConditional);
  EXPECT_GT(coarser->l2 / std::ldexp(1.0, plan->grid.fraction_bits - 1), 1.01);
  // b is the least with 2^b ≥ 2 k √((n c)²/d + (g²/4 + σ²) n) / g.
  const double g = plan->grid.step();
  const double sigma = plan->local_standard_deviation() * g;
  const double need = 2 * 4 *
                      std::sqrt(1000.0 * 1000 / (1 << 20) +
                                (g * g / 4 + sigma * sigma) * 1000) /
                      g;
  EXPECT_GE(std::ldexp(1.0, plan->modulus_bits), need);
  EXPECT_LT(std::ldexp(1.0, plan->modulus_bits - 1), need);
}

// The reference's example: c = 1, d = 2^20, g = 5e-4, 1000 clients: 17 bits.
TEST(PlanDistributedNoiseTest, AboutSeventeenBitsForAThousandClients) {
  const auto plan = PlanDistributedNoise(Usual());
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->modulus_bits, AllOf(Ge(16), Le(19)));
}

TEST(PlanDistributedNoiseTest, CentralDeviationIsMetToo) {
  DistributedNoiseOptions options = Usual();
  options.noise_multiplier = 0;
  options.central_standard_deviation = 0.75;
  const auto plan = PlanDistributedNoise(options);
  ASSERT_THAT(plan, IsOk());
  EXPECT_NEAR(plan->central_standard_deviation(), 0.75, 1e-9);
}

// Where many devices have little noise each, the grid of discrete Gaussians
// gets finer until their sum is as good as one; Skellam may stay coarse.
TEST(PlanDistributedNoiseTest, DiscreteGaussiansKeepTheirSumNearlyGaussian) {
  DistributedNoiseOptions options = Usual();
  options.dimension = 64;
  options.cohort = 1'000'000;
  options.least_alive = 1'000'000;
  options.corrupt_fraction = 0;
  const auto gaussian = PlanDistributedNoise(options);
  ASSERT_THAT(gaussian, IsOk());
  const double relative =
      gaussian->grid.sensitivity.l2 / std::sqrt(1e6 * gaussian->grid.variance);
  EXPECT_LE(8 * gaussian->sum_error, 1e-3 * relative);
  EXPECT_GT(gaussian->grid.variance, 1.2 * 1.2);

  options.kind = DistributedNoiseKind::kSkellam;
  const auto skellam = PlanDistributedNoise(options);
  ASSERT_THAT(skellam, IsOk());
  EXPECT_EQ(skellam->sum_error, 0);
  EXPECT_GE(skellam->grid.variance, 0.25);
  EXPECT_LT(skellam->grid.fraction_bits, gaussian->grid.fraction_bits);
}

TEST(DiscreteGaussianSumErrorTest, IsTheSumOfProposition14) {
  EXPECT_EQ(DiscreteGaussianSumError(1, 1), 0);
  const double rate = 2 * std::numbers::pi * std::numbers::pi;
  EXPECT_NEAR(DiscreteGaussianSumError(2, 0.25),
              10 * std::exp(-rate * 0.25 / 2), 1e-12);
  double sum = 0;
  for (int k = 1; k < 5000; ++k) sum += std::exp(-rate * 0.3 * k / (k + 1.0));
  // Not below the truth, and close to it.
  EXPECT_THAT(DiscreteGaussianSumError(5000, 0.3) / (10 * sum),
              AllOf(Ge(1.0), Le(1.01)));
}

TEST(PlanDistributedNoiseTest, WrapsAreRareAndCounted) {
  const auto plan = PlanDistributedNoise(Usual());
  ASSERT_THAT(plan, IsOk());
  // Four deviations and more: 2 exp(−8) at most.
  EXPECT_LE(plan->wrap_probability, 2 * std::exp(-8));
  EXPECT_NEAR(plan->expected_wraps, plan->wrap_probability * (1 << 20), 1e-9);
}

// Pitfall 7: values beyond half of the modulus wrap and bias the sum in
// silence. 20 devices whose updates agree (the most that a sum can be), 4096
// values each: what comes back from the modulus is the sum, noise aside, and
// wraps are as rare as planned.
TEST(PlanDistributedNoiseTest, SumsComeBackFromTheModulus) {
  constexpr size_t kSize = 4096;
  constexpr int kDevices = 20;
  const auto plan = PlanDistributedNoise({.clip_norm = 1,
                                          .dimension = kSize,
                                          .cohort = kDevices,
                                          .least_alive = kDevices,
                                          .noise_multiplier = 0.5});
  ASSERT_THAT(plan, IsOk());
  TrainingRandom random({.purpose = "modulus"});
  TestSecretRandom secret(3);
  // As a rotation leaves it: spread evenly, signs at random.
  std::vector<float> update(kSize);
  for (float& value : update) {
    value = random.UniformBelow(2) == 0 ? 1.0F / 64 : -1.0F / 64;
  }
  const DiscreteGaussian noise = *DiscreteGaussian::Create(plan->grid.variance);
  std::vector<uint32_t> sum(kSize);
  for (int device = 0; device < kDevices; ++device) {
    std::vector<int32_t> q(kSize);
    std::vector<int32_t> drawn(kSize);
    ASSERT_THAT(RoundToGrid(update, plan->grid.fraction_bits, plan->grid.clip,
                            plan->grid.sensitivity, secret, q),
                IsOk());
    noise.Fill(secret, drawn);
    for (size_t i = 0; i < kSize; ++i) {
      sum[i] += static_cast<uint32_t>(q[i]) + static_cast<uint32_t>(drawn[i]);
    }
  }
  const int surplus = 32 - plan->modulus_bits;
  const double deviation =
      plan->grid.step() * std::sqrt(kDevices * (0.25 + plan->grid.variance));
  int wraps = 0;
  double squares = 0;
  for (size_t i = 0; i < kSize; ++i) {
    const int32_t centred = static_cast<int32_t>(sum[i] << surplus) >> surplus;
    const double error = centred * plan->grid.step() - kDevices * update[i];
    // 8 deviations of noise: less than 10^-11 among all of them.
    if (std::abs(error) > 8 * deviation) {
      ++wraps;
    } else {
      squares += error * error;
    }
  }
  EXPECT_LE(wraps, std::ceil(plan->expected_wraps) + 1);
  EXPECT_NEAR(std::sqrt(squares / kSize) / deviation, 1,
              6 / std::sqrt(2.0 * kSize));
}

TEST(PlanDistributedNoiseTest, WithoutRotationOneCoordinateMayHoldEverything) {
  DistributedNoiseOptions options = Usual();
  options.rotated = false;
  const auto plan = PlanDistributedNoise(options);
  ASSERT_THAT(plan, IsOk());
  EXPECT_GE(std::ldexp(1.0, plan->modulus_bits),
            2 * 1000 * plan->grid.sensitivity.l2);
}

TEST(PlanDistributedNoiseTest, RefusesModuliAboveThirtyTwoBits) {
  DistributedNoiseOptions options = Usual();
  options.rotated = false;
  options.cohort = 10'000'000;
  options.least_alive = 9'000'000;
  EXPECT_THAT(PlanDistributedNoise(options),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("divide the cohort into groups")));
}

TEST(PlanDistributedNoiseTest, RefusesWhereNobodyIsHonest) {
  DistributedNoiseOptions options = Usual();
  options.least_alive = 100;
  EXPECT_THAT(PlanDistributedNoise(options),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("raise least_alive")));
}

TEST(PlanDistributedNoiseTest, RefusesGridsThatCannotBe) {
  DistributedNoiseOptions options = Usual();
  options.cohort = options.least_alive = 2;
  options.corrupt_fraction = 0;
  options.noise_multiplier = 50;
  EXPECT_THAT(PlanDistributedNoise(options),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("grid")));
}

TEST(PlanDistributedNoiseTest, RefusesBadNumbersByName) {
  const auto refused = [](auto change, const char* name) {
    DistributedNoiseOptions options = Usual();
    change(options);
    EXPECT_THAT(PlanDistributedNoise(options),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(name)));
  };
  for (const double bad : {0.0, -1.0, kNan, kInfinity, 1e300, 1e-300}) {
    refused([&](auto& o) { o.clip_norm = bad; }, "clip_norm");
    refused([&](auto& o) { o.noise_multiplier = bad; }, "noise_multiplier");
    refused(
        [&](auto& o) {
          o.noise_multiplier = 0;
          o.central_standard_deviation = bad;
        },
        "noise");
  }
  for (const double bad : {-0.1, 1.0, 2.0, kNan, kInfinity}) {
    refused([&](auto& o) { o.corrupt_fraction = bad; }, "corrupt_fraction");
  }
  for (const double bad : {0.0, 0.99, -1.0, kNan, kInfinity}) {
    refused([&](auto& o) { o.largest_inflation = bad; }, "largest_inflation");
  }
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, int64_t{1} << 41}) {
    refused([&](auto& o) { o.dimension = bad; }, "dimension");
    refused([&](auto& o) { o.cohort = bad; }, "cohort");
    refused([&](auto& o) { o.least_alive = bad; }, "least_alive");
  }
  refused([&](auto& o) { o.central_standard_deviation = 1; }, "give one");
}

TEST(ChooseNoiseGridTest, NoiseIsOverTheSensitivityAfterRounding) {
  for (const GridRounding rounding :
       {GridRounding::kConditional, GridRounding::kNearest}) {
    const auto grid = ChooseNoiseGrid({.clip_norm = 0.3,
                                       .dimension = 10'000,
                                       .noise_multiplier = 0.8,
                                       .rounding = rounding});
    ASSERT_THAT(grid, IsOk());
    EXPECT_NEAR(std::sqrt(grid->variance) / grid->sensitivity.l2, 0.8, 1e-12);
    EXPECT_LE(std::sqrt(grid->variance), kMostGridDeviation);
    EXPECT_EQ(std::ldexp(0.3, grid->fraction_bits), grid->clip);
  }
}

// 10^7 values leave a clip of 2048 grid units to noise of 4096: rounding to the
// nearest lengthens it by 1.77, conditional rounding by 1.26, and a finer grid
// by less.
TEST(ChooseNoiseGridTest, SaysWhenRoundingCostsTooMuch) {
  NoiseGridOptions options = {.clip_norm = 1,
                              .dimension = 10'000'000,
                              .noise_multiplier = 1,
                              .rounding = GridRounding::kNearest};
  EXPECT_THAT(ChooseNoiseGrid(options),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("lengthens an update")));
  options.rounding = GridRounding::kConditional;
  auto grid = ChooseNoiseGrid(options);
  ASSERT_THAT(grid, IsOk());
  EXPECT_NEAR(grid->inflation, 1.26, 0.01);
  options.most_deviation = 0x1p16;
  grid = ChooseNoiseGrid(options);
  ASSERT_THAT(grid, IsOk());
  EXPECT_LE(grid->inflation, 1.01);
}

}  // namespace
}  // namespace mledge
