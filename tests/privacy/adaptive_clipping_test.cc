#include "mledge/privacy/adaptive_clipping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

AdaptiveClippingOptions Usual() {
  return {.initial_clip_norm = 1, .expected_count = 100};
}

// The reference's figures: z = 1, 100 devices, s = m/20 = 5; and s = 0.6.
TEST(NoiseMultiplierBesideBitsTest, IsTheFormulaRoundedUp) {
  for (const auto& [z, s, published] :
       {std::array{1.0, 5.0, 1.00504}, std::array{1.0, 0.6, 1.809}}) {
    const auto result = NoiseMultiplierBesideBits(z, s);
    ASSERT_THAT(result, IsOk());
    EXPECT_NEAR(*result, published, 1e-3);
    const long double exact =
        1 / std::sqrt(1 / (static_cast<long double>(z) * z) -
                      1 / (4 * static_cast<long double>(s) * s));
    EXPECT_GE(*result, exact);
    EXPECT_NEAR(static_cast<double>(*result / exact), 1, 1e-13);
  }
}

// Both together spend what z alone would: z'^-2 + (2 s)^-2 ≤ z^-2.
TEST(NoiseMultiplierBesideBitsTest, NeverSpendsMore) {
  TrainingRandom random({.purpose = "split"});
  for (int i = 0; i < 1000; ++i) {
    const double z = 0.1 + 10 * random.UniformDouble();
    const double s = z / 2 * (1 + std::pow(2, -40 * random.UniformDouble()));
    const auto result = NoiseMultiplierBesideBits(z, s);
    ASSERT_THAT(result, IsOk());
    const auto wide_z = static_cast<long double>(z);
    const auto wide_s = static_cast<long double>(s);
    const long double left =
        (1 / wide_z - 1 / (2 * wide_s)) * (1 / wide_z + 1 / (2 * wide_s));
    EXPECT_LE(1 / (static_cast<long double>(*result) * *result), left)
        << z << " " << s;
  }
}

TEST(NoiseMultiplierBesideBitsTest, InfeasibleBudgetsAreErrors) {
  for (const double s : {0.5, 0.4, 0.001}) {
    EXPECT_THAT(NoiseMultiplierBesideBits(1, s),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("must be greater than 0.5")));
  }
  for (const double bad : {0.0, -1.0, kNan, kInfinity}) {
    EXPECT_THAT(NoiseMultiplierBesideBits(bad, 5),
                StatusIs(StatusCode::kInvalidArgument));
    EXPECT_THAT(NoiseMultiplierBesideBits(1, bad),
                StatusIs(StatusCode::kInvalidArgument));
  }
}

TEST(AdaptiveClippingTest, BitsAreCentred) {
  EXPECT_EQ(AdaptiveClipping::CentredBit(1, 1), 1);
  EXPECT_EQ(AdaptiveClipping::CentredBit(0, 1), 1);
  EXPECT_EQ(AdaptiveClipping::CentredBit(1.001, 1), -1);
  EXPECT_EQ(AdaptiveClipping::CentredBit(kNan, 1), -1);
  EXPECT_EQ(AdaptiveClipping::CentredBit(kInfinity, 1), -1);
}

TEST(AdaptiveClippingTest, UpdatesGeometrically) {
  auto clipping = AdaptiveClipping::Create(Usual());
  ASSERT_THAT(clipping, IsOk());
  // 80 within, 20 not: b = 0.8.
  ASSERT_THAT(clipping->Update(80 - 20), IsOk());
  EXPECT_NEAR(clipping->clip_norm(), std::exp(-0.2 * (0.8 - 0.5)), 1e-15);
  EXPECT_EQ(clipping->updates(), 1);
  // Nobody came: b = 1/2 under the fixed denominator, nothing moves.
  const double before = clipping->clip_norm();
  ASSERT_THAT(clipping->Update(0), IsOk());
  EXPECT_EQ(clipping->clip_norm(), before);
}

