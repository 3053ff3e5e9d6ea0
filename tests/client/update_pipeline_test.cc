#include "mledge/client/update_pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "mledge/privacy/grid_rounding.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

SecretRandom& Random() {
  static SystemSecretRandom random;
  return random;
}

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
  const absl::StatusOr<Update> out =
      UpdatePipeline({}).Run(MakeUpdate({3, 4}), Random());
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
      UpdatePipeline({.clip_norm = 1}).Run(std::move(update), Random());
  ASSERT_THAT(out, IsOk());
  EXPECT_NEAR(out->sections[0].values.span()[0], 0.6, 1e-6);
  EXPECT_NEAR(out->sections[1].values.span()[0], 0.8, 1e-6);
}

TEST(UpdatePipelineTest, UniformWeightingMakesTheWeightOne) {
  const absl::StatusOr<Update> out = UpdatePipeline({.uniform_weight = true})
                                         .Run(MakeUpdate({1}, 7), Random());
  ASSERT_THAT(out, IsOk());
  EXPECT_EQ(out->weight, 1);
}

TEST(UpdatePipelineTest, EvaluationHasNothingToClip) {
  Update update = MakeUpdate({1});
  update.sections.clear();
  EXPECT_THAT(UpdatePipeline({.clip_norm = 1}).Run(std::move(update), Random()),
              IsOk());
}

TEST(UpdatePipelineTest, NanDoesNotLeaveTheDevice) {
  EXPECT_THAT(UpdatePipeline({}).Run(MakeUpdate({0, std::nanf("")}), Random()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("value 1 of section 'delta' is nan"),
                             HasSubstr("learning rate"))));
}

