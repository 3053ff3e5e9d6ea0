#include "mledge/client/update_pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Update MakeUpdate(std::vector<float> values, int64_t weight = 5) {
  Update update;
  UpdateSection section;
  section.name = std::string(kDeltaSection);
  section.values = AlignedFloats(values.size());
  std::copy(values.begin(), values.end(), section.values.span().begin());
  update.sections.push_back(std::move(section));
  update.scalars = {{std::string(kExamplesScalar), 5}};
  update.weight = weight;
  return update;
}

TEST(UpdatePipelineTest, ListsItsStagesInOrder) {
  EXPECT_THAT(
      UpdatePipeline({.clip_norm = 1, .uniform_weight = true}).StageNames(),
      ElementsAre("check-finite", "clip", "weigh", "check-bounds"));
  EXPECT_THAT(UpdatePipeline({}).StageNames(),
              ElementsAre("check-finite", "check-bounds"));
}

TEST(UpdatePipelineTest, WithoutClippingNothingChanges) {
  const absl::StatusOr<Update> out = UpdatePipeline({}).Run(MakeUpdate({3, 4}));
  ASSERT_THAT(out, IsOk());
  EXPECT_THAT(out->sections[0].values.span(), ElementsAre(3, 4));
  EXPECT_EQ(out->weight, 5);
}

TEST(UpdatePipelineTest, ClipsAllSectionsTogether) {
  Update update = MakeUpdate({3});
  UpdateSection second;
  second.name = "control";
  second.values = AlignedFloats(1);
  second.values.span()[0] = 4;
  update.sections.push_back(std::move(second));
  const absl::StatusOr<Update> out =
      UpdatePipeline({.clip_norm = 1}).Run(std::move(update));
  ASSERT_THAT(out, IsOk());
  EXPECT_NEAR(out->sections[0].values.span()[0], 0.6, 1e-6);
  EXPECT_NEAR(out->sections[1].values.span()[0], 0.8, 1e-6);
}

TEST(UpdatePipelineTest, UniformWeightingMakesTheWeightOne) {
  const absl::StatusOr<Update> out =
      UpdatePipeline({.uniform_weight = true}).Run(MakeUpdate({1}, 7));
  ASSERT_THAT(out, IsOk());
  EXPECT_EQ(out->weight, 1);
}

TEST(UpdatePipelineTest, EvaluationHasNothingToClip) {
  Update update = MakeUpdate({1});
  update.sections.clear();
  EXPECT_THAT(UpdatePipeline({.clip_norm = 1}).Run(std::move(update)), IsOk());
}

TEST(UpdatePipelineTest, NanDoesNotLeaveTheDevice) {
  EXPECT_THAT(UpdatePipeline({}).Run(MakeUpdate({0, std::nanf("")})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("value 1 of section 'delta' is nan"),
                             HasSubstr("learning rate"))));
}

TEST(UpdatePipelineTest, InfinityDoesNotLeaveTheDevice) {
  EXPECT_THAT(UpdatePipeline({.clip_norm = 1})
                  .Run(MakeUpdate({std::numeric_limits<float>::infinity()})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inf")));
}

TEST(UpdatePipelineTest, NanScalarDoesNotLeaveTheDevice) {
  Update update = MakeUpdate({1});
  update.scalars[0].value = std::nan("");
  EXPECT_THAT(UpdatePipeline({}).Run(std::move(update)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("scalar 'examples' is nan")));
}

TEST(UpdatePipelineTest, WeightZeroIsRefused) {
  EXPECT_THAT(UpdatePipeline({}).Run(MakeUpdate({1}, 0)),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(UpdatePipelineTest, ValueBeyondTheTasksBoundIsNamed) {
  EXPECT_THAT(UpdatePipeline({.value_bound = 2}).Run(MakeUpdate({1, -3})),
              StatusIs(absl::StatusCode::kOutOfRange,
                       AllOf(HasSubstr("value 1 of section 'delta' is -3"),
                             HasSubstr("value_bound"))));
}

TEST(UpdatePipelineTest, BoundsAreCheckedAfterClipping) {
  EXPECT_THAT(UpdatePipeline({.clip_norm = 1, .value_bound = 2})
                  .Run(MakeUpdate({0, -3})),
              IsOk());
}

TEST(UpdatePipelineTest, WeightBeyondTheTasksBoundIsNamed) {
  EXPECT_THAT(UpdatePipeline({.weight_bound = 4}).Run(MakeUpdate({1}, 5)),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("weight 5 is above the task's 4")));
}

}  // namespace
}  // namespace mledge
