#include "mledge/task/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/task/strict_message.h"
#include "mledge/task/task_file.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/task/task_overrides.h"

namespace mledge {
namespace {

constexpr std::string_view kTask = R"(
name: t
model: {built_in: {architecture: 2nn}}
local_training: {sgd: {learning_rate: 0.1}}
cohort: {size: 10}
secure_aggregation: {mode: off}
stop: {rounds: 3}
simulation:
  devices: 20
  training_data: {idx: {images: i, labels: l}}
  test_data: {idx: {images: i, labels: l}}
  partition: {iid: {}}
)";

constexpr std::string_view kCsv =
    "simulation.training_data={csv: {file: f, features: [a, b], labels: [y]}}";

absl::StatusOr<v1::Task> Validated(const std::vector<std::string>& overrides) {
  return ParseTask(kTask, "t.yaml", overrides);
}

TEST(ValidateTaskTest, WritesOutEveryDefault) {
  const auto task = Validated({});
  ASSERT_THAT(task, IsOk());
  EXPECT_THAT(*task, EqualsProto(R"pb(
    name: "t"
    seed: 1
    population: "default"
    model { built_in { architecture: "2nn" inputs: 784 outputs: 10 } }
    local_training {
      epochs: 1
      batch_size: 10
      sgd { learning_rate: 0.1 }
      learning_rate_schedule { kind: CONSTANT }
    }
    cohort {
      size: 10
      minimum: 10
      over_selection: 1
      deadline { seconds: 600 }
      minimum_interval {}
      minimum_waiting: 10
    }
    aggregation {
      weighting: EXAMPLES
      value_bound: 16
      weight_bound: 1048576
      sgd { learning_rate: 1 }
    }
    secure_aggregation { mode: OFF }
    evaluation {
      every: 1
      where: EVALUATORS
      deadline { seconds: 600 }
    }
    stop { rounds: 3 }
    privacy { mechanism: NONE }
    simulation {
      devices: 20
      training_data { idx { images: "i" labels: "l" standard_deviation: 1 } }
      test_data { idx { images: "i" labels: "l" standard_deviation: 1 } }
      partition { iid {} }
      device_model {
        seconds_per_example: 0.001
        download_bytes_per_second: 5e6
        upload_bytes_per_second: 1e6
      }
    })pb"));
}

TEST(ValidateTaskTest, DefaultsOfWhatWasChosen) {
  const auto task = Validated(
      {"local_training.adam={learning_rate: 0.1}",
       "aggregation.adam={learning_rate: 0.2}", "cohort.over_selection=1.25",
       "evaluation.where=devices",
       "simulation.partition={dirichlet: {alpha: 2}}", std::string(kCsv)});
  ASSERT_THAT(task, IsOk());
  EXPECT_THAT(task->local_training().adam(),
              EqualsProto("learning_rate: 0.1 beta1: 0.9 beta2: 0.999 "
                          "epsilon: 1e-8"));
  EXPECT_THAT(task->aggregation().adam(),
              EqualsProto("learning_rate: 0.2 beta1: 0.9 beta2: 0.99 "
                          "tau: 1e-3"));
  EXPECT_EQ(task->cohort().minimum_waiting(), 13);
  EXPECT_EQ(task->evaluation().devices(), 10);
  EXPECT_EQ(task->simulation().partition().dirichlet().minimum_examples(), 1);
  EXPECT_EQ(task->simulation().training_data().csv().delimiter(), ",");
  const auto shards = Validated({"simulation.partition={shards: {}}"});
  ASSERT_THAT(shards, IsOk());
  EXPECT_EQ(shards->simulation().partition().shards().shards_per_device(), 2);
}

TEST(ValidateTaskTest, ExplicitZerosOfOptionalFieldsStay) {
  const auto task =
      Validated({"local_training.batch_size=0", "evaluation.every=0",
                 "simulation.device_model.seconds_per_example=0"});
  ASSERT_THAT(task, IsOk());
  EXPECT_EQ(task->local_training().batch_size(), 0);
  EXPECT_EQ(task->evaluation().every(), 0);
  EXPECT_EQ(task->simulation().device_model().seconds_per_example(), 0);
}

TEST(ValidateTaskTest, IsIdempotent) {
  auto task = Validated({"cohort.over_selection=1.3"});
  ASSERT_THAT(task, IsOk());
  v1::Task again = *task;
  ASSERT_THAT(ValidateTask(&again), IsOk());
  EXPECT_THAT(again, EqualsProto(*task));
}

TEST(ValidateTaskTest, WithoutSimulationNothingIsAddedForIt) {
  v1::Task task;
  ASSERT_THAT(ParseYamlInto(kTask, "t", &task), IsOk());
  task.clear_simulation();
  ASSERT_THAT(ValidateTask(&task), IsOk());
  EXPECT_FALSE(task.has_simulation());
}

TEST(ValidateTaskTest, SecureAggregationIsTheDefault) {
  for (const char* const unsaid :
       {"secure_aggregation={}", "secure_aggregation={mode: on}"}) {
    const auto task = Validated({unsaid});
    ASSERT_THAT(task, IsOk());
    EXPECT_EQ(task->secure_aggregation().mode(), v1::SecureAggregation::ON);
    EXPECT_EQ(task->secure_aggregation().corrupt_fraction(), 0.1);
    EXPECT_EQ(task->secure_aggregation().dropout_fraction(), 0.1);
    EXPECT_EQ(task->secure_aggregation().step_deadline().seconds(), 30);
    EXPECT_EQ(task->aggregation().value_bound(), 1);
    EXPECT_EQ(task->aggregation().weight_bound(), 8192);
  }
}

TEST(ValidateTaskTest, WithoutSecureAggregationNothingIsAddedForIt) {
  const auto task = Validated({});
  ASSERT_THAT(task, IsOk());
  v1::SecureAggregation off;
  off.set_mode(v1::SecureAggregation::OFF);
  EXPECT_THAT(task->secure_aggregation(), EqualsProto(off));
  EXPECT_EQ(task->aggregation().value_bound(), 16);
}

class BadTaskTest : public ::testing::TestWithParam<BadValue> {};

TEST_P(BadTaskTest, IsRefusedByName) { ExpectRefused(kTask, GetParam()); }

const BadValue kBadValues[] = {
    {"NameMissing", {"name=\"\""}, "name: is missing"},
    {"NameUnsafe", {"name=../x"}, "name: "},
    {"NameTooLong", {"name=" + std::string(129, 'a')}, "name: "},
    {"PopulationUnsafe", {"population=a b"}, "population: "},
    {"ModelMissing", {"model={}"}, "model: is missing"},
    {"ModelTwice", {"model.package=x"}, "model: has both"},
    {"SecureOffWithSettings",
     {"secure_aggregation.value_bits=8"},
     "secure_aggregation: is off and has settings"},
    {"SecureBits",
     {"secure_aggregation={value_bits: 25}"},
     "secure_aggregation.value_bits: is 25"},
    {"SecureDropout",
     {"secure_aggregation={dropout_fraction: 1}"},
     "secure_aggregation.dropout_fraction: is 1"},
    {"SecureCorrupt",
     {"secure_aggregation={corrupt_fraction: -0.1}"},
     "secure_aggregation.corrupt_fraction: is -0.1"},
    {"SecureAlive",
     {"secure_aggregation={least_alive: 11}"},
     "secure_aggregation.least_alive: is 11"},
    {"SecureGroups",
     {"secure_aggregation={group_size: 2}"},
     "secure_aggregation.group_size: is 2"},
    {"SecureStep",
     {"secure_aggregation={step_deadline: -1s}"},
     "secure_aggregation.step_deadline: "},
    {"SecureCohortOfTwo",
     {"secure_aggregation={}", "cohort.size=2"},
     "takes at least 3 devices"},
    {"SecureEvaluationOnTwoDevices",
     {"secure_aggregation={}", "evaluation={where: devices, devices: 2}"},
     "evaluation.devices: is 2; with secure aggregation"},
    {"SimulatedSecurelyWithoutSecureAggregation",
     {"simulation.secure_aggregation=arithmetic_only"},
     "simulation.secure_aggregation: "},
    {"HashShort", {"model.package_sha256=ab"}, "model.package_sha256: "},
    {"ArchitectureMissing",
     {"model.built_in={}"},
     "model.built_in.architecture: is missing"},
    {"ArchitectureUnknown",
     {"model.built_in.architecture=3nn"},
     "did you mean \"2nn\"?"},
    {"InputsNegative", {"model.built_in.inputs=-1"}, "model.built_in.inputs: "},
    {"InputsOfMlpMissing",
     {"model.built_in.architecture=mlp"},
     "model.built_in.inputs: is missing"},
    {"InputsOfCnnFixed",
     {"model.built_in={architecture: fedavg-cnn, inputs: 32}"},
     "model.built_in.inputs: is 32"},
    {"OneClass", {"model.built_in.outputs=1"}, "model.built_in.outputs: "},
    {"HiddenOfNoMlp", {"model.built_in.hidden=[1]"}, "model.built_in.hidden: "},
    {"HiddenZero",
     {"model.built_in={architecture: mlp, inputs: 3, hidden: [0]}"},
     "model.built_in.hidden: "},
    {"RegressionOfNoMlp",
     {"model.built_in.regression=true"},
     "model.built_in.regression: "},
    {"EpochsZero", {"local_training.epochs=0"}, "local_training.epochs: is 0"},
    {"StepsNegative",
     {"local_training.steps=-3"},
     "local_training.steps: is -3"},
    {"BatchNegative",
     {"local_training.batch_size=-1"},
     "local_training.batch_size: is -1"},
    {"OptimizerMissing", {"local_training={}"}, "names no optimizer"},
    {"LearningRateZero",
     {"local_training.sgd.learning_rate=0"},
     "local_training.sgd.learning_rate: is 0"},
    {"LearningRateNegative",
     {"local_training.sgd.learning_rate=-1"},
     "local_training.sgd.learning_rate: is -1"},
    {"MomentumOne",
     {"local_training.sgd.momentum=1"},
     "local_training.sgd.momentum: is 1"},
    {"WeightDecayNegative",
     {"local_training.sgd.weight_decay=-1"},
     "local_training.sgd.weight_decay: is -1"},
    {"AdamBeta",
     {"local_training.adam={learning_rate: 1, beta2: 1.5}"},
     "local_training.adam.beta2: is 1.5"},
    {"AdamEpsilon",
     {"local_training.adam={learning_rate: 1, epsilon: 0}"},
     "local_training.adam.epsilon: is 0"},
    {"ScheduleNeedsEvery",
     {"local_training.learning_rate_schedule={kind: step, factor: 0.5}"},
     "learning_rate_schedule.every: is 0"},
    {"ScheduleNeedsFactor",
     {"local_training.learning_rate_schedule={kind: cosine, every: 5}"},
     "learning_rate_schedule.factor: is 0"},
    {"ConstantWithFactor",
     {"local_training.learning_rate_schedule={factor: 0.5}"},
     "is constant"},
    {"ProximalNegative",
     {"local_training.proximal_coefficient=-1"},
     "local_training.proximal_coefficient: is -1"},
    {"ClipNegative",
     {"local_training.clip_norm=-1"},
     "local_training.clip_norm: is -1"},
    {"MaxExamplesNegative",
     {"local_training.max_examples=-1"},
     "local_training.max_examples: is -1"},
    {"CohortMissing", {"cohort={}"}, "cohort.size: is 0"},
    {"CohortNegative", {"cohort.size=-1"}, "cohort.size: is -1"},
    {"CohortHuge", {"cohort.size=9223372036854775807"}, "cohort.size: "},
    {"MinimumOverSize",
     {"cohort.minimum=11"},
     "cohort.minimum: is 11; write 1 to cohort.size, which is 10"},
    {"MinimumNegative", {"cohort.minimum=-1"}, "cohort.minimum: is -1"},
    {"OverSelectionBelowOne",
     {"cohort.over_selection=0.9"},
     "cohort.over_selection: is 0.9"},
    {"DeadlineZero", {"cohort.deadline=0s"}, "cohort.deadline: is 0"},
    {"IntervalNegative",
     {"cohort.minimum_interval=-1s"},
     "cohort.minimum_interval: is -1"},
    {"WaitingTooFew",
     {"cohort.minimum_waiting=9"},
     "cohort.minimum_waiting: is 9"},
    {"ValueBoundNegative",
     {"aggregation.value_bound=-1"},
     "aggregation.value_bound: is -1"},
    {"WeightBoundNegative",
     {"aggregation.weight_bound=-1"},
     "aggregation.weight_bound: is -1"},
    {"WeightBoundHuge",
     {"aggregation.weight_bound=2147483648"},
     "aggregation.weight_bound: "},
    {"BoundsTooWide",
     {"aggregation.value_bound=1e9", "aggregation.weight_bound=1000000"},
     "too large to be added up precisely"},
    {"ValueBoundTooWideAlone",
     {"aggregation.value_bound=1e10", "aggregation.weighting=uniform"},
     "too large to be added up precisely"},
    {"ServerRateZero",
     {"aggregation.sgd.learning_rate=0"},
     "aggregation.sgd.learning_rate: is 0"},
    {"ServerMomentum",
     {"aggregation.sgd.momentum=1"},
     "aggregation.sgd.momentum: is 1"},
    {"ServerAdamRate",
     {"aggregation.adam={}"},
     "aggregation.adam.learning_rate: is 0"},
    {"ServerAdamTau",
     {"aggregation.adam={learning_rate: 1, tau: 0}"},
     "aggregation.adam.tau: is 0"},
    {"EveryNegative", {"evaluation.every=-1"}, "evaluation.every: is -1"},
    {"EvaluationDevicesUnasked",
     {"evaluation.devices=3"},
     "evaluation.devices: "},
    {"EvaluationDeadline",
     {"evaluation.deadline=-1s"},
     "evaluation.deadline: "},
    {"RoundsMissing", {"stop={}"}, "stop.rounds: is 0"},
    {"RoundsNegative", {"stop.rounds=-1"}, "stop.rounds: is -1"},
    {"DevicesMissing", {"simulation.devices=0"}, "simulation.devices: is 0"},
    {"DevicesFewerThanCohort",
     {"simulation.devices=9"},
     "cohort.minimum_waiting: is 10"},
    {"TrainingDataMissing",
     {"simulation.training_data={}"},
     "simulation.training_data: is missing"},
    {"TestDataMissing",
     {"simulation.test_data={}"},
     "simulation.test_data: is missing"},
    {"IdxWithoutLabels",
     {"simulation.training_data={idx: {images: i}}"},
     "simulation.training_data.idx.labels: is missing"},
    {"DeviationNegative",
     {"simulation.training_data.idx.standard_deviation=-1"},
     "idx.standard_deviation: is -1"},
    {"PartitionMissing",
     {"simulation.partition={}"},
     "simulation.partition: is missing"},
    {"LabelsMissing",
     {"simulation.partition={labels: {}}"},
     "labels_per_device: is 0"},
    {"AlphaZero", {"simulation.partition={dirichlet: {}}"}, "alpha: is 0"},
    {"ShardsNegative",
     {"simulation.partition={shards: {shards_per_device: -2}}"},
     "shards_per_device: is -2"},
    {"ByColumnOfImages",
     {"simulation.partition={by_column: {column: c}}", "simulation.devices=0"},
     "needs training data with columns"},
    {"ByColumnWithDevices",
     {"simulation.partition={by_column: {column: c}}", std::string(kCsv)},
     "simulation.devices: follows from"},
    {"DropoutOne",
     {"simulation.device_model.dropout_probability=1"},
     "dropout_probability: is 1"},
    {"BandwidthZero",
     {"simulation.device_model.upload_bytes_per_second=0"},
     "upload_bytes_per_second: is 0"},
    {"CsvWithoutFeatures",
     {"simulation.training_data={csv: {file: f}}"},
     "csv.features: is missing"},
    {"CsvFeatureTwice",
     {std::string(kCsv), "simulation.training_data.csv.features=[a, a]"},
     "names \"a\" twice"},
    {"CsvLabelAmongFeatures",
     {std::string(kCsv), "simulation.training_data.csv.labels=[a]"},
     "among the features"},
    {"CsvMeanCount",
     {std::string(kCsv), "simulation.training_data.csv.feature_mean=[1]"},
     "has 1 entries; write one for each of the 2"},
    {"CsvDeviationZero",
     {std::string(kCsv),
      "simulation.training_data.csv.feature_standard_deviation=[1, 0]"},
     "feature_standard_deviation: is 0"},
    {"CsvCategoricalUnknown",
     {std::string(kCsv),
      "simulation.training_data.csv.categorical=[{column: z, values: [v]}]"},
     "\"z\" is not among the features"},
    {"CsvCategoricalEmpty",
     {std::string(kCsv),
      "simulation.training_data.csv.categorical=[{column: a}]"},
     "categorical[0].values: is missing"},
    {"CsvOneClass",
     {std::string(kCsv), "simulation.training_data.csv.classes=[k]"},
     "holds one class"},
    {"CsvDelimiter",
     {std::string(kCsv), "simulation.training_data.csv.delimiter=ab"},
     "must be one character"},
};

INSTANTIATE_TEST_SUITE_P(Kinds, BadTaskTest, ::testing::ValuesIn(kBadValues),
                         NameOf);

}  // namespace
}  // namespace mledge
