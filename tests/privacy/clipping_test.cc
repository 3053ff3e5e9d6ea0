#include "mledge/privacy/clipping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> Normals(size_t size, TrainingRandom* random) {
  std::vector<float> values(size);
  for (float& value : values) value = static_cast<float>(random->Normal());
  return values;
}

// Independent of the code under test: 64-bit mantissas, one running sum.
long double ReferenceNorm(std::span<const float> values) {
  long double sum = 0;
  for (float value : values) sum += static_cast<long double>(value) * value;
  return std::sqrt(sum);
}

absl::StatusOr<ClipResult> Clip(std::vector<float>& values, double clip_norm) {
  const std::vector<std::span<float>> spans = {values};
  return ClipL2(spans, clip_norm);
}

TEST(L2NormTest, IsTheEuclideanNormOverAllSpans) {
  const std::vector<float> a = {3};
  const std::vector<float> b = {0, -4, 12};
  const std::vector<std::span<const float>> spans = {a, b};
  EXPECT_THAT(L2Norm(spans), IsOkAndHolds(13.0));
}

TEST(L2NormTest, OfNothingIsZero) {
  EXPECT_THAT(L2Norm({}), IsOkAndHolds(0.0));
  const std::vector<std::span<const float>> empty(3);
  EXPECT_THAT(L2Norm(empty), IsOkAndHolds(0.0));
}

TEST(L2NormTest, AgreesWithAnExactReferenceAtEverySize) {
  const uint64_t seed = TestSeed(3);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "norm"});
  for (size_t size : {1, 7, 8, 9, 4095, 4096, 4097, 12289, 100003}) {
    const std::vector<float> values = Normals(size, &random);
    const std::vector<std::span<const float>> spans = {values};
    const absl::StatusOr<double> norm = L2Norm(spans);
    ASSERT_THAT(norm, IsOk());
    EXPECT_NEAR(static_cast<double>(*norm / ReferenceNorm(values)), 1, 1e-14)
        << size;
  }
}

TEST(L2NormTest, LargestFloatsDoNotOverflow) {
  const std::vector<float> values(5000, std::numeric_limits<float>::max());
  const std::vector<std::span<const float>> spans = {values};
  const absl::StatusOr<double> norm = L2Norm(spans);
  ASSERT_THAT(norm, IsOk());
  EXPECT_NEAR(*norm / std::numeric_limits<float>::max(), std::sqrt(5000), 1e-9);
}

TEST(L2NormTest, NanAndInfinityAreNamed) {
  for (float bad : {kNan, kInfinity, -kInfinity}) {
    const std::vector<float> good(10);
    std::vector<float> values(5000);
    values[4321] = bad;
    const std::vector<std::span<const float>> spans = {good, values};
    EXPECT_THAT(L2Norm(spans), StatusIs(StatusCode::kInvalidArgument,
                                        HasSubstr("value 4321 of section 1")));
  }
}

TEST(ClipL2Test, LeavesShortVectorsAlone) {
  std::vector<float> values = {3, 4};
  const auto result = Clip(values, 5);
  ASSERT_THAT(result, IsOk());
  EXPECT_FALSE(result->clipped);
  EXPECT_EQ(result->factor, 1);
  EXPECT_EQ(result->norm_before, 5);
  EXPECT_THAT(values, ::testing::ElementsAre(3, 4));
}

TEST(ClipL2Test, LeavesZeroAlone) {
  std::vector<float> values(10);
  const auto result = Clip(values, 1e-30);
  ASSERT_THAT(result, IsOk());
  EXPECT_FALSE(result->clipped);
}

TEST(ClipL2Test, ScalesAllSpansTogether) {
  std::vector<float> a = {3};
  std::vector<float> b = {4, 0};
  const std::vector<std::span<float>> spans = {a, b};
  const auto result = ClipL2(spans, 1);
  ASSERT_THAT(result, IsOk());
  EXPECT_TRUE(result->clipped);
  EXPECT_NEAR(result->factor, 0.2, 1e-7);
  EXPECT_NEAR(a[0], 0.6, 1e-6);
  EXPECT_NEAR(b[0], 0.8, 1e-6);
  EXPECT_EQ(b[1], 0);
}

TEST(ClipL2Test, NeverLeavesMoreThanTheBound) {
  const uint64_t seed = TestSeed(5);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "clip"});
  for (int i = 0; i < 300; ++i) {
    std::vector<float> values = Normals(1 + random.UniformBelow(200), &random);
    const double clip_norm = 0.001 + random.UniformDouble();
    const auto result = Clip(values, clip_norm);
    ASSERT_THAT(result, IsOk());
    const long double norm = ReferenceNorm(values);
    EXPECT_LE(norm, clip_norm);
    if (result->clipped) {
      EXPECT_GE(norm, clip_norm * (1 - 1e-6));
    }
    // What was clipped is short enough now.
    const std::vector<float> once = values;
    ASSERT_THAT(Clip(values, clip_norm), IsOk());
    EXPECT_EQ(values, once);
  }
}

