#include "mledge/privacy/noise/local_mechanisms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

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

TEST(AnalyticGaussianTest, DeltaIsTheIntegralOfTheDefinition) {
  for (const double z : {0.3, 1.0, 3.0, 20.0}) {
    for (const double epsilon : {0.05, 0.5, 2.0, 8.0}) {
      const double exact = IntegratedDelta(z, epsilon);
      if (exact < 1e-30) continue;
      const double delta = AnalyticGaussianDelta(z, epsilon);
      EXPECT_NEAR(delta / exact, 1, 1e-8) << z << " " << epsilon;
      EXPECT_GE(delta, exact * (1 - 1e-11)) << z << " " << epsilon;
    }
  }
}

// Published by the authors' own program for ε = 1, δ = 1e-5: σ = 3.7306.
TEST(AnalyticGaussianTest, CalibratesAsPublished) {
  const auto z = AnalyticGaussianNoiseMultiplier(1, 1e-5);
  ASSERT_THAT(z, IsOk());
  EXPECT_NEAR(*z, 3.7306, 1e-4);
}

TEST(AnalyticGaussianTest, CalibrationIsOnTheSafeSideAndTight) {
  for (const double epsilon : {1e-6, 0.01, 1.0, 10.0, 100.0}) {
    for (const double delta : {0.5, 1e-3, 1e-6, 1e-12, 1e-40}) {
      const auto z = AnalyticGaussianNoiseMultiplier(epsilon, delta);
      if (!z.ok()) {
        // Only where cancellation leaves nothing to vouch for.
        EXPECT_LT(epsilon * delta, 1e-14);
        continue;
      }
      EXPECT_LE(AnalyticGaussianDelta(*z, epsilon), delta);
      EXPECT_GT(AnalyticGaussianDelta(*z * (1 - 1e-9), epsilon), delta);
    }
  }
}

TEST(AnalyticGaussianTest, RefusesBadTargets) {
  for (const double bad : {0.0, -1.0, kNan, kInfinity, 1e-7, 101.0}) {
    EXPECT_THAT(AnalyticGaussianNoiseMultiplier(bad, 1e-5),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("epsilon")));
  }
  for (const double bad : {0.0, -1.0, kNan, kInfinity, 1.0, 1e-101}) {
    EXPECT_THAT(AnalyticGaussianNoiseMultiplier(1, bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("delta")));
  }
}

TEST(LocalGaussianTest, ReportsAreUnbiasedWithTheNoiseThatIsClaimed) {
  constexpr size_t kSize = 40'000;
  const auto mechanism = LocalGaussian::Create(
      {.clip_norm = 2, .dimension = kSize, .epsilon = 4, .delta = 1e-6});
  ASSERT_THAT(mechanism, IsOk());
  const NoiseGrid& grid = mechanism->grid();
  const auto z = AnalyticGaussianNoiseMultiplier(4, 1e-6);
  // Twice the sensitivity (any two updates), and four grid units squared.
  EXPECT_GE(grid.variance - 4, std::pow(*z * 2 * grid.sensitivity.l2, 2));
  EXPECT_LE(std::sqrt(grid.variance), kMostGridDeviation);
  // Twice as long as the clip, so halved.
  const std::vector<float> values(kSize, 4 / std::sqrt(float{kSize}));
  std::vector<int32_t> report(kSize);
  TestSecretRandom random(3);
  ASSERT_THAT(mechanism->Report(values, random, report), IsOk());
  double sum = 0;
  double squares = 0;
  for (const int32_t value : report) {
    sum += value;
    squares += double{static_cast<double>(value)} * value;
  }
  // 40,000 draws; 6 standard errors: a false alarm in 5·10^8.
  const double deviation = std::sqrt(grid.variance);
  EXPECT_NEAR(sum / kSize, 2 / std::sqrt(double{kSize}) / grid.step(),
              6 * deviation / std::sqrt(double{kSize}));
  EXPECT_NEAR(squares / kSize / grid.variance, 1, 6 * std::sqrt(2.0 / kSize));
}

