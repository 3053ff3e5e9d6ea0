#include "mledge/aggregation/secagg/update_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/tests/aggregation/secagg/test_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

UpdateCodecOptions Options() {
  return {.shared_size = 5,
          .value_bound = 1,
          .weight_bound = 600,
          .maximum_updates = 10};
}

UpdateCodec Make(const UpdateCodecOptions& options) {
  absl::StatusOr<UpdateCodec> codec = UpdateCodec::Create(options);
  EXPECT_THAT(codec, IsOk());
  return *std::move(codec);
}

Update MakeUpdate(std::vector<float> values, int64_t examples, double loss,
                  double correct) {
  Update update;
  update.weight = examples;
  UpdateSection section;
  section.name = std::string(kDeltaSection);
  section.values = AlignedFloats(values.size());
  std::copy(values.begin(), values.end(), section.values.span().begin());
  update.sections.push_back(std::move(section));
  update.scalars = {{std::string(kExamplesScalar), double(examples)},
                    {std::string(kLossSumScalar), loss},
                    {std::string(kMetricSumScalar), correct}};
  return update;
}

std::vector<Update> ThreeUpdates() {
  return {MakeUpdate({0.5F, -0.25F, 0, 0.001F, -1}, 600, 300.25, 450),
          MakeUpdate({0.1F, 0.2F, 0.3F, -0.4F, 1}, 17, 40, 3),
          MakeUpdate({-0.9F, 0.7F, 0.011F, 0.3F, 0.5F}, 1, 0.5, 1)};
}

// The sum of what Encode gives.
std::vector<ModularVector> SumOf(const UpdateCodec& codec,
                                 const std::vector<Update>& updates) {
  RepeatableRandom random(1);
  std::vector<ModularVector> sum;
  for (const Update& update : updates) {
    auto sections = codec.Encode(update, random);
    EXPECT_THAT(sections, IsOk());
    if (sum.empty()) {
      sum = *std::move(sections);
      continue;
    }
    for (size_t i = 0; i < sum.size(); ++i) {
      EXPECT_THAT(sum[i].Add((*sections)[i]), IsOk());
    }
  }
  return sum;
}

TEST(UpdateCodecTest, SumIsThatOfThePlainAggregatorButForRounding) {
  const UpdateCodec codec = Make(Options());
  const std::vector<Update> updates = ThreeUpdates();
  const absl::StatusOr<AggregationSum> secure =
      codec.Decode(SumOf(codec, updates), 3);
  ASSERT_THAT(secure, IsOk());

  const auto plain =
      Aggregator::Create(TrainingAggregationSpec(5, 1, 600, false, 10));
  ASSERT_THAT(plain, IsOk());
  for (const Update& update : updates) {
    const UpdateView view = UpdateView::Of(update, {});
    const UpdateView* const views[] = {&view};
    ASSERT_THAT((*plain)->Fold(views), IsOk());
  }
  EXPECT_EQ(secure->weight_sum, 618);
  EXPECT_EQ(secure->count, 3);
  EXPECT_EQ(secure->Scalar(kExamplesScalar), 618);
  EXPECT_NEAR(secure->Scalar(kLossSumScalar), 340.75, 3 * 0.01);
  EXPECT_EQ(secure->Scalar(kMetricSumScalar), 454);
  std::vector<float> got(5);
  std::vector<float> want(5);
  ASSERT_THAT(Mean(*secure, kDeltaSection, got), IsOk());
  ASSERT_THAT(Mean((*plain)->sum(), kDeltaSection, want), IsOk());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], codec.value_step()) << i;
  }
  // A sum of groups is formed in the plain aggregator.
  ASSERT_THAT((*plain)->Merge(*secure), IsOk());
  EXPECT_EQ((*plain)->sum().count, 6);
}

TEST(UpdateCodecTest, UniformWeightsCountEachUpdateOnce) {
  UpdateCodecOptions options = Options();
  options.uniform_weight = true;
  const UpdateCodec codec = Make(options);
  const absl::StatusOr<AggregationSum> sum =
      codec.Decode(SumOf(codec, ThreeUpdates()), 3);
  ASSERT_THAT(sum, IsOk());
  EXPECT_EQ(sum->weight_sum, 3);
  EXPECT_EQ(sum->Scalar(kExamplesScalar), 618);
  std::vector<float> mean(5);
  ASSERT_THAT(Mean(*sum, kDeltaSection, mean), IsOk());
  EXPECT_NEAR(mean[0], -0.1, codec.value_step());
}

