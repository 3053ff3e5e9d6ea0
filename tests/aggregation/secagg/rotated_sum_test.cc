#include "mledge/aggregation/secagg/rotated_sum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "mledge/core/update.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSize = 300;  // not a power of two
constexpr int kFractionBits = 30;

HadamardRotation MakeRotation() {
  auto rotation = HadamardRotation::Create(kSize, Sha256Of("seed"));
  EXPECT_THAT(rotation, IsOk());
  return *std::move(rotation);
}

AggregationSum SumOf(std::vector<int64_t> integers) {
  AggregationSum sum;
  sum.fraction_bits = kFractionBits;
  sum.sections.push_back({std::string(kDeltaSection), std::move(integers)});
  return sum;
}

TEST(RotatedSumTest, TheSumOfRotatedUpdatesIsTheRotatedSum) {
  const HadamardRotation rotation = MakeRotation();
  std::vector<int64_t> rotated_sum(static_cast<size_t>(rotation.padded_size()));
  std::vector<double> expected(kSize);
  for (int update = 0; update < 3; ++update) {
    std::vector<float> values(kSize);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] =
          std::sin(static_cast<float>(i + 1) * static_cast<float>(update + 2));
      expected[i] += values[i];
    }
    std::vector<float> padded(static_cast<size_t>(rotation.padded_size()));
    ASSERT_THAT(rotation.Rotate(values, padded), IsOk());
    for (size_t i = 0; i < padded.size(); ++i) {
      rotated_sum[i] += std::llround(
          std::ldexp(static_cast<double>(padded[i]), kFractionBits));
    }
  }
  AggregationSum sum = SumOf(std::move(rotated_sum));
  ASSERT_THAT(Unrotate(rotation, &sum), IsOk());
  ASSERT_EQ(sum.sections[0].integers.size(), size_t{kSize});
  EXPECT_EQ(sum.fraction_bits, kFractionBits);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(std::ldexp(static_cast<double>(sum.sections[0].integers[i]),
                           -kFractionBits),
                expected[i], 1e-5)
        << i;
  }
}

TEST(RotatedSumTest, RefusesASumOfAnotherSize) {
  AggregationSum sum = SumOf(std::vector<int64_t>(kSize - 1));
  EXPECT_THAT(
      Unrotate(MakeRotation(), &sum),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rotated")));
  EXPECT_EQ(sum.sections[0].integers.size(), size_t{kSize - 1});
}

TEST(RotatedSumTest, RefusesCoordinatesThatNoSumHas) {
  const HadamardRotation rotation = MakeRotation();
  AggregationSum sum = SumOf(std::vector<int64_t>(
      static_cast<size_t>(rotation.padded_size()), int64_t{1} << 62));
  EXPECT_THAT(Unrotate(rotation, &sum),
              StatusIs(absl::StatusCode::kOutOfRange));
}

}  // namespace
}  // namespace mledge::secagg
