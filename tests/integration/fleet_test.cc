// A fleet of real processes trains a model, whoever is killed meanwhile.

#include "mledge/tests/integration/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <optional>
#include <string>

#include "mledge/core/sha256.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDevices = 3;

// What a finished task leaves: a version a round, each from all devices.
void ExpectCompleteTask(const std::vector<v1::TaskEvent>& events, int rounds) {
  std::map<int64_t, int64_t> updates;
  std::optional<double> metric;
  int64_t sequence = 0;
  for (const v1::TaskEvent& event : events) {
    if (event.sequence() != 0) {
      EXPECT_EQ(event.sequence(), ++sequence);
    }
    if (event.has_round_completed()) {
      EXPECT_TRUE(
          updates.emplace(event.round(), event.round_completed().updates())
              .second)
          << "round " << event.round() << " completed twice";
    }
    if (event.has_evaluated()) metric = event.evaluated().metric();
    EXPECT_FALSE(event.has_round_failed()) << event.round_failed().reason();
  }
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().task_ended().state(), v1::COMPLETED)
      << events.back().task_ended().reason();
  EXPECT_EQ(updates.size(), static_cast<size_t>(rounds));
  for (const auto& [round, count] : updates) EXPECT_EQ(count, kDevices);
  ASSERT_TRUE(metric.has_value());
  EXPECT_GT(*metric, 0.9);
}

std::string ParametersOf(Fleet& fleet, const std::string& task) {
  const auto model = fleet.Admin()->FetchModel(task, std::nullopt);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? Sha256Of(model->parameters).ToHex() : "";
}

TEST(FleetTest, TrainsAModelFromSubmissionToPrediction) {
  Fleet fleet;
  ASSERT_TRUE(fleet.StartCoordinator());
  fleet.StartDevices(kDevices);
  const std::string task = fleet.Submit("smoke", kDevices, 4);
  const Finished watched = fleet.Mledge({"task", "watch", task, "--table"});
  EXPECT_EQ(watched.status, 0) << watched.output;
  EXPECT_THAT(watched.output,
              AllOf(HasSubstr("round 4/4"), HasSubstr("accuracy"),
                    HasSubstr("completed")));
  ExpectCompleteTask(fleet.EventsToTheEnd(task), 4);

  EXPECT_THAT(fleet.Mledge({"task", "list"}).output,
              AllOf(HasSubstr("smoke"), HasSubstr("completed")));
  EXPECT_THAT(fleet.Mledge({"fleet", "list"}).output,
              AllOf(HasSubstr("device-2"), HasSubstr("judge")));
  EXPECT_THAT(
      fleet.Mledge({"task", "show", task}).output,
      AllOf(HasSubstr("name: smoke"), HasSubstr("Secure aggregation: off"),
            HasSubstr("in the clear")));

  const std::string package = fleet.PathOf("trained.mlpkg");
  ASSERT_EQ(fleet.Mledge({"task", "result", task, "--out", package}).status, 0);
  const Finished predicted =
      fleet.Mledge({"model", "predict", "--package", package, "--parameters",
                    package + ".f32", "--images", fleet.PathOf("test-images"),
                    "--labels", fleet.PathOf("test-labels"), "--count", "3"},
                   /*connected=*/false);
  EXPECT_EQ(predicted.status, 0) << predicted.output;
  EXPECT_THAT(predicted.output, HasSubstr("right"));

  const Finished again = fleet.Mledge({"task", "show", "no-such-task"});
  EXPECT_EQ(again.status, 1);
  EXPECT_THAT(again.output, HasSubstr("no-such-task"));
}

TEST(FleetTest, CancelledTaskEndsItsWatchWithStatusFour) {
  Fleet fleet;
  ASSERT_TRUE(fleet.StartCoordinator());
  const std::string task = fleet.Submit("cancelled", kDevices, 4);
  ChildProcess watch("mledge",
                     {"task", "watch", task, "--coordinator", fleet.address(),
                      "--identity", fleet.IdentityOf(Role::kOperator, "alice")},
                     fleet.PathOf("logs/watch"));
  EXPECT_EQ(fleet.Mledge({"task", "cancel", task}).status, 0);
  EXPECT_EQ(watch.Wait(), 4) << watch.Log();
}

TEST(FleetTest, GoesOnAfterDevicesWereKilledAndCameBack) {
  Fleet fleet;
  ASSERT_TRUE(fleet.StartCoordinator());
  fleet.StartDevices(kDevices);
  const std::string task = fleet.Submit("killed-devices", kDevices, 12);
  for (int i = 0; i < 4; ++i) {
    const std::string id = StrCat("device-", i % kDevices);
    ASSERT_TRUE(fleet.WaitForVersion(task, 2 * i + 1));
    fleet.device(id)->Signal(SIGKILL);
    fleet.device(id)->Wait();
    fleet.StartDevice(id);
  }
  ExpectCompleteTask(fleet.EventsToTheEnd(task), 12);
}

TEST(FleetTest, GoesOnAfterTheCoordinatorWasStoppedWithCtrlC) {
  Fleet fleet;
  ASSERT_TRUE(fleet.StartCoordinator());
  fleet.StartDevices(kDevices);
  const std::string task = fleet.Submit("restarted", kDevices, 8);
  ASSERT_TRUE(fleet.WaitForVersion(task, 2));
  fleet.coordinator()->Signal(SIGINT);
  EXPECT_EQ(fleet.coordinator()->Wait(), 0) << fleet.coordinator()->Log();
  ASSERT_TRUE(fleet.StartCoordinator());
  ExpectCompleteTask(fleet.EventsToTheEnd(task), 8);
}

// No acknowledged update is lost or counted twice: the model is bit for bit
// that of a fleet whose coordinator nobody killed.
TEST(FleetTest, TwentyKillsOfTheCoordinatorChangeNothing) {
  constexpr int kRounds = 30;
  const uint64_t seed = TestSeed(41);
  const auto trace = TraceSeed(seed);
  Fleet fleet;
  ASSERT_TRUE(fleet.StartCoordinator());
  fleet.StartDevices(kDevices);
  const std::string undisturbed =
      fleet.Submit("undisturbed", kDevices, kRounds);
  ExpectCompleteTask(fleet.EventsToTheEnd(undisturbed), kRounds);
  const std::string expected = ParametersOf(fleet, undisturbed);

  const std::string task = fleet.Submit("disturbed", kDevices, kRounds);
  TrainingRandom random({.task_seed = seed, .purpose = "kills"});
  int kills_of_a_running_task = 0;
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE(StrCat("kill ", i));
    ASSERT_TRUE(fleet.WaitForVersion(task, i));
    // Somewhere in the rounds that follow, and not at a moment of its choice.
    const absl::Time kill_at =
        absl::Now() +
        absl::Microseconds(static_cast<int64_t>(random.UniformBelow(60'000)));
    while (absl::Now() < kill_at) {
    }
    fleet.coordinator()->Signal(SIGKILL);
    fleet.coordinator()->Wait();
    ASSERT_TRUE(fleet.StartCoordinator());
    const auto state = fleet.Admin()->GetTask(task);
    ASSERT_TRUE(state.ok()) << state.status();
    kills_of_a_running_task += state->summary().state() == v1::RUNNING;
  }
  EXPECT_GE(kills_of_a_running_task, 15);
  ExpectCompleteTask(fleet.EventsToTheEnd(task), kRounds);
  EXPECT_EQ(ParametersOf(fleet, task), expected);
}

}  // namespace
}  // namespace mledge
