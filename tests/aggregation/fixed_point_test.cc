#include "mledge/aggregation/fixed_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(FractionBitsTest, OfTheTaskDefaults) {
  EXPECT_THAT(FractionBits({16, 1 << 20, 10}), IsOkAndHolds(34));
  EXPECT_THAT(FractionBits({16, 1, 10}), IsOkAndHolds(47));  // 51 − 4 binds
  EXPECT_THAT(FractionBits({1e-9, 1, 1}), IsOkAndHolds(60));
}

TEST(FractionBitsTest, WorstSumStaysWithin62Bits) {
  for (double value : {0.001, 0.5, 1.0, 1.5, 16.0, 100.0, 12345.678}) {
    for (int64_t weight : {int64_t{1}, int64_t{3}, int64_t{1} << 20}) {
      for (int64_t updates : {1, 2, 10, 1000, 4097}) {
        const absl::StatusOr<int> bits = FractionBits({value, weight, updates});
        if (!bits.ok()) continue;
        const __int128 largest =
            static_cast<__int128>(std::nearbyint(std::ldexp(value, *bits)));
        EXPECT_LE(largest, __int128{1} << 51);
        EXPECT_LE(largest * weight * updates, __int128{1} << 62)
            << value << " " << weight << " " << updates;
      }
    }
  }
}

TEST(FractionBitsTest, RefusesBadBounds) {
  for (double value : {0.0, -1.0, kNan, kInfinity}) {
    EXPECT_THAT(
        FractionBits({value, 1, 1}),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("value bound")))
        << value;
  }
  for (int64_t weight : {int64_t{0}, int64_t{-1}, int64_t{1} << 31,
                         std::numeric_limits<int64_t>::max()}) {
    EXPECT_THAT(
        FractionBits({1, weight, 1}),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("weight bound")))
        << weight;
  }
  for (int64_t updates : {0, -1}) {
    EXPECT_THAT(FractionBits({1, 1, updates}),
                StatusIs(StatusCode::kInvalidArgument));
  }
}

TEST(FractionBitsTest, RefusesBoundsThatLeaveNoPrecision) {
  EXPECT_THAT(FractionBits({0x1p20, 1 << 16, 1024}), IsOkAndHolds(16));
  EXPECT_THAT(FractionBits({0x1p20, 1 << 16, 1025}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("lower aggregation.value_bound")));
  EXPECT_THAT(FractionBits({std::numeric_limits<double>::max(), 1,
                            std::numeric_limits<int64_t>::max()}),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(RoundToFixedPointTest, RoundsTiesToEven) {
  EXPECT_EQ(RoundToFixedPoint(0.5F, 1), 0);
  EXPECT_EQ(RoundToFixedPoint(1.5F, 1), 2);
  EXPECT_EQ(RoundToFixedPoint(2.5F, 1), 2);
  EXPECT_EQ(RoundToFixedPoint(-0.5F, 1), 0);
  EXPECT_EQ(RoundToFixedPoint(-1.5F, 1), -2);
  EXPECT_EQ(RoundToFixedPoint(-0.0F, 1), 0);
  EXPECT_EQ(RoundToFixedPoint(0.75F, 2), 2);
}

TEST(RoundToFixedPointTest, HoldsAtTheEdges) {
  EXPECT_EQ(RoundToFixedPoint(16.0F, 0x1p47), int64_t{1} << 51);
  EXPECT_EQ(RoundToFixedPoint(-16.0F, 0x1p47), -(int64_t{1} << 51));
  EXPECT_EQ(RoundToFixedPoint(std::nextafterf(16.0F, 0), 0x1p47),
            (int64_t{1} << 51) - (int64_t{1} << 27));
  EXPECT_EQ(RoundToFixedPoint(std::numeric_limits<float>::denorm_min(), 0x1p60),
            0);
}

TEST(RoundToFixedPointTest, EqualsTheLibrarysRounding) {
  const uint64_t seed = TestSeed(11);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "round"});
  for (int i = 0; i < 100000; ++i) {
    const float value =
        std::ldexp(static_cast<float>(random.Normal()),
                   static_cast<int>(random.UniformBelow(30)) - 28);
    if (std::fabs(value) > 16) continue;
    const double scale = std::ldexp(1.0, 20 + random.UniformBelow(28));
    EXPECT_EQ(RoundToFixedPoint(value, scale), std::llrint(value * scale));
  }
}

TEST(ScalarToFixedPointTest, RoundsAndBounds) {
  const double bound = ScalarBound(10);
  EXPECT_EQ(bound, 0x1p38);
  EXPECT_EQ(ScalarToFixedPoint(1, bound), 1 << 20);
  EXPECT_EQ(ScalarToFixedPoint(-0x1.8p-20, bound), -2);
  EXPECT_EQ(ScalarToFixedPoint(0x1p-21, bound), 0);
  EXPECT_EQ(ScalarToFixedPoint(bound, bound), int64_t{1} << 58);
  for (double bad : {kNan, kInfinity, -kInfinity, bound * 1.0001, -1e300}) {
    EXPECT_EQ(ScalarToFixedPoint(bad, bound), std::nullopt) << bad;
  }
}

TEST(FindOutsideTest, FindsTheFirstOutside) {
  std::vector<float> values(20000, 16.0F);
  EXPECT_EQ(FindOutside(values, 16), std::nullopt);
  EXPECT_EQ(FindOutside({}, 16), std::nullopt);
  for (float bad : {std::nextafterf(16.0F, 20.0F), -17.0F,
                    std::numeric_limits<float>::quiet_NaN(),
                    std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    for (size_t position : {size_t{0}, size_t{8191}, size_t{19999}}) {
      std::vector<float> one_bad = values;
      one_bad[position] = bad;
      EXPECT_EQ(FindOutside(one_bad, 16), position) << bad;
    }
  }
}

TEST(FindOutsideTest, BoundBetweenTwoFloatsSeparatesThem) {
  const double bound = 0.1;  // float(0.1) is larger
  EXPECT_EQ(FindOutside(std::vector<float>{0.1F}, bound), 0u);
  EXPECT_EQ(FindOutside(std::vector<float>{std::nextafterf(0.1F, 0)}, bound),
            std::nullopt);
  EXPECT_EQ(FindOutside(std::vector<float>{3e38F}, 1e300), std::nullopt);
  EXPECT_EQ(
      FindOutside(std::vector<float>{std::numeric_limits<float>::infinity()},
                  1e300),
      0u);
}

}  // namespace
}  // namespace mledge
