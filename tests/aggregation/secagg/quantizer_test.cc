#include "mledge/aggregation/secagg/quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/tests/aggregation/secagg/test_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge::secagg {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

QuantizerOptions OptionsOf(int modulus_bits, int64_t updates,
                           std::vector<QuantizedRange> ranges) {
  return {.modulus = *Modulus::Create(modulus_bits),
          .ranges = std::move(ranges),
          .maximum_updates = updates};
}

ModularVector VectorFor(const Quantizer& quantizer) {
  return *ModularVector::Create(quantizer.options().modulus, quantizer.size());
}

// Where x · s is an integer nothing is drawn, so the result is exact.
TEST(QuantizerTest, IntegersOfTheScaleAreExact) {
  // C = L, so s = 1.
  const auto quantizer =
      Quantizer::Create(OptionsOf(32, 10, {{"counts", 5, 32767, 16}}));
  ASSERT_THAT(quantizer, IsOk());
  EXPECT_EQ(quantizer->scale(0), 1);
  RepeatableRandom random(1);
  ModularVector out = VectorFor(*quantizer);
  ASSERT_THAT(quantizer->Quantize(std::vector<float>{0, 1, -1, 32767, -32767},
                                  1, random, &out),
              IsOk());
  EXPECT_EQ(out.centered(0), 0);
  EXPECT_EQ(out.centered(1), 1);
  EXPECT_EQ(out.centered(2), -1);
  EXPECT_EQ(out.centered(3), 32767);
  EXPECT_EQ(out.centered(4), -32767);
}

TEST(QuantizerTest, RoundsToANeighbour) {
  const uint64_t seed = TestSeed(8);
  const auto trace = TraceSeed(seed);
  for (const int bits : {2, 6, 8, 16, 24}) {
    const auto quantizer =
        Quantizer::Create(OptionsOf(32, 1, {{"t", 5000, 0.7, bits}}));
    ASSERT_THAT(quantizer, IsOk());
    TrainingRandom draw({.task_seed = seed, .purpose = "values"});
    std::vector<float> values(5000);
    for (float& value : values) value = 0.7F * (2 * draw.UniformFloat() - 1);
    RepeatableRandom random(seed);
    ModularVector out = VectorFor(*quantizer);
    ASSERT_THAT(quantizer->Quantize(values, 1, random, &out), IsOk());
    const int64_t largest = (int64_t{1} << (bits - 1)) - 1;
    for (int64_t i = 0; i < out.size(); ++i) {
      const double exact = values[i] * quantizer->scale(0);
      EXPECT_LE(std::abs(out.centered(i) - exact), 1) << values[i];
      EXPECT_LE(std::abs(out.centered(i)), largest);
    }
  }
}

// The mean of a million roundings of x·s = 3.3: standard deviation of the mean
// sqrt(.3 · .7 / 1e6) = 4.6e-4; six of them: false alarm 2e-9.
TEST(QuantizerTest, RoundingIsRightOnAverage) {
  const auto quantizer =
      Quantizer::Create(OptionsOf(16, 1, {{"t", 1'000'000, 127, 8}}));
  const std::vector<float> values(1'000'000, 3.3F);
  RepeatableRandom random(3);
  ModularVector out = VectorFor(*quantizer);
  ASSERT_THAT(quantizer->Quantize(values, 1, random, &out), IsOk());
  double sum = 0;
  for (int64_t i = 0; i < out.size(); ++i) sum += out.centered(i);
  EXPECT_NEAR(sum / 1e6, 3.3, 6 * 4.6e-4);
}

TEST(QuantizerTest, ClipsFirst) {
  const auto quantizer =
      Quantizer::Create(OptionsOf(32, 1, {{"t", 4, 1.0, 8}}));
  RepeatableRandom random(1);
  ModularVector out = VectorFor(*quantizer);
  ASSERT_THAT(quantizer->Quantize(std::vector<float>{5, -5, 3e38F, -3e38F}, 1,
                                  random, &out),
              IsOk());
  EXPECT_EQ(out.centered(0), 127);
  EXPECT_EQ(out.centered(1), -127);
  EXPECT_EQ(out.centered(2), 127);
  EXPECT_EQ(out.centered(3), -127);
}

