// A fleet of real processes with secure aggregation: registrar, coordinator and
// devices, whoever is killed meanwhile.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/time/clock.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/integration/fleet.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDevices = 8;

struct Summary {
  int64_t rounds = 0;
  int64_t updates = 0;
  int64_t failed_rounds = 0;
  double metric = 0;
  v1::TaskState state = v1::TASK_STATE_UNSPECIFIED;
  std::string reason;
};

Summary Summarize(const std::vector<v1::TaskEvent>& events) {
  Summary summary;
  for (const v1::TaskEvent& event : events) {
    if (event.has_round_completed()) {
      ++summary.rounds;
      summary.updates += event.round_completed().updates();
    }
    if (event.has_round_failed()) ++summary.failed_rounds;
    if (event.has_evaluated()) summary.metric = event.evaluated().metric();
    if (event.has_task_ended()) {
      summary.state = event.task_ended().state();
      summary.reason = event.task_ended().reason();
    }
  }
  return summary;
}

TEST(SecureFleetTest, TrainsAModelAndNobodySeesAnUpdate) {
  Fleet fleet;
  ASSERT_TRUE(fleet.StartRegistrar());
  ASSERT_TRUE(fleet.StartCoordinator());
  fleet.StartDevices(kDevices);
  // Secure aggregation need not be asked for.
  const std::string task = fleet.SubmitWith(
      "secure", StrCat("cohort: {size: ", kDevices, ", deadline: 5m}\n"), 4);
  const Summary summary = Summarize(fleet.EventsToTheEnd(task));
  EXPECT_EQ(summary.state, v1::COMPLETED) << summary.reason;
  EXPECT_EQ(summary.rounds, 4);
  EXPECT_EQ(summary.updates, 4 * kDevices);
  EXPECT_GT(summary.metric, 0.9);
  EXPECT_THAT(fleet.Mledge({"task", "show", task}).output,
              AllOf(HasSubstr("Secure aggregation: on"),
                    Not(HasSubstr("in the clear"))));
}

// Nobody has a test set but the devices, and no device's numbers are seen.
TEST(SecureFleetTest, EvaluatesOnDevicesInsideSums) {
  constexpr int kHalf = kDevices / 2;
  Fleet fleet;
  ASSERT_TRUE(fleet.StartRegistrar());
  ASSERT_TRUE(fleet.StartCoordinator());
  for (int i = 0; i < kDevices; ++i) fleet.StartDevice(StrCat("device-", i));
  const std::string task = fleet.SubmitWith(
      "judged", StrCat("cohort: {size: ", kHalf, ", deadline: 5m}\n"), 3,
      nullptr,
      {"evaluation.where=devices", StrCat("evaluation.devices=", kHalf)});
  const std::vector<v1::TaskEvent> events = fleet.EventsToTheEnd(task);
  EXPECT_EQ(Summarize(events).state, v1::COMPLETED) << Summarize(events).reason;
  EXPECT_EQ(Summarize(events).rounds, 3);
  std::set<int64_t> evaluated;
  for (const v1::TaskEvent& event : events) {
    if (!event.has_evaluated()) continue;
    evaluated.insert(event.evaluated().version());
    EXPECT_EQ(event.evaluated().metric_name(), "accuracy");
    // At least those of the four devices that have fewest.
    EXPECT_GE(event.evaluated().examples(), 60 + 70 + 80 + 90);
  }
  EXPECT_TRUE(evaluated.contains(3));
  EXPECT_GT(Summarize(events).metric, 0.9);
  EXPECT_THAT(fleet.Mledge({"task", "watch", task}).output,
              HasSubstr("version 3: loss"));
  EXPECT_THAT(
      fleet.Mledge({"task", "show", task}).output,
      AllOf(HasSubstr("Secure aggregation: on"),
            HasSubstr("Newest evaluation: loss"), HasSubstr("accuracy ")));
  for (int i = 0; i < kDevices; ++i) {
    EXPECT_EQ(fleet.device(StrCat("device-", i))->Log().find("refused"),
              std::string::npos);
  }
}

TEST(SecureFleetTest, CoordinatorWithoutARegistrarRefusesTheTask) {
  Fleet fleet;
  ASSERT_TRUE(fleet.StartCoordinator());
  Finished submitted;
  fleet.SubmitWith("refused", "cohort: {size: 8}\n", 4, &submitted);
  EXPECT_EQ(submitted.status, 1);
  EXPECT_THAT(submitted.output, HasSubstr("set `registrar`"));
}

// Devices, the coordinator and the registrar die with kill -9 at random moments
// and come back. Updates are lost, sessions are; the task is not.
TEST(SecureFleetTest, GoesOnWhoeverIsKilled) {
  constexpr int kRounds = 12;
  const uint64_t seed = TestSeed(7);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "kills"});
  Fleet fleet;
  ASSERT_TRUE(fleet.StartRegistrar());
  ASSERT_TRUE(fleet.StartCoordinator());
  fleet.StartDevices(kDevices);
  const std::string task =
      fleet.SubmitWith("killed",
                       StrCat("cohort: {size: ", kDevices,
                              ", minimum: 4, deadline: 20s}\n"
                              "secure_aggregation: {dropout_fraction: 0.3, "
                              "step_deadline: 3s}\n"),
                       kRounds);
  for (int i = 0; i < 12; ++i) {
    absl::SleepFor(absl::Milliseconds(200 + random.UniformBelow(600)));
    if (i == 5) {
      fleet.coordinator()->Signal(SIGKILL);
      fleet.coordinator()->Wait();
      ASSERT_TRUE(fleet.StartCoordinator());
    } else if (i == 9) {
      fleet.registrar()->Signal(SIGKILL);
      fleet.registrar()->Wait();
      ASSERT_TRUE(fleet.StartRegistrar());
    } else {
      const std::string id = StrCat("device-", random.UniformBelow(kDevices));
      fleet.device(id)->Signal(SIGKILL);
      fleet.device(id)->Wait();
      fleet.StartDevice(id);
    }
  }
  const Summary summary = Summarize(fleet.EventsToTheEnd(task));
  EXPECT_EQ(summary.state, v1::COMPLETED) << summary.reason;
  EXPECT_EQ(summary.rounds, kRounds);
  EXPECT_GT(summary.metric, 0.9);
}

}  // namespace
}  // namespace mledge