TEST(UpdateCodecTest, ValuesBeyondTheBoundAreClipped) {
  const UpdateCodec codec = Make(Options());
  const absl::StatusOr<AggregationSum> sum = codec.Decode(
      SumOf(codec, {MakeUpdate({100, -1000, 1, 0, 0}, 10, 0, 0)}), 1);
  ASSERT_THAT(sum, IsOk());
  std::vector<float> mean(5);
  ASSERT_THAT(Mean(*sum, kDeltaSection, mean), IsOk());
  EXPECT_EQ(mean[0], 1);
  EXPECT_EQ(mean[1], -1);
  EXPECT_EQ(mean[2], 1);
}

TEST(UpdateCodecTest, UsesAllTheRoomThatThereIs) {
  UpdateCodecOptions options = Options();
  const UpdateCodec codec = Make(options);
  // 10 · 600 < 2^13, so 19 bits are left of 32: steps of 2^-17 within 1.
  EXPECT_EQ(codec.value_step(), std::ldexp(1.0, -17));
  options.value_bits = 10;
  const UpdateCodec small = Make(options);
  ASSERT_THAT(small.sections(), SizeIs(2));
  EXPECT_EQ(small.sections()[0].modulus.bits(), 23);
}

TEST(UpdateCodecTest, RefusesWhatCannotBeAddedUp) {
  UpdateCodecOptions options = Options();
  options.weight_bound = 1 << 20;
  options.maximum_updates = 1000;
  EXPECT_THAT(UpdateCodec::Create(options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("1000 updates of weights up to 1048576")));
  options = Options();
  options.value_bits = 22;
  EXPECT_THAT(UpdateCodec::Create(options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("leave 19 bits")));
  options = Options();
  options.value_bound = std::numeric_limits<double>::infinity();
  EXPECT_THAT(UpdateCodec::Create(options),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Weights that are too large have logged a warning and overflowed elsewhere.
TEST(UpdateCodecTest, RefusesAnUpdateThatIsOverweight) {
  const UpdateCodec codec = Make(Options());
  RepeatableRandom random(1);
  EXPECT_THAT(codec.Encode(MakeUpdate({0, 0, 0, 0, 0}, 601, 1, 1), random),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("601 examples are above the task's 600")));
  Update lying = MakeUpdate({0, 0, 0, 0, 0}, 600, 1, 1);
  lying.weight = 601;
  EXPECT_THAT(codec.Encode(lying, random),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(UpdateCodecTest, RefusesOtherSectionsAndValuesThatAreNone) {
  const UpdateCodec codec = Make(Options());
  RepeatableRandom random(1);
  EXPECT_THAT(codec.Encode(MakeUpdate({0, 0, 0, 0}, 1, 1, 1), random),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      codec.Encode(MakeUpdate({0, 0, std::nanf(""), 0, 0}, 1, 1, 1), random),
      StatusIs(absl::StatusCode::kInvalidArgument));
  Update evaluation = MakeUpdate({0, 0, 0, 0, 0}, 1, 1, 1);
  evaluation.sections.clear();
  EXPECT_THAT(codec.Encode(evaluation, random),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(UpdateCodecTest, RefusesASumThatNoUpdatesCanHave) {
  const UpdateCodec codec = Make(Options());
  std::vector<ModularVector> sum = SumOf(codec, ThreeUpdates());
  EXPECT_THAT(codec.Decode(sum, 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(codec.Decode(sum, 1), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("broke the protocol")));
  sum.pop_back();
  EXPECT_THAT(codec.Decode(sum, 3),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Private tasks: values with noise, which may lie beyond the bound, come back
// as they went in; what leaves the modulus wraps around.
UpdateCodecOptions OnGrid() {
  UpdateCodecOptions options = Options();
  options.uniform_weight = true;
  options.value_bound = 16;
  options.grid = ValueGrid{.fraction_bits = 10, .modulus_bits = 16};
  return options;
}

TEST(UpdateCodecTest, ValuesOnAGridAreTakenAsTheyAre) {
  const UpdateCodec codec = Make(OnGrid());
  EXPECT_EQ(codec.value_step(), std::ldexp(1.0, -10));
  EXPECT_EQ(codec.sections()[0].modulus.bits(), 16);
  const float step = 0x1p-10F;
  const auto sum = codec.Decode(
      SumOf(codec, {MakeUpdate({3 * step, -5 * step, 0, 31, -32}, 1, 0, 0),
                    MakeUpdate({step, step, 0, 2, 0}, 1, 0, 0)}),
      2);
  ASSERT_THAT(sum, IsOk());
  std::vector<float> mean(5);
  ASSERT_THAT(Mean(*sum, kDeltaSection, mean), IsOk());
  EXPECT_EQ(mean[0], 2 * step);
  EXPECT_EQ(mean[1], -2 * step);
  EXPECT_EQ(mean[3], (33.F - 64) / 2) << "wraps around 2^16 steps";
  EXPECT_EQ(mean[4], -16);
}

TEST(UpdateCodecTest, RefusesValuesOffTheGrid) {
  const UpdateCodec codec = Make(OnGrid());
  RepeatableRandom random(1);
  EXPECT_THAT(codec.Encode(MakeUpdate({0, 0x1p-11F, 0, 0, 0}, 1, 0, 0), random),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("value 1 of the update is 0.000488281, which "
                                 "is no multiple of 2^-10")));
  EXPECT_THAT(codec.Encode(MakeUpdate({0, 0, 0x1p30F, 0, 0}, 1, 0, 0), random),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(UpdateCodecTest, RefusesAGridThatSumsCannotHold) {
  UpdateCodecOptions options = OnGrid();
  options.grid->modulus_bits = 33;
  EXPECT_THAT(UpdateCodec::Create(options),
              StatusIs(absl::StatusCode::kInvalidArgument));
  options = OnGrid();
  options.grid->modulus_bits = 32;  // 2^31 steps of 2^-10, within 16 for each
  EXPECT_THAT(UpdateCodec::Create(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("out of its range")));
  options.value_bound = 0x1p21;
  EXPECT_THAT(UpdateCodec::Create(options), IsOk());
  options.uniform_weight = false;
  EXPECT_THAT(UpdateCodec::Create(options),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(UpdateCodecTest, ClipBitsAreCountedInHalves) {
  UpdateCodecOptions options = OnGrid();
  options.clip_bit = true;
  const UpdateCodec codec = Make(options);
  std::vector<Update> updates;
  for (const double bit : {0.5, 0.5, -0.5}) {
    updates.push_back(MakeUpdate({0, 0, 0, 0, 0}, 1, 0, 0));
    updates.back().scalars.push_back({std::string(kClipBitScalar), bit});
  }
  const auto sum = codec.Decode(SumOf(codec, updates), 3);
  ASSERT_THAT(sum, IsOk());
  EXPECT_EQ(sum->Scalar(kClipBitScalar), 0.5);
  RepeatableRandom random(1);
  EXPECT_THAT(
      codec.Encode(MakeUpdate({0, 0, 0, 0, 0}, 1, 0, 0), random),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("scalars")));
}

UpdateCodecOptions EvaluationOptions() {
  UpdateCodecOptions options = Options();
  options.shared_size = 0;
  return options;
}

std::vector<Update> ThreeEvaluations() {
  std::vector<Update> updates = ThreeUpdates();
  for (Update& update : updates) update.sections.clear();
  return updates;
}

TEST(UpdateCodecTest, EvaluationsAreOneSectionOfThreeScalars) {
  const UpdateCodec codec = Make(EvaluationOptions());
  ASSERT_THAT(codec.sections(), SizeIs(1));
  EXPECT_EQ(codec.sections()[0].length, 3);
  const absl::StatusOr<AggregationSum> sum =
      codec.Decode(SumOf(codec, ThreeEvaluations()), 3);
  ASSERT_THAT(sum, IsOk());
  EXPECT_EQ(sum->count, 3);
  EXPECT_EQ(sum->Scalar(kExamplesScalar), 618);
  EXPECT_NEAR(sum->Scalar(kLossSumScalar), 340.75, 3 * 0.01);
  EXPECT_EQ(sum->Scalar(kMetricSumScalar), 454);
  // Sums of groups are formed in the plain aggregator.
  const auto plain = Aggregator::Create(EvaluationAggregationSpec(1000, 10));
  ASSERT_THAT(plain, IsOk());
  ASSERT_THAT((*plain)->Merge(*sum), IsOk());
  ASSERT_THAT((*plain)->Merge(*sum), IsOk());
  EXPECT_EQ((*plain)->sum().Scalar(kExamplesScalar), 1236);
}

TEST(UpdateCodecTest, EvaluationsTakeNoUpdateAndTheOtherWayRound) {
  RepeatableRandom random(1);
  EXPECT_THAT(Make(EvaluationOptions()).Encode(ThreeUpdates()[0], random),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Make(Options()).Encode(ThreeEvaluations()[0], random),
              StatusIs(absl::StatusCode::kInvalidArgument));
  Update large = ThreeEvaluations()[0];
  large.scalars[0].value = 601;
  EXPECT_THAT(
      Make(EvaluationOptions()).Encode(large, random),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("601 examples")));
  UpdateCodecOptions clipped = EvaluationOptions();
  clipped.clip_bit = true;
  EXPECT_THAT(UpdateCodec::Create(clipped),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge::secagg