TEST(ClipL2Test, RefusesBadClipNorms) {
  for (double bad : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                     std::numeric_limits<double>::infinity()}) {
    std::vector<float> values = {1};
    EXPECT_THAT(Clip(values, bad),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("clip norm")))
        << bad;
  }
}

TEST(ClipL2Test, ChangesNothingWhenAValueIsNotFinite) {
  std::vector<float> values = {100, kInfinity};
  EXPECT_THAT(Clip(values, 1), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_EQ(values[0], 100);
}

TEST(ClipL2PerLayerTest, ClipsEachLayerToItsOwnNorm) {
  std::vector<float> a = {3, 4};
  std::vector<float> b = {0.5F, 0};
  std::vector<float> c = {-12};
  std::vector<float> rest_of_a = {12};
  const std::vector<std::vector<std::span<float>>> layers = {
      {a, rest_of_a}, {b}, {c}};
  const auto results = ClipL2PerLayer(layers, std::vector<double>{2.6, 2, 6});
  ASSERT_THAT(results, IsOk());
  EXPECT_TRUE((*results)[0].clipped);
  EXPECT_EQ((*results)[0].norm_before, 13);
  EXPECT_FALSE((*results)[1].clipped);
  EXPECT_EQ((*results)[2].norm_before, 12);
  EXPECT_NEAR(a[0], 0.6, 1e-6);
  EXPECT_NEAR(rest_of_a[0], 2.4, 1e-6);
  EXPECT_EQ(b[0], 0.5F);
  EXPECT_NEAR(c[0], -6, 1e-5);
  EXPECT_LE(ReferenceNorm(a), 1);
  EXPECT_LE(ReferenceNorm(c), 6);
}

// Pitfall 12: the update's bound is the root of the sum of squares, which
// layers that all meet their bounds attain; neither the largest nor the sum.
TEST(ClipL2PerLayerTest, TotalIsTheRootOfTheSumOfSquares) {
  EXPECT_THAT(TotalClipNorm(std::vector<double>{2.5}), IsOkAndHolds(2.5));
  const auto total = TotalClipNorm(std::vector<double>{3, 4, 12});
  ASSERT_THAT(total, IsOk());
  EXPECT_GE(*total, 13);
  EXPECT_NEAR(*total, 13, 1e-13);
  const auto huge = TotalClipNorm(std::vector<double>{1e300, 1e300, 1e-300});
  ASSERT_THAT(huge, IsOk());
  EXPECT_NEAR(*huge / 1e300, std::sqrt(2), 1e-14);

  const uint64_t seed = TestSeed(6);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "layers"});
  for (int i = 0; i < 100; ++i) {
    std::vector<std::vector<float>> layers;
    std::vector<double> norms;
    for (uint64_t k = 1 + random.UniformBelow(20); k > 0; --k) {
      layers.push_back(Normals(1 + random.UniformBelow(50), &random));
      norms.push_back(0.01 + random.UniformDouble());
    }
    std::vector<std::vector<std::span<float>>> spans;
    for (std::vector<float>& layer : layers) spans.push_back({layer});
    ASSERT_THAT(ClipL2PerLayer(spans, norms), IsOk());
    std::vector<float> all;
    long double squares = 0;
    for (size_t k = 0; k < layers.size(); ++k) {
      EXPECT_LE(ReferenceNorm(layers[k]), norms[k]);
      all.insert(all.end(), layers[k].begin(), layers[k].end());
      squares += static_cast<long double>(norms[k]) * norms[k];
    }
    EXPECT_LE(ReferenceNorm(all), *TotalClipNorm(norms));
    EXPECT_GE(*TotalClipNorm(norms), std::sqrt(squares));
  }
}

TEST(ClipL2PerLayerTest, ChangesNothingWhenAnythingIsWrong) {
  std::vector<float> a = {100};
  std::vector<float> b = {1, kNan};
  const std::vector<std::vector<std::span<float>>> layers = {{a}, {b}};
  EXPECT_THAT(ClipL2PerLayer(layers, std::vector<double>{1, 1}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("layer 1")));
  EXPECT_THAT(
      ClipL2PerLayer(layers, std::vector<double>{1}),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("1 clip norms")));
  for (const double bad : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                           std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(ClipL2PerLayer(layers, std::vector<double>{1, bad}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("clip norm")));
    EXPECT_THAT(TotalClipNorm(std::vector<double>{bad}),
                StatusIs(StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(TotalClipNorm({}), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_EQ(a[0], 100);
}

}  // namespace
}  // namespace mledge