TEST(QuantizerTest, SumsOfWeightedUpdatesComeBack) {
  QuantizerOptions options = OptionsOf(
      32, 3, {{"tensor", 100, 2.0, 16}, {"examples", 1, 32767, 16, false}});
  options.maximum_weight = 600;
  const auto quantizer = Quantizer::Create(options);
  ASSERT_THAT(quantizer, IsOk());
  RepeatableRandom random(5);
  TrainingRandom draw({.purpose = "weighted"});
  ModularVector sum = VectorFor(*quantizer);
  std::vector<double> expected(101);
  for (const int64_t weight : {600, 1, 77}) {
    std::vector<float> values(101);
    for (float& value : values) value = 4 * draw.UniformFloat() - 2;
    values[100] = static_cast<float>(weight);
    ModularVector out = VectorFor(*quantizer);
    ASSERT_THAT(quantizer->Quantize(values, weight, random, &out), IsOk());
    ASSERT_THAT(sum.Add(out), IsOk());
    for (size_t i = 0; i < 100; ++i) expected[i] += weight * values[i];
    expected[100] += values[100];
  }
  std::vector<double> found(101);
  ASSERT_THAT(quantizer->DequantizeSum(sum, found), IsOk());
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_NEAR(found[i], expected[i], 678 / quantizer->scale(0));
  }
  EXPECT_EQ(found[100], 678);
}

TEST(QuantizerTest, LargestSumOfTheExactContractDoesNotWrap) {
  // 257 · 255 = 65535 < 2^16.
  const auto quantizer =
      Quantizer::Create(OptionsOf(16, 257, {{"t", 2, 1.0, 8}}));
  ASSERT_THAT(quantizer, IsOk());
  RepeatableRandom random(1);
  ModularVector sum = VectorFor(*quantizer);
  for (int update = 0; update < 257; ++update) {
    ModularVector out = VectorFor(*quantizer);
    ASSERT_THAT(quantizer->Quantize(std::vector<float>{1, -1}, 1, random, &out),
                IsOk());
    ASSERT_THAT(sum.Add(out), IsOk());
  }
  EXPECT_EQ(sum.centered(0), 257 * 127);
  EXPECT_EQ(sum.centered(1), -257 * 127);
  EXPECT_THAT(Quantizer::Create(OptionsOf(16, 258, {{"t", 2, 1.0, 8}})),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("257 at most"), HasSubstr("7 bits"))));
}

TEST(QuantizerTest, KnowsHowManyBitsFit) {
  EXPECT_EQ(MostExactBits(*Modulus::Create(16), 257, 1), 8);
  EXPECT_EQ(MostExactBits(*Modulus::Create(16), 1040, 1), 6);
  EXPECT_EQ(MostExactBits(*Modulus::Create(16), 1041, 1), 5);
  EXPECT_EQ(MostExactBits(*Modulus::Create(32), 1000, 600), 12);
  EXPECT_EQ(MostExactBits(*Modulus::Create(8), 1000, 1), 0);
  EXPECT_EQ(
      MostExactBits(*Modulus::Create(32), int64_t{1} << 32, int64_t{1} << 32),
      0);
}

TEST(QuantizerTest, RefusesAWeightAboveTheBound) {
  QuantizerOptions options = OptionsOf(32, 10, {{"t", 1, 1.0, 8}});
  options.maximum_weight = 100;
  const auto quantizer = Quantizer::Create(options);
  RepeatableRandom random(1);
  ModularVector out = VectorFor(*quantizer);
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, int64_t{101},
                            std::numeric_limits<int64_t>::max()}) {
    EXPECT_THAT(quantizer->Quantize(std::vector<float>{0}, bad, random, &out),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("allows 1 to 100")));
  }
  EXPECT_EQ(out.residue(0), 0U);
}

