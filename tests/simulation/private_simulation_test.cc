// Private tasks in the simulator: what noise the model gets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "mledge/core/strings.h"
#include "mledge/tests/simulation/simulation_fixture.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Two rounds of which little but noise remains: a clip norm far below the
// updates', and a hundred times as much noise.
v1::Task MakeNoisyTask(const std::string& privacy = "mechanism: CENTRAL",
                       const std::string& more = "") {
  return MakeTask(StrCat(R"pb(
                           local_training { clip_norm: 0.001 }
                           aggregation { weighting: UNIFORM }
                           stop { rounds: 2 }
                           privacy { noise_multiplier: 100 delta: 1e-9
                                     population_size: 1000000
                         )pb",
                         privacy, "} ", more));
}

double RmsChange(const SimulationResult& result) {
  const ParameterVector start = MakeFakePackage(300).initial_parameters;
  double squares = 0;
  for (size_t i = 0; i < start.values().size(); ++i) {
    squares += std::pow(result.parameters.values()[i] - start.values()[i], 2);
  }
  return std::sqrt(squares / static_cast<double>(start.values().size()));
}

// The mean of a round of 5 bears the noise that a mean of 500 has. Over 300
// values the two estimates are within 20 % of each other but for one run in
// 10^5 (chi-square, 5 standard deviations); the seed is fixed.
TEST(PrivateSimulationTest, TheMeanBearsTheNoiseOfTheDeployment) {
  const auto alone = Simulate(MakeOptions(MakeNoisyTask()));
  ASSERT_THAT(alone, IsOk());
  const auto deployed = Simulate(MakeOptions(
      MakeNoisyTask("mechanism: CENTRAL", "simulation { noise_cohort: 500 }")));
  ASSERT_THAT(deployed, IsOk());
  // Two rounds of 100 · 0.001 / 5 each, independent.
  EXPECT_NEAR(RmsChange(*alone) / (0.02 * std::sqrt(2.0)), 1, 0.2);
  EXPECT_NEAR(RmsChange(*alone) / RmsChange(*deployed), 100, 40);
}

// In the simulation sessions may lose devices as in the deployment: no device
// may ask for the noise of everybody.
TEST(PrivateSimulationTest, DevicesTakePartInSessionsWithTheDeploymentsNoise) {
  const auto result =
      Simulate(MakeOptions(MakeNoisyTask("mechanism: DISTRIBUTED", R"pb(
        cohort { size: 10 minimum: 6 }
        secure_aggregation { mode: ON dropout_fraction: 0.3 }
        simulation { noise_cohort: 1000 })pb")));
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->state, v1::COMPLETED) << result->reason;
  ASSERT_EQ(result->rounds.size(), 2u);
  for (const auto& round : result->rounds) EXPECT_EQ(round.devices, 10);
}

// Four rounds of 5 of 20 devices, and nobody is left.
TEST(PrivateSimulationTest, EndsWhenEveryParticipationIsUsedUp) {
  v1::Task task = MakeNoisyTask();
  task.mutable_stop()->set_rounds(6);
  task.mutable_privacy()->set_participations(1);
  EXPECT_THAT(
      Simulate(MakeOptions(task)),
      StatusIs(
          absl::StatusCode::kFailedPrecondition,
          AllOf(HasSubstr("task test stands still after round 4"),
                HasSubstr("20 devices have had all their participations "
                          "(privacy.participations: 1)"),
                HasSubstr("simulation.devices"), HasSubstr("stop.rounds"))));
}

// The same where they wait for rounds that cannot come.
TEST(PrivateSimulationTest, EndsWhenNobodyHasWaitedLongEnough) {
  v1::Task task = MakeNoisyTask();
  task.mutable_stop()->set_rounds(8);
  task.mutable_privacy()->set_participations(2);
  task.mutable_privacy()->set_separation(5);
  EXPECT_THAT(Simulate(MakeOptions(task)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("task test stands still after round 4"),
                             HasSubstr("(privacy.separation)"))));
}

v1::Task MakePoissonTask() {
  return MakeTask(R"pb(
    local_training { clip_norm: 0.5 }
    cohort { size: 1 selection: POISSON }
    aggregation { weighting: UNIFORM }
    stop { rounds: 40 }
    privacy {
      mechanism: CENTRAL
      noise_multiplier: 1
      delta: 1e-3
      population_size: 20
    })pb");
}

// 20 devices with probability 1/20: a third of the rounds is empty.
TEST(PrivateSimulationTest, PoissonRoundsTakeWhoeverIsDrawn) {
  Simulator::Options options = MakeOptions(MakePoissonTask());
  const auto result = Simulate(options);
  ASSERT_THAT(result, IsOk());
  ASSERT_EQ(result->rounds.size(), 40u);
  int64_t empty = 0;
  int64_t devices = 0;
  int64_t most = 0;
  for (const RoundMetrics& round : result->rounds) {
    EXPECT_EQ(round.attempts, 1);
    EXPECT_EQ(round.failures, 0);
    EXPECT_EQ(round.assigned, round.devices);
    empty += round.devices == 0 ? 1 : 0;
    devices += round.devices;
    most = std::max(most, round.devices);
  }
  // 40 expected, standard deviation 6; 14 expected, standard deviation 3.
  EXPECT_NEAR(static_cast<double>(devices), 40, 30);
  EXPECT_NEAR(static_cast<double>(empty), 14, 12);
  EXPECT_GT(most, 1) << "above the expected size there is no cap";
  options.wire = true;
  options.workers = 3;
  const auto again = Simulate(options);
  ASSERT_THAT(again, IsOk());
  ExpectSameRun(*result, *again);
}

TEST(PrivateSimulationTest, ARosterThatIsNotTheFleetIsRefused) {
  v1::Task task = MakePoissonTask();
  task.mutable_cohort()->set_minimum_waiting(19);
  EXPECT_THAT(Simulate(MakeOptions(task)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::HasSubstr("it is the roster")));
}

}  // namespace
}  // namespace mledge
