#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/aggregation/secagg/quantizer.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/aggregation/secagg/session_world.h"
#include "mledge/tests/support/status_matchers.h"

// Weights through a whole session: two faults of deployed implementations, a
// weight too large that overflows with a warning, and a weighted average whose
// masks were weighted as well, or whose weights were left out of the sum.

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;

constexpr int kDevices = 20;
constexpr int kCoordinates = 50;
constexpr int64_t kMostWeight = 600;

absl::StatusOr<Quantizer> MakeQuantizer(int bits, int64_t most_weight) {
  const absl::StatusOr<Modulus> modulus = Modulus::Create(bits);
  QuantizerOptions options{.modulus = *modulus};
  options.ranges = {
      {.name = "update", .size = kCoordinates, .bound = 2, .bits = 16},
      {.name = "weight",
       .size = 1,
       .bound = 32767,
       .bits = 16,
       .weighted = false}};
  options.maximum_updates = kDevices;
  options.maximum_weight = most_weight;
  return Quantizer::Create(options);
}

TEST(WeightedSumTest, TheAverageIsThatOfTheSurvivorsWithTheirWeights) {
  SessionWorld world(
      {.devices = kDevices, .sections = {{kCoordinates + 1, 32}}});
  const absl::StatusOr<Quantizer> quantizer = MakeQuantizer(32, kMostWeight);
  ASSERT_THAT(quantizer, IsOk());
  TrainingRandom draw({.purpose = "weighted session"});
  SystemSecretRandom random;
  std::vector<double> weighted(kCoordinates);
  double weights = 0;
  for (int i = 0; i < kDevices; ++i) {
    const int64_t weight = i == 0 ? kMostWeight : 1 + 7 * i;
    std::vector<float> values(kCoordinates + 1);
    for (float& value : values) value = 4 * draw.UniformFloat() - 2;
    values.back() = static_cast<float>(weight);
    ModularVector out =
        *ModularVector::Create(quantizer->options().modulus, kCoordinates + 1);
    ASSERT_THAT(quantizer->Quantize(values, weight, random, &out), IsOk());
    for (int j = 0; j <= kCoordinates; ++j) {
      world.device(i).values[0][j] = out.residue(j);
    }
    if (i == 3) {
      world.device(i).stops_before = Step::kMaskedInput;
    } else {
      if (i == 4) world.device(i).stops_before = Step::kUnmask;
      weights += static_cast<double>(weight);
      for (int j = 0; j < kCoordinates; ++j) {
        weighted[j] += static_cast<double>(weight) * values[j];
      }
    }
  }
  world.Run();
  world.ExpectExactSum();
  std::vector<double> sum(kCoordinates + 1);
  ASSERT_THAT(quantizer->DequantizeSum(world.finished[0].sum[0], sum), IsOk());
  EXPECT_EQ(sum.back(), weights);
  for (int j = 0; j < kCoordinates; ++j) {
    // Each of the weights may be off by less than one step of the scale.
    EXPECT_NEAR(sum[j] / sum.back(), weighted[j] / weights,
                1 / quantizer->scale(0));
  }
}

TEST(WeightedSumTest, AWeightAboveThePlannedOneIsAnError) {
  const absl::StatusOr<Quantizer> quantizer = MakeQuantizer(32, kMostWeight);
  ASSERT_THAT(quantizer, IsOk());
  SystemSecretRandom random;
  ModularVector out =
      *ModularVector::Create(quantizer->options().modulus, kCoordinates + 1);
  const std::vector<float> values(kCoordinates + 1);
  EXPECT_THAT(quantizer->Quantize(values, kMostWeight + 1, random, &out),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("601")));
}

TEST(WeightedSumTest, WeightsThatCouldOverflowAreNotPlanned) {
  // 20 · 600 · (2^16 − 1) is below 2^32, and far above 2^24.
  EXPECT_THAT(MakeQuantizer(32, kMostWeight), IsOk());
  EXPECT_THAT(
      MakeQuantizer(24, kMostWeight),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("update")));
}

}  // namespace
}  // namespace mledge::secagg