// Norms log-normal with median 3: from far below and far above the clip finds
// the quantile that is asked for, through noise of 5 on the bits.
TEST(AdaptiveClippingTest, FindsTheQuantile) {
  for (const double start : {0.01, 500.0}) {
    for (const double quantile : {0.2, 0.5, 0.8}) {
      AdaptiveClippingOptions options = Usual();
      options.initial_clip_norm = start;
      options.target_quantile = quantile;
      auto clipping = AdaptiveClipping::Create(options);
      TrainingRandom random({.purpose = "quantile"});
      double log_sum = 0;
      for (int round = 0; round < 400; ++round) {
        double sum = 10 * random.Normal();
        for (int device = 0; device < 100; ++device) {
          sum += AdaptiveClipping::CentredBit(3 * std::exp(random.Normal()),
                                              clipping->clip_norm());
        }
        ASSERT_THAT(clipping->Update(sum), IsOk());
        if (round >= 200) log_sum += std::log(clipping->clip_norm() / 3);
      }
      const double found = std::erfc(-log_sum / 200 / std::sqrt(2.0)) / 2;
      EXPECT_NEAR(found, quantile, 0.02) << start;
    }
  }
}

TEST(AdaptiveClippingTest, StaysWithinItsBounds) {
  AdaptiveClippingOptions options = Usual();
  options.least_clip_norm = 0.5;
  options.most_clip_norm = 2;
  auto clipping = AdaptiveClipping::Create(options);
  ASSERT_THAT(clipping->Update(1e9), IsOk());
  EXPECT_EQ(clipping->clip_norm(), 0.5);
  ASSERT_THAT(clipping->Update(-1e300), IsOk());
  EXPECT_EQ(clipping->clip_norm(), 2);
}

TEST(AdaptiveClippingTest, RefusesSumsThatAreNotFinite) {
  auto clipping = AdaptiveClipping::Create(Usual());
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    EXPECT_THAT(clipping->Update(bad), StatusIs(StatusCode::kInvalidArgument));
  }
  EXPECT_EQ(clipping->clip_norm(), 1);
  EXPECT_EQ(clipping->updates(), 0);
}

TEST(AdaptiveClippingTest, GoesOnFromItsState) {
  auto clipping = AdaptiveClipping::Create(Usual());
  ASSERT_THAT(clipping->Update(17), IsOk());
  const std::string state = clipping->Serialize();
  EXPECT_EQ(state.size(), 21);
  auto restored = AdaptiveClipping::Restore(Usual(), state);
  ASSERT_THAT(restored, IsOk());
  EXPECT_EQ(restored->clip_norm(), clipping->clip_norm());
  EXPECT_EQ(restored->updates(), 1);
  ASSERT_THAT(clipping->Update(-30), IsOk());
  ASSERT_THAT(restored->Update(-30), IsOk());
  EXPECT_EQ(restored->Serialize(), clipping->Serialize());
}

TEST(AdaptiveClippingTest, RefusesStatesThatAreNone) {
  const std::string state = AdaptiveClipping::Create(Usual())->Serialize();
  std::vector<std::string> bad = {"", state.substr(1), state + "x",
                                  "clip2" + state.substr(5)};
  for (const char byte : {'\x7f', '\xff'}) {  // NaN, negative
    bad.push_back(state);
    std::fill(bad.back().begin() + 5, bad.back().begin() + 13, byte);
  }
  for (const std::string& bytes : bad) {
    EXPECT_THAT(AdaptiveClipping::Restore(Usual(), bytes),
                StatusIs(StatusCode::kInvalidArgument));
  }
  AdaptiveClippingOptions other = Usual();
  other.least_clip_norm = other.initial_clip_norm = 2;
  EXPECT_THAT(AdaptiveClipping::Restore(other, state),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("this task")));
}

TEST(AdaptiveClippingTest, RefusesBadOptionsByName) {
  const auto refused = [](auto change, const char* name) {
    AdaptiveClippingOptions options = Usual();
    change(options);
    EXPECT_THAT(AdaptiveClipping::Create(options),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(name)));
  };
  for (const double bad : {0.0, -1.0, kNan, kInfinity, 1e31, 1e-31}) {
    refused([&](auto& o) { o.initial_clip_norm = bad; }, "initial_clip_norm");
    refused([&](auto& o) { o.least_clip_norm = bad; }, "clip_norm");
    refused([&](auto& o) { o.most_clip_norm = bad; }, "most_clip_norm");
  }
  for (const double bad : {-0.1, 1.1, kNan}) {
    refused([&](auto& o) { o.target_quantile = bad; }, "target_quantile");
  }
  for (const double bad : {0.0, -1.0, 11.0, kNan, kInfinity}) {
    refused([&](auto& o) { o.learning_rate = bad; }, "learning_rate");
  }
  for (const int64_t bad : {0, -5}) {
    refused([&](auto& o) { o.expected_count = bad; }, "expected_count");
  }
}

}  // namespace
}  // namespace mledge
