#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/task/task_file.h"
#include "mledge/task/validation.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/task/task_overrides.h"

namespace mledge {
namespace {

constexpr std::string_view kTask = R"(
name: t
model: {built_in: {architecture: 2nn}}
local_training: {sgd: {learning_rate: 0.1}, clip_norm: 0.5}
cohort: {size: 100}
aggregation: {weighting: uniform}
privacy:
  mechanism: central
  target_epsilon: 2
  delta: 1e-7
  population_size: 1000000
stop: {rounds: 101}
simulation:
  devices: 200
  training_data: {idx: {images: i, labels: l}}
  test_data: {idx: {images: i, labels: l}}
  partition: {iid: {}}
)";

absl::StatusOr<v1::Task> Validated(const std::vector<std::string>& overrides) {
  return ParseTask(kTask, "t.yaml", overrides);
}

TEST(PrivacySectionTest, WritesOutEveryDefault) {
  const auto task = Validated({"privacy.separation=20"});
  ASSERT_THAT(task, IsOk());
  // Rounds 1, 21, 41, 61, 81, 101.
  EXPECT_THAT(task->privacy(), EqualsProto(R"pb(
                mechanism: CENTRAL
                target_epsilon: 2
                delta: 1e-7
                population_size: 1000000
                participations: 6
                separation: 20
                epsilon_limit: 2)pb"));
  EXPECT_EQ(task->simulation().noise_cohort(), 100);
}

TEST(PrivacySectionTest, DefaultsOfWhatWasChosen) {
  const auto adaptive = Validated({"privacy.adaptive_clipping={}"});
  ASSERT_THAT(adaptive, IsOk());
  EXPECT_THAT(adaptive->privacy().adaptive_clipping(),
              EqualsProto("target_quantile: 0.5 learning_rate: 0.2 "
                          "count_noise: 5 largest_change: 64"));
  const auto blt = Validated({"privacy.mechanism=correlated"});
  ASSERT_THAT(blt, IsOk());
  EXPECT_THAT(blt->privacy().correlated(), EqualsProto("buffers: 4"));
  const auto banded =
      Validated({"privacy.mechanism=correlated",
                 "privacy.correlated={kind: banded}", "privacy.separation=20"});
  ASSERT_THAT(banded, IsOk());
  EXPECT_THAT(banded->privacy().correlated(),
              EqualsProto("kind: BANDED bands: 20"));
  const auto distributed = Validated({"privacy.mechanism=distributed"});
  ASSERT_THAT(distributed, IsOk());
  EXPECT_TRUE(distributed->privacy().has_distributed());
}

TEST(PrivacySectionTest, LayersTakeTheClipNormsPlace) {
  auto task = Validated(
      {"local_training.clip_norm=0",
       "privacy.layer_clip_norms=[{layer: fc1, clip_norm: 0.3}, {layer: fc2, "
       "clip_norm: 0.4}]"});
  ASSERT_THAT(task, IsOk());
  EXPECT_EQ(task->privacy().layer_clip_norms(1).layer(), "fc2");
  EXPECT_EQ(task->privacy().layer_clip_norms(1).clip_norm(), 0.4);
  const v1::Task once = *task;
  ASSERT_THAT(ValidateTask(&*task), IsOk());
  EXPECT_THAT(*task, EqualsProto(once.DebugString()));
}

TEST(PrivacySectionTest, IsIdempotent) {
  for (const char* const mechanism :
       {"central", "distributed", "correlated", "local"}) {
    auto task = Validated({StrCat("privacy.mechanism=", mechanism)});
    ASSERT_THAT(task, IsOk()) << mechanism;
    v1::Task again = *task;
    ASSERT_THAT(ValidateTask(&again), IsOk());
    EXPECT_THAT(again, EqualsProto(*task));
  }
}

TEST(PrivacySectionTest, ANoiseMultiplierSetsNoLimit) {
  const auto task =
      Validated({"privacy={mechanism: central, noise_multiplier: 1, "
                 "delta: 1e-9, population_size: 10}"});
  ASSERT_THAT(task, IsOk());
  EXPECT_FALSE(task->privacy().has_epsilon_limit());
  EXPECT_EQ(task->privacy().participations(), 101);
}

TEST(PrivacySectionTest, WithoutASectionNoClaimIsMade) {
  const auto task = Validated({"privacy={}"});
  ASSERT_THAT(task, IsOk());
  EXPECT_THAT(task->privacy(), EqualsProto("mechanism: NONE"));
  EXPECT_EQ(task->simulation().noise_cohort(), 0);
}

class BadPrivacyTest : public ::testing::TestWithParam<BadValue> {};

TEST_P(BadPrivacyTest, IsRefusedByName) { ExpectRefused(kTask, GetParam()); }

const BadValue kBadValues[] = {
    {"LayersBesideAClipNorm",
     {"privacy.layer_clip_norms=[{layer: fc1, clip_norm: 1}]"},
     "local_training.clip_norm: is of the whole update"},
    {"LayersWithAdaptiveClipping",
     {"local_training.clip_norm=0", "privacy.adaptive_clipping={}",
      "privacy.layer_clip_norms=[{layer: fc1, clip_norm: 1}]"},
     "privacy.layer_clip_norms: does not go with adaptive_clipping"},
    {"LayersWithoutMechanism",
     {"local_training.clip_norm=0",
      "privacy={layer_clip_norms: [{layer: fc1, clip_norm: 1}]}"},
     "privacy.mechanism: is missing, and there are settings"},
    {"LayerWithoutName",
     {"local_training.clip_norm=0",
      "privacy.layer_clip_norms=[{layer: a, clip_norm: 1}, {clip_norm: 1}]"},
     "privacy.layer_clip_norms[1].layer: is missing"},
    {"LayerClipZero",
     {"local_training.clip_norm=0", "privacy.layer_clip_norms=[{layer: a}]"},
     "privacy.layer_clip_norms[0].clip_norm: is 0"},
    {"LayerClipNegative",
     {"local_training.clip_norm=0",
      "privacy.layer_clip_norms=[{layer: a, clip_norm: -1}]"},
     "privacy.layer_clip_norms[0].clip_norm: is -1"},
    {"LayerClipNan",
     {"local_training.clip_norm=0",
      "privacy.layer_clip_norms=[{layer: a, clip_norm: .nan}]"},
     "privacy.layer_clip_norms[0].clip_norm: "},
    {"LayerClipInfinite",
     {"local_training.clip_norm=0",
      "privacy.layer_clip_norms=[{layer: a, clip_norm: .inf}]"},
     "privacy.layer_clip_norms[0].clip_norm: "},
    {"LayerClipHuge",
     {"local_training.clip_norm=0",
      "privacy.layer_clip_norms=[{layer: a, clip_norm: 1e31}]"},
     "privacy.layer_clip_norms[0].clip_norm: is 1e+31"},
    {"SettingsWithoutMechanism",
     {"privacy={delta: 1e-6}"},
     "privacy.mechanism: is missing, and there are settings"},
    {"SettingsWithNone",
     {"privacy.mechanism=none"},
     "privacy.mechanism: is none, and there are settings"},
    {"NoLevel",
     {"privacy={mechanism: central, delta: 1e-7, population_size: 10}"},
     "has a mechanism and no level"},
    {"NoiseZero",
     {"privacy={mechanism: central, noise_multiplier: 0, delta: 1e-7, "
      "population_size: 10}"},
     "privacy.noise_multiplier: is 0"},
    {"NoiseNan",
     {"privacy={mechanism: central, noise_multiplier: .nan, delta: 1e-7, "
      "population_size: 10}"},
     "noise_multiplier: "},
    {"NoiseHuge",
     {"privacy={mechanism: central, noise_multiplier: 1e9, delta: 1e-7, "
      "population_size: 10}"},
     "privacy.noise_multiplier: is 1e+09"},
    {"EpsilonNegative",
     {"privacy.target_epsilon=-1"},
     "privacy.target_epsilon: is -1"},
    {"LimitZero", {"privacy.epsilon_limit=0"}, "privacy.epsilon_limit: is 0"},
    {"DeltaZero", {"privacy.delta=0"}, "privacy.delta: is 0"},
    {"DeltaNegative", {"privacy.delta=-1e-9"}, "privacy.delta: is -1e-09"},
    {"DeltaOfThePopulation", {"privacy.delta=1e-6"}, "below 1/population_size"},
    {"PopulationMissing",
     {"privacy.population_size=0"},
     "privacy.population_size: is 0"},
    {"SeparationNegative",
     {"privacy.separation=-1"},
     "privacy.separation: is -1"},
    {"ParticipationsWithoutRoom",
     {"privacy.separation=20", "privacy.participations=7"},
     "privacy.participations: is 7; 101 rounds, 20 apart, leave room for 1 to "
     "6"},
    {"QuantileOne",
     {"privacy.adaptive_clipping={target_quantile: 1}"},
     "target_quantile: is 1"},
    {"ClippingRate",
     {"privacy.adaptive_clipping={learning_rate: 2}"},
     "adaptive_clipping.learning_rate: is 2"},
    {"CountNoise",
     {"privacy.adaptive_clipping={count_noise: 0}"},
     "count_noise: is 0"},
    {"ClippingDistributed",
     {"privacy.mechanism=distributed", "privacy.adaptive_clipping={}"},
     "goes with `mechanism: central` or `correlated`"},
    {"DistributedUnasked",
     {"privacy.distributed={}"},
     "privacy.distributed: goes with"},
    {"CorrelatedUnasked",
     {"privacy.correlated={}"},
     "privacy.correlated: goes with"},
    {"TooManyBuffers",
     {"privacy.mechanism=correlated", "privacy.correlated={buffers: 9}"},
     "privacy.correlated.buffers: is 9"},
    {"BandsOfBlt",
     {"privacy.mechanism=correlated", "privacy.correlated={bands: 9}"},
     "privacy.correlated.bands: goes with"},
    {"TooManyBands",
     {"privacy.mechanism=correlated",
      "privacy.correlated={kind: banded, bands: 102}"},
     "privacy.correlated.bands: is 102"},
    {"TreeOfManyParticipations",
     {"privacy.mechanism=correlated", "privacy.correlated={kind: tree}"},
     "a tree of noise is for devices that take part once"},
    {"NoClip",
     {"local_training.clip_norm=0"},
     "local_training.clip_norm: is missing"},
    {"WeightedByExamples",
     {"aggregation.weighting=examples"},
     "aggregation.weighting: is examples"},
    {"DistributedInTheClear",
     {"privacy.mechanism=distributed", "secure_aggregation={mode: off}"},
     "is distributed, and secure aggregation is off"},
    {"DevicesEvaluate",
     {"secure_aggregation={mode: off}", "evaluation={where: devices}"},
     "evaluation.where: is devices; what devices report"},
    {"NoiseCohortSmall",
     {"simulation.noise_cohort=99"},
     "simulation.noise_cohort: is 99"},
    {"NoiseCohortWithoutNoise",
     {"privacy={}", "simulation.noise_cohort=1000"},
     "simulation.noise_cohort: goes with"},
};

INSTANTIATE_TEST_SUITE_P(Kinds, BadPrivacyTest, ::testing::ValuesIn(kBadValues),
                         NameOf);

}  // namespace
}  // namespace mledge
