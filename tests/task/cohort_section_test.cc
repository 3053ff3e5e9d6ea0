// Poisson samples: what they default to, and each combination that would make
// of them another sample than their accounting knows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

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
cohort: {size: 100, selection: poisson}
aggregation: {weighting: uniform}
secure_aggregation: {mode: off}
privacy:
  mechanism: central
  target_epsilon: 2
  delta: 1e-4
  population_size: 1000
stop: {rounds: 101}
simulation:
  devices: 1000
  training_data: {idx: {images: i, labels: l}}
  test_data: {idx: {images: i, labels: l}}
  partition: {iid: {}}
)";

absl::StatusOr<v1::Task> Validated(const std::vector<std::string>& overrides) {
  return ParseTask(kTask, "t.yaml", overrides);
}

TEST(PoissonSelectionTest, WritesOutEveryDefault) {
  const auto task = Validated({});
  ASSERT_THAT(task, IsOk());
  EXPECT_THAT(task->cohort(), EqualsProto(R"pb(
                selection: POISSON
                size: 100
                over_selection: 1
                minimum_interval {}
                minimum_waiting: 1000)pb"));
  EXPECT_EQ(task->privacy().participations(), 101);
  EXPECT_EQ(task->privacy().separation(), 1);
}

TEST(PoissonSelectionTest, IsIdempotentWithAndWithoutItsSimulation) {
  auto task = Validated(
      {"privacy.population_size=5000", "simulation.noise_cohort=500"});
  ASSERT_THAT(task, IsOk());
  v1::Task again = *task;
  ASSERT_THAT(ValidateTask(&again), IsOk());
  EXPECT_THAT(again, EqualsProto(*task));
  again.clear_simulation();
  ASSERT_THAT(ValidateTask(&again), IsOk());
  EXPECT_THAT(again.cohort(), EqualsProto(task->cohort()));
}

class BadPoissonTest : public ::testing::TestWithParam<BadValue> {};

TEST_P(BadPoissonTest, IsRefusedByName) { ExpectRefused(kTask, GetParam()); }

const BadValue kBadValues[] = {
    {"SecureAggregation",
     {"secure_aggregation={mode: on}"},
     "cohort.selection: is poisson, and secure aggregation is on"},
    {"SecureAggregationByDefault",
     {"secure_aggregation={}"},
     "cohort.selection: is poisson, and secure aggregation is on"},
    {"NotPrivate",
     {"privacy={}"},
     "cohort.selection: is poisson, which is accounted for with"},
    {"Local",
     {"privacy.mechanism=local"},
     "cohort.selection: is poisson, which is accounted for with"},
    {"Correlated",
     {"privacy.mechanism=correlated"},
     "cohort.selection: is poisson, which is accounted for with"},
    {"Distributed",
     {"privacy.mechanism=distributed", "secure_aggregation={mode: on}"},
     "cohort.selection: is poisson, which is accounted for with"},
    {"Minimum", {"cohort.minimum=1"}, "cohort.minimum: is 1"},
    {"OverSelection",
     {"cohort.over_selection=1.1"},
     "cohort.over_selection: is 1.1"},
    {"Deadline", {"cohort.deadline=10m"}, "cohort.deadline: goes with"},
    {"MinimumInterval",
     {"cohort.minimum_interval=1s"},
     "cohort.minimum_interval: goes with"},
    {"RosterThatIsNotTheFleet",
     {"cohort.minimum_waiting=999"},
     "cohort.minimum_waiting: is 999"},
    {"RosterBelowTheSize",
     {"cohort.size=1001"},
     "it is the roster, of which cohort.size (1001) are drawn"},
    {"RosterBeyondThePopulation",
     {"privacy.population_size=999"},
     "privacy.population_size (999) is all that there are"},
    {"DeploymentBeyondThePopulation",
     {"simulation.noise_cohort=1001"},
     "simulation.noise_cohort: is 1001"},
    {"FewerParticipations",
     {"privacy.participations=100"},
     "privacy.participations: is 100; with `selection: poisson`"},
    {"Separation",
     {"privacy.separation=2"},
     "privacy.separation: is 2; with `selection: poisson`"},
    {"DevicesThatVanish",
     {"simulation.device_model={dropout_probability: 0.1}"},
     "simulation.device_model.dropout_probability: is not 0"},
    {"DevicesEvaluate",
     {"evaluation={where: devices}"},
     "evaluation.where: is devices"},
    {"SizeZero", {"cohort.size=0"}, "cohort.size: is 0"},
};

INSTANTIATE_TEST_SUITE_P(Kinds, BadPoissonTest, ::testing::ValuesIn(kBadValues),
                         NameOf);

}  // namespace
}  // namespace mledge