TEST(QuantizerTest, RefusesNonFiniteValuesByName) {
  const auto quantizer = Quantizer::Create(
      OptionsOf(32, 10, {{"fc1.weight", 3, 1.0, 8}, {"loss", 2, 1.0, 8}}));
  RepeatableRandom random(1);
  ModularVector out = VectorFor(*quantizer);
  for (const float bad : {std::nanf(""), kInfinity, -kInfinity}) {
    EXPECT_THAT(quantizer->Quantize(std::vector<float>{0, 0, 0, 0, bad}, 1,
                                    random, &out),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("value 1 of loss")));
  }
}

TEST(QuantizerTest, RefusesOtherShapes) {
  const auto quantizer =
      Quantizer::Create(OptionsOf(32, 10, {{"t", 3, 1.0, 8}}));
  RepeatableRandom random(1);
  ModularVector out = VectorFor(*quantizer);
  EXPECT_THAT(quantizer->Quantize(std::vector<float>(4), 1, random, &out),
              StatusIs(absl::StatusCode::kInvalidArgument));
  ModularVector other = *ModularVector::Create(*Modulus::Create(31), 3);
  EXPECT_THAT(quantizer->Quantize(std::vector<float>(3), 1, random, &other),
              StatusIs(absl::StatusCode::kInvalidArgument));
  std::vector<double> two(2);
  EXPECT_THAT(quantizer->DequantizeSum(out, two),
              StatusIs(absl::StatusCode::kInvalidArgument));
  std::vector<double> three(3);
  EXPECT_THAT(quantizer->DequantizeSum(other, three),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(QuantizerTest, RefusesBoundsThatAreNone) {
  for (const double bad :
       {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(
        Quantizer::Create(OptionsOf(32, 10, {{"fc1.bias", 3, bad, 8}})),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fc1.bias")));
  }
}

TEST(QuantizerTest, RefusesBitsOutsideTwoToTwentyFour) {
  for (const int bad : {-1, 0, 1, 25, 64}) {
    EXPECT_THAT(Quantizer::Create(OptionsOf(32, 1, {{"t", 3, 1.0, bad}})),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(QuantizerTest, RefusesEmptyRangesAndCohorts) {
  EXPECT_THAT(Quantizer::Create(OptionsOf(32, 1, {{"t", 0, 1.0, 8}})),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Quantizer::Create(OptionsOf(32, 0, {{"t", 1, 1.0, 8}})),
              StatusIs(absl::StatusCode::kInvalidArgument));
  QuantizerOptions options = OptionsOf(32, 1, {{"t", 1, 1.0, 8}});
  options.maximum_weight = 0;
  EXPECT_THAT(Quantizer::Create(options),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(QuantizerTest, ReportsTheProbabilityToWrap) {
  QuantizerOptions options = OptionsOf(16, 100, {{"t", 1000, 1.0, 8}});
  options.contract = RangeContract::kProbabilistic;
  options.noise_standard_deviation = 3000;
  options.maximum_wrap_probability = 1e-6;
  const auto quantizer = Quantizer::Create(options);
  ASSERT_THAT(quantizer, IsOk());
  // Room 32768 − 12700 = 20068, 6.7 deviations: 1000 · erfc(6.689 / √2).
  EXPECT_NEAR(quantizer->wrap_probability(),
              1000 * std::erfc(20068 / 3000.0 / std::sqrt(2.0)), 1e-15);
  options.noise_standard_deviation = 6000;
  EXPECT_THAT(
      Quantizer::Create(options),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("wrap")));
  EXPECT_EQ(Quantizer::Create(OptionsOf(16, 100, {{"t", 1, 1.0, 8}}))
                ->wrap_probability(),
            0);
}

TEST(QuantizerTest, RefusesProbabilitiesAndNoiseThatAreNone) {
  QuantizerOptions options = OptionsOf(16, 10, {{"t", 10, 1.0, 8}});
  options.contract = RangeContract::kProbabilistic;
  for (const double bad : {0.0, 1.0, -1.0, std::nan("")}) {
    options.maximum_wrap_probability = bad;
    EXPECT_THAT(Quantizer::Create(options),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  options.maximum_wrap_probability = .1;
  for (const double bad :
       {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    options.noise_standard_deviation = bad;
    EXPECT_THAT(Quantizer::Create(options),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace mledge::secagg