TEST(UpdatePipelineTest, InfinityDoesNotLeaveTheDevice) {
  EXPECT_THAT(
      UpdatePipeline({.clip_norm = 1})
          .Run(MakeUpdate({std::numeric_limits<float>::infinity()}), Random()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inf")));
}

TEST(UpdatePipelineTest, NanScalarDoesNotLeaveTheDevice) {
  Update update = MakeUpdate({1});
  update.scalars[0].value = std::nan("");
  EXPECT_THAT(UpdatePipeline({}).Run(std::move(update), Random()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("scalar 'examples' is nan")));
}

TEST(UpdatePipelineTest, WeightZeroIsRefused) {
  EXPECT_THAT(UpdatePipeline({}).Run(MakeUpdate({1}, 0), Random()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(UpdatePipelineTest, ValueBeyondTheTasksBoundIsNamed) {
  EXPECT_THAT(
      UpdatePipeline({.value_bound = 2}).Run(MakeUpdate({1, -3}), Random()),
      StatusIs(absl::StatusCode::kOutOfRange,
               AllOf(HasSubstr("value 1 of section 'delta' is -3"),
                     HasSubstr("value_bound"))));
}

TEST(UpdatePipelineTest, BoundsAreCheckedAfterClipping) {
  EXPECT_THAT(UpdatePipeline({.clip_norm = 1, .value_bound = 2})
                  .Run(MakeUpdate({0, -3}), Random()),
              IsOk());
}

TEST(UpdatePipelineTest, WeightBeyondTheTasksBoundIsNamed) {
  EXPECT_THAT(
      UpdatePipeline({.weight_bound = 4}).Run(MakeUpdate({1}, 5), Random()),
      StatusIs(absl::StatusCode::kOutOfRange,
               HasSubstr("weight 5 is above the task's 4")));
}

// A private task on a grid of 2^-10, noise of σ = 3 steps or none.
PrivateTask MakePrivateTask(int64_t dimension) {
  PrivateTask task;
  task.mechanism = v1::Privacy::LOCAL;
  task.dimension = dimension;
  task.fraction_bits = 10;
  const auto sensitivity =
      SensitivityAfterRounding(1024, dimension, GridRounding::kConditional);
  EXPECT_THAT(sensitivity, IsOk());
  task.squared_norm_bound = sensitivity->squared_norm_bound;
  task.l2_sensitivity = sensitivity->l2;
  task.l1_sensitivity = sensitivity->l1;
  return task;
}

UpdatePipeline::Options PrivateOptions(PrivateTask task) {
  return {.clip_norm = 0.5,
          .uniform_weight = true,
          .privacy = std::make_shared<const PrivateTask>(std::move(task)),
          .rotation_seed = Sha256Of("round")};
}

Update LargeUpdate(size_t size, float value) {
  return MakeUpdate(std::vector<float>(size, value));
}

double SquaredNormOnGrid(const Update& update, int fraction_bits) {
  double sum = 0;
  for (const float value : update.sections[0].values.span()) {
    const double scaled = std::ldexp(value, fraction_bits);
    EXPECT_EQ(scaled, std::trunc(scaled)) << "off the grid";
    sum += scaled * scaled;
  }
  return sum;
}

TEST(PrivateUpdatePipelineTest, ListsItsStagesInOrder) {
  PrivateTask task = MakePrivateTask(8);
  EXPECT_THAT(UpdatePipeline(PrivateOptions(task)).StageNames(),
              ElementsAre("check-finite", "clip", "divide", "round-and-noise",
                          "hide-numbers", "weigh", "check-bounds"));
  task.rotated = true;
  EXPECT_THAT(
      UpdatePipeline(PrivateOptions(task)).StageNames(),
      ElementsAre("check-finite", "clip", "divide", "rotate", "round-and-noise",
                  "hide-numbers", "weigh", "check-bounds"));
}

TEST(PrivateUpdatePipelineTest, EndsOnTheGridWithinTheNorm) {
  const PrivateTask task = MakePrivateTask(1000);
  for (const float value : {0.001F, 0.1F, 100.F}) {
    const auto out = UpdatePipeline(PrivateOptions(task))
                         .Run(LargeUpdate(1000, value), Random());
    ASSERT_THAT(out, IsOk());
    EXPECT_LE(SquaredNormOnGrid(*out, 10), task.squared_norm_bound) << value;
    EXPECT_EQ(out->weight, 1);
    EXPECT_EQ(out->Scalar(kExamplesScalar), 0)
        << "a number beside the update is a release of its own";
  }
}

TEST(PrivateUpdatePipelineTest, ValuesAreInUnitsOfTheClipNorm) {
  // Norm 0.25 of 0.5, so half of the unit in one coordinate.
  const auto out = UpdatePipeline(PrivateOptions(MakePrivateTask(2)))
                       .Run(MakeUpdate({0.25, 0}), Random());
  ASSERT_THAT(out, IsOk());
  EXPECT_EQ(out->sections[0].values.span()[0], 0.5F);
}

// Values 0, 1 and 4 are one layer, values 2 and 3 another; together at most
// 0.5.
PrivateTask WithLayers(PrivateTask task) {
  task.clip_norm = 0.5;
  task.layers = {{.name = "a", .clip_norm = 0.3, .ranges = {{0, 2}, {4, 1}}},
                 {.name = "b", .clip_norm = 0.4, .ranges = {{2, 2}}}};
  return task;
}

TEST(PrivateUpdatePipelineTest, ClipsEachLayerByItself) {
  const PrivateTask task = WithLayers(MakePrivateTask(5));
  const UpdatePipeline pipeline(PrivateOptions(task));
  EXPECT_THAT(
      pipeline.StageNames(),
      ElementsAre("check-finite", "clip-layers", "divide", "round-and-noise",
                  "hide-numbers", "weigh", "check-bounds"));
  const auto out = pipeline.Run(MakeUpdate({2, 1, 0.1F, 0, 2}), Random());
  ASSERT_THAT(out, IsOk());
  // a: norm 3 becomes 0.3; b: 0.1 stays. In units of the total, 0.5.
  const std::span<const float> values = out->sections[0].values.span();
  EXPECT_NEAR(values[0], 0.4, 0x1p-10);
  EXPECT_NEAR(values[1], 0.2, 0x1p-10);
  EXPECT_NEAR(values[2], 0.2, 0x1p-10);
  EXPECT_NEAR(values[4], 0.4, 0x1p-10);
  // A single large layer never uses the room of the other.
  const auto one = pipeline.Run(MakeUpdate({9, 0, 0, 0, 0}), Random());
  ASSERT_THAT(one, IsOk());
  EXPECT_NEAR(one->sections[0].values.span()[0], 0.6, 0x1p-10);
}

// Whatever the mechanism: after rounding the norm of all layers together is
// within the bound, in exact integers, and noise is added to that.
TEST(PrivateUpdatePipelineTest, LayersTogetherKeepTheNormOnEveryPath) {
  for (const bool rotated : {false, true}) {
    PrivateTask task = WithLayers(MakePrivateTask(5));
    task.rotated = rotated;
    for (const double noise : {0.0, 9.0}) {
      if (noise > 0) task.device_noise = GridNoise{.variance = noise};
      for (const float value : {0.01F, 1.F, 1e6F}) {
        const auto out = UpdatePipeline(PrivateOptions(task))
                             .Run(LargeUpdate(5, value), Random());
        ASSERT_THAT(out, IsOk()) << rotated << noise << value;
        const double squares = SquaredNormOnGrid(*out, 10);
        if (noise == 0) {
          EXPECT_LE(squares, task.squared_norm_bound) << value;
        }
        // Both layers are full, so the total is.
        if (value >= 1) {
          EXPECT_GT(squares, 900.0 * 900.0) << value;
        }
      }
    }
  }
}

TEST(PrivateUpdatePipelineTest, RefusesLayersBeyondTheUpdate) {
  EXPECT_THAT(UpdatePipeline(PrivateOptions(WithLayers(MakePrivateTask(4))))
                  .Run(LargeUpdate(4, 1), Random()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("layer a ends at value 5 of an update of 4")));
}

TEST(PrivateUpdatePipelineTest, AddsItsNoise) {
  PrivateTask task = MakePrivateTask(1000);
  task.device_noise = GridNoise{.variance = 9};
  const auto out =
      UpdatePipeline(PrivateOptions(task)).Run(LargeUpdate(1000, 0), Random());
  ASSERT_THAT(out, IsOk());
  // The mean of 1000 squares of variance 2·81 is within 6 of its standard
  // deviations but for 2e-9.
  EXPECT_NEAR(SquaredNormOnGrid(*out, 10) / 1000, 9, 6 * std::sqrt(0.162));
}

TEST(PrivateUpdatePipelineTest, RotatesWithTheSeedOfTheRound) {
  PrivateTask task = MakePrivateTask(1024);
  task.rotated = true;
  UpdatePipeline::Options options = PrivateOptions(task);
  std::vector<float> values(1024);
  values[3] = 0.5;  // spread evenly: 1/32 in each coordinate
  const auto out = UpdatePipeline(options).Run(MakeUpdate(values), Random());
  ASSERT_THAT(out, IsOk());
  int negative = 0;
  for (const float value : out->sections[0].values.span()) {
    EXPECT_NEAR(std::abs(value), 1.0 / 32, 0x1p-10);
    negative += value < 0 ? 1 : 0;
  }
  EXPECT_EQ(negative, 512);
  options.rotation_seed = Sha256Of("another round");
  const auto other = UpdatePipeline(options).Run(MakeUpdate(values), Random());
  ASSERT_THAT(other, IsOk());
}

TEST(PrivateUpdatePipelineTest, SaysWhetherItWasClippedWhereThatIsCovered) {
  PrivateTask task = MakePrivateTask(2);
  task.count_noise = 5;
  const UpdatePipeline pipeline(PrivateOptions(task));
  EXPECT_EQ(
      pipeline.Run(MakeUpdate({0.1F, 0}), Random())->Scalar(kClipBitScalar),
      0.5);
  EXPECT_EQ(pipeline.Run(MakeUpdate({3, 4}), Random())->Scalar(kClipBitScalar),
            -0.5);
}

TEST(PrivateUpdatePipelineTest, RefusesAnUpdateOfAnotherSize) {
  PrivateTask task = MakePrivateTask(8);
  task.rotated = true;
  EXPECT_THAT(
      UpdatePipeline(PrivateOptions(task)).Run(LargeUpdate(100, 1), Random()),
      StatusIs(absl::StatusCode::kInvalidArgument));
  Update two = LargeUpdate(8, 1);
  two.sections.push_back(two.sections[0]);
  EXPECT_THAT(
      UpdatePipeline(PrivateOptions(MakePrivateTask(8))).Run(two, Random()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("one section \"delta\"")));
}

}  // namespace
}  // namespace mledge