TEST(LocalGaussianTest, RefusesBadOptionsAndReports) {
  const LocalGaussianOptions usual = {
      .clip_norm = 1, .dimension = 10, .epsilon = 1, .delta = 1e-6};
  const auto refused = [&](auto change, const char* name) {
    LocalGaussianOptions options = usual;
    change(options);
    EXPECT_THAT(LocalGaussian::Create(options),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(name)));
  };
  for (const double bad : {0.0, -1.0, kNan, kInfinity}) {
    refused([&](auto& o) { o.clip_norm = bad; }, "clip_norm");
    refused([&](auto& o) { o.epsilon = bad; }, "epsilon");
    refused([&](auto& o) { o.delta = bad; }, "delta");
  }
  refused([](auto& o) { o.dimension = 0; }, "dimension");
  LocalGaussianOptions options = usual;
  options.delta = 1e-28;
  options.dimension = 1'000'000;
  EXPECT_THAT(LocalGaussian::Create(options),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("delta")));

  const auto mechanism = LocalGaussian::Create(usual);
  ASSERT_THAT(mechanism, IsOk());
  TestSecretRandom random(1);
  std::vector<int32_t> out(10);
  std::vector<float> values(9);
  EXPECT_THAT(mechanism->Report(values, random, out),
              StatusIs(StatusCode::kInvalidArgument));
  values.assign(10, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(mechanism->Report(values, random, out),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(RandomizedResponseTest, TellsTheTruthAsOftenAsTheFormula) {
  for (const int64_t k : {int64_t{2}, int64_t{3}, int64_t{1000},
                          RandomizedResponse::kMostCategories}) {
    for (const double epsilon : {0.001, 1.0, 5.0, 30.0}) {
      const auto response = RandomizedResponse::Create(k, epsilon);
      ASSERT_THAT(response, IsOk());
      const double others = static_cast<double>(k - 1);
      const double exact = std::exp(epsilon) / (std::exp(epsilon) + others);
      const double truth = response->truth_probability();
      EXPECT_LE(truth, exact);
      EXPECT_NEAR(truth / exact, 1, 2e-9);
      // No ratio above e^ε, in exact terms: truth over the least likely lie.
      if (truth < 1 - 1e-9) {
        const double least_lie =
            (1 - truth) * std::floor(std::ldexp(1 / others, 64)) * 0x1p-64;
        EXPECT_LE(truth / least_lie, std::exp(epsilon)) << k << " " << epsilon;
      }
    }
  }
}

// 2·10^5 reports of category 3 of 5 at ε = 1; each count within 6 standard
// deviations (a false alarm in 5·10^8 each).
TEST(RandomizedResponseTest, ReportsFollowTheProbabilitiesAndAreCorrected) {
  const auto response = RandomizedResponse::Create(5, 1);
  ASSERT_THAT(response, IsOk());
  TestSecretRandom random(11);
  constexpr int kReports = 200'000;
  std::vector<int64_t> counts(5);
  for (int i = 0; i < kReports; ++i) {
    const auto report = response->Report(3, random);
    ASSERT_THAT(report, IsOk());
    ++counts[static_cast<size_t>(*report)];
  }
  const double truth = response->truth_probability();
  for (size_t i = 0; i < 5; ++i) {
    const double p = i == 3 ? truth : (1 - truth) / 4;
    EXPECT_NEAR(static_cast<double>(counts[i]), kReports * p,
                6 * std::sqrt(kReports * p * (1 - p)))
        << i;
  }
  const auto estimates = response->EstimateCounts(counts);
  ASSERT_THAT(estimates, IsOk());
  const double other = (1 - truth) / 4;
  const double error = 6 * std::sqrt(kReports * 0.25) / (truth - other);
  EXPECT_NEAR((*estimates)[3], kReports, error);
  EXPECT_NEAR((*estimates)[0], 0, error);
}

TEST(RandomizedResponseTest, RefusesBadInput) {
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, int64_t{1},
                            RandomizedResponse::kMostCategories + 1}) {
    EXPECT_THAT(
        RandomizedResponse::Create(bad, 1),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("categories")));
  }
  for (const double bad : {0.0, -1.0, kNan, kInfinity, 31.0}) {
    EXPECT_THAT(RandomizedResponse::Create(3, bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("epsilon")));
  }
  const auto response = RandomizedResponse::Create(3, 1);
  TestSecretRandom random(1);
  for (const int64_t bad : {-1, 3}) {
    EXPECT_THAT(response->Report(bad, random),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("category")));
  }
  EXPECT_THAT(response->EstimateCounts(std::vector<int64_t>{1, 2}),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(response->EstimateCounts(std::vector<int64_t>{1, 2, -3}),
              StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge
