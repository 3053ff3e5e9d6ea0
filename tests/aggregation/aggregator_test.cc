#include "mledge/aggregation/aggregator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

AggregationSpec Spec() {
  return TrainingAggregationSpec(/*shared_size=*/3, /*value_bound=*/16,
                                 /*weight_bound=*/1000, /*uniform=*/false,
                                 /*maximum_updates=*/4);
}

Update MakeUpdate(std::vector<float> values, int64_t weight) {
  Update update;
  UpdateSection section{std::string(kDeltaSection),
                        AlignedFloats(values.size())};
  std::ranges::copy(values, section.values.span().begin());
  update.sections.push_back(std::move(section));
  update.scalars = {{std::string(kExamplesScalar), double(weight)},
                    {std::string(kLossSumScalar), 2.5},
                    {std::string(kMetricSumScalar), 1}};
  update.weight = weight;
  return update;
}

std::unique_ptr<Aggregator> MakeAggregator(
    const AggregationSpec& spec = Spec()) {
  auto aggregator = Aggregator::Create(spec);
  EXPECT_THAT(aggregator, IsOk());
  return *std::move(aggregator);
}

absl::Status Fold(Aggregator& aggregator, const std::vector<Update>& updates) {
  std::vector<UpdateView> views;
  for (const Update& update : updates) {
    views.push_back(UpdateView::Of(update, {}));
  }
  std::vector<const UpdateView*> pointers;
  for (const UpdateView& view : views) pointers.push_back(&view);
  return aggregator.Fold(pointers);
}

absl::Status Validate(const Update& update,
                      const AggregationSpec& spec = Spec()) {
  return MakeAggregator(spec)->Validate(UpdateView::Of(update, {}));
}

TEST(AggregatorTest, SumsWeightedIntegers) {
  const auto aggregator = MakeAggregator();
  ASSERT_THAT(Fold(*aggregator, {MakeUpdate({1, -0.5, 16}, 2),
                                 MakeUpdate({-1, 0.25, -16}, 6)}),
              IsOk());
  const AggregationSum& sum = aggregator->sum();
  const int64_t one = int64_t{1} << sum.fraction_bits;
  EXPECT_THAT(sum.sections[0].integers,
              ElementsAre(-4 * one, one / 2, -64 * one));
  EXPECT_EQ(sum.weight_sum, 8);
  EXPECT_EQ(sum.count, 2);
  EXPECT_EQ(sum.Scalar(kExamplesScalar), 8);
  EXPECT_EQ(sum.Scalar(kLossSumScalar), 5);
  EXPECT_EQ(sum.Scalar("no such scalar"), 0);
}

TEST(AggregatorTest, MeanDividesByTheWeights) {
  const auto aggregator = MakeAggregator();
  ASSERT_THAT(
      Fold(*aggregator, {MakeUpdate({1, 2, 3}, 1), MakeUpdate({5, 6, 7}, 3)}),
      IsOk());
  std::vector<float> mean(3);
  ASSERT_THAT(Mean(aggregator->sum(), kDeltaSection, mean), IsOk());
  EXPECT_THAT(mean, ElementsAre(4, 5, 6));
}

TEST(AggregatorTest, MeanOfNothingFails) {
  std::vector<float> mean(3);
  EXPECT_THAT(Mean(MakeAggregator()->sum(), kDeltaSection, mean),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(Mean(MakeAggregator()->sum(), "other", mean),
              StatusIs(StatusCode::kInvalidArgument));
  std::vector<float> short_mean(2);
  EXPECT_THAT(Mean(MakeAggregator()->sum(), kDeltaSection, short_mean),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(AggregatorTest, UniformWeightingTakesWeightOneOnly) {
  const AggregationSpec spec = TrainingAggregationSpec(3, 16, 1000, true, 4);
  EXPECT_THAT(Validate(MakeUpdate({1, 2, 3}, 1), spec), IsOk());
  EXPECT_THAT(Validate(MakeUpdate({1, 2, 3}, 2), spec),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_GT(MakeAggregator(spec)->sum().fraction_bits,
            MakeAggregator()->sum().fraction_bits);
}

TEST(AggregatorTest, EvaluationSumsScalarsOnly) {
  const auto aggregator = MakeAggregator(EvaluationAggregationSpec(1000, 4));
  Update update = MakeUpdate({}, 10);
  update.sections.clear();
  EXPECT_THAT(aggregator->Validate(UpdateView::Of(update, {})), IsOk());
  ASSERT_THAT(Fold(*aggregator, {update, update}), IsOk());
  EXPECT_EQ(aggregator->sum().Scalar(kExamplesScalar), 20);
}

TEST(AggregatorTest, AcceptsTheEdgesOfTheBounds) {
  EXPECT_THAT(Validate(MakeUpdate({16, -16, 0}, 1000)), IsOk());
  EXPECT_THAT(Validate(MakeUpdate({0, 0, 0}, 1)), IsOk());
}

TEST(AggregatorTest, NamesTheValueThatIsOutside) {
  EXPECT_THAT(Validate(MakeUpdate({0, -16.5, 17}, 1)),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("value 1 of section \"delta\" is -16.5, "
                                 "outside aggregation.value_bound 16")));
}

TEST(AggregatorTest, NamesTheValueThatIsNotFinite) {
  for (double bad : {kNan, kInfinity, -kInfinity}) {
    EXPECT_THAT(Validate(MakeUpdate({0, 0, static_cast<float>(bad)}, 1)),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("value 2 of section \"delta\" is")));
  }
}

TEST(AggregatorTest, RefusesWeightsOutsideTheBound) {
  for (int64_t weight : {int64_t{0}, int64_t{-1}, int64_t{1001},
                         std::numeric_limits<int64_t>::max(),
                         std::numeric_limits<int64_t>::min()}) {
    Update update = MakeUpdate({1, 2, 3}, 1);
    update.weight = weight;
    EXPECT_THAT(Validate(update),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("weight")))
        << weight;
  }
}

TEST(AggregatorTest, RefusesWrongSections) {
  EXPECT_THAT(Validate(MakeUpdate({1, 2}, 1)),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("has 2 values; the model's layout has 3")));
  Update missing = MakeUpdate({1, 2, 3}, 1);
  missing.sections[0].name = "dleta";
  EXPECT_THAT(Validate(missing),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("is missing")));
  Update extra = MakeUpdate({1, 2, 3}, 1);
  extra.sections.push_back({"more", AlignedFloats(1)});
  EXPECT_THAT(Validate(extra),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("2 sections")));
}

TEST(AggregatorTest, RefusesWrongScalars) {
  Update missing = MakeUpdate({1, 2, 3}, 1);
  missing.scalars.pop_back();
  EXPECT_THAT(Validate(missing),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("scalar \"metric_sum\" is missing")));
  Update extra = MakeUpdate({1, 2, 3}, 1);
  extra.scalars.push_back({"location", 1});
  EXPECT_THAT(Validate(extra),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("4 scalars")));
  for (double bad : {kNan, kInfinity, -kInfinity, 1e300}) {
    Update update = MakeUpdate({1, 2, 3}, 1);
    update.scalars[1].value = bad;
    EXPECT_THAT(Validate(update), StatusIs(StatusCode::kInvalidArgument,
                                           HasSubstr("scalar \"loss_sum\" is")))
        << bad;
  }
}

TEST(AggregatorTest, FoldRefusesAWrongShapeAndAddsNothing) {
  const auto aggregator = MakeAggregator();
  EXPECT_THAT(
      Fold(*aggregator, {MakeUpdate({1, 2, 3}, 1), MakeUpdate({1, 2}, 1)}),
      StatusIs(StatusCode::kInvalidArgument));
  EXPECT_EQ(aggregator->sum(), MakeAggregator()->sum());
}

TEST(AggregatorTest, FoldRefusesMoreThanTheSumWasMadeFor) {
  const auto aggregator = MakeAggregator();
  const std::vector<Update> three = {MakeUpdate({1, 2, 3}, 1),
                                     MakeUpdate({1, 2, 3}, 1),
                                     MakeUpdate({1, 2, 3}, 1)};
  ASSERT_THAT(Fold(*aggregator, three), IsOk());
  EXPECT_THAT(
      Fold(*aggregator, three),
      StatusIs(StatusCode::kFailedPrecondition, HasSubstr("over the 4")));
  EXPECT_EQ(aggregator->sum().count, 3);
}

TEST(AggregatorTest, FoldOfNothingChangesNothing) {
  const auto aggregator = MakeAggregator();
  EXPECT_THAT(aggregator->Fold({}), IsOk());
  EXPECT_EQ(aggregator->sum(), MakeAggregator()->sum());
}

TEST(AggregatorTest, MergeRefusesOtherShapesAndTooMany) {
  const auto aggregator = MakeAggregator();
  EXPECT_THAT(aggregator->Merge(
                  MakeAggregator(TrainingAggregationSpec(4, 16, 1000, false, 4))
                      ->sum()),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(aggregator->Merge(
                  MakeAggregator(TrainingAggregationSpec(3, 64, 1000, false, 4))
                      ->sum()),
              StatusIs(StatusCode::kInvalidArgument));
  AggregationSum many = aggregator->sum();
  many.count = 5;
  EXPECT_THAT(aggregator->Merge(many),
              StatusIs(StatusCode::kFailedPrecondition));
  many.count = -1;
  EXPECT_THAT(aggregator->Merge(many),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST(AggregatorTest, CreateRefusesBadSpecs) {
  AggregationSpec spec = Spec();
  spec.sections[0].elements = -1;
  EXPECT_THAT(Aggregator::Create(spec), StatusIs(StatusCode::kInvalidArgument));
  spec = Spec();
  spec.sections.push_back(spec.sections[0]);
  EXPECT_THAT(Aggregator::Create(spec),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("twice")));
  spec = Spec();
  spec.scalars.push_back(spec.scalars[0]);
  EXPECT_THAT(Aggregator::Create(spec),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("twice")));
  spec = Spec();
  spec.scalars[0] = "";
  EXPECT_THAT(Aggregator::Create(spec), StatusIs(StatusCode::kInvalidArgument));
  spec = Spec();
  spec.value_bound = kNan;
  EXPECT_THAT(Aggregator::Create(spec), StatusIs(StatusCode::kInvalidArgument));
  spec = Spec();
  spec.maximum_updates = 0;
  EXPECT_THAT(Aggregator::Create(spec), StatusIs(StatusCode::kInvalidArgument));
  spec.maximum_updates = int64_t{1} << 32;
  spec.value_bound = 1e-6;
  EXPECT_THAT(Aggregator::Create(spec), StatusIs(StatusCode::kInvalidArgument));
}

TEST(AggregatorCheckpointTest, RestoresTheSum) {
  const auto aggregator = MakeAggregator();
  ASSERT_THAT(Fold(*aggregator, {MakeUpdate({1, -2, 3}, 5)}), IsOk());
  const auto restored = MakeAggregator();
  ASSERT_THAT(restored->Restore(aggregator->Serialize()), IsOk());
  EXPECT_EQ(restored->sum(), aggregator->sum());
}

TEST(AggregatorCheckpointTest, RefusesEveryDamagedByteAndTruncation) {
  const auto aggregator = MakeAggregator();
  ASSERT_THAT(Fold(*aggregator, {MakeUpdate({1, -2, 3}, 5)}), IsOk());
  const std::string bytes = aggregator->Serialize();
  const auto other = MakeAggregator();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] ^= 1;
    EXPECT_THAT(other->Restore(damaged), StatusIs(StatusCode::kDataLoss)) << i;
    EXPECT_THAT(other->Restore(bytes.substr(0, i)),
                StatusIs(StatusCode::kDataLoss))
        << i;
  }
  EXPECT_THAT(other->Restore(bytes + "x"), StatusIs(StatusCode::kDataLoss));
  EXPECT_EQ(other->sum(), MakeAggregator()->sum());
}

// Sealed all the same: adding to it would overflow.
TEST(AggregatorCheckpointTest, RefusesTotalsThatNoSumHas) {
  const auto aggregator = MakeAggregator();
  ASSERT_THAT(Fold(*aggregator, {MakeUpdate({1, -2, 3}, 5)}), IsOk());
  const std::string sound = aggregator->Serialize();
  constexpr size_t kHead = 8 + sizeof(Digest::bytes);
  const auto with = [&](size_t field, int64_t value) {
    std::string bytes = sound.substr(0, sound.size() - sizeof(Digest::bytes));
    std::memcpy(bytes.data() + kHead + field * sizeof(value), &value,
                sizeof(value));
    return bytes + Sha256Of(std::string_view(bytes)).ToBytes();
  };
  const auto other = MakeAggregator();
  ASSERT_THAT(other->Restore(with(0, 1)), IsOk());
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  for (const auto& [field, value] : std::vector<std::pair<size_t, int64_t>>{
           {0, -1}, {0, kMost}, {1, 0}, {1, kMost}, {2, kMost}, {2, -kMost}}) {
    EXPECT_THAT(other->Restore(with(field, value)),
                StatusIs(StatusCode::kDataLoss))
        << field << ", " << value;
  }
  EXPECT_EQ(other->sum(), aggregator->sum());
}

TEST(AggregatorCheckpointTest, RefusesACheckpointOfAnotherSpec) {
  const auto other =
      MakeAggregator(TrainingAggregationSpec(3, 16, 1000, false, 5));
  EXPECT_THAT(other->Restore(MakeAggregator()->Serialize()),
              StatusIs(StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace mledge
