// What operators do and see: tasks, their ends, events, devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mledge/coordinator/coordinator.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kEvaluator = Peer::Role::kEvaluator;
constexpr auto TOO_LATE = v1::UploadResult::TOO_LATE;

TEST(CoordinatorTasksTest, SameSubmissionAgainIsASuccessOtherContentIsNot) {
  CoordinatorHarness harness;
  EXPECT_THAT(harness.Submit({.size = 1}), IsOkAndHolds(TaskId("task")));
  EXPECT_THAT(harness.Submit({.size = 1}), IsOkAndHolds(TaskId("task")));
  EXPECT_THAT(harness.Submit({.size = 2}),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST(CoordinatorTasksTest, PackageThatIsNoneIsRefused) {
  CoordinatorHarness harness;
  Coordinator::Submission submission = MakeSubmission(MakeTestTask({}));
  submission.package_file = "nonsense";
  absl::Status status;
  harness.coordinator->SubmitTask(
      harness.now, submission,
      [&](absl::StatusOr<TaskId> id) { status = id.status(); });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("model package")));
}

TEST(CoordinatorTasksTest, TwoTasksTakeTurns) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.name = "x", .size = 1, .rounds = 2}), IsOk());
  ASSERT_THAT(harness.Submit({.name = "y", .size = 1, .rounds = 2}), IsOk());
  std::map<std::string, std::vector<int64_t>> ordinals;
  std::string last;
  for (int i = 0; i < 4; ++i) {
    const auto call = harness.CheckIn("a");
    ASSERT_TRUE(call->has_assignment());
    EXPECT_NE(call->assignment().task_id(), last);
    last = call->assignment().task_id();
    ordinals[last].push_back(call->assignment().ordinal());
    ASSERT_THAT(harness.Upload("a", call->assignment()), IsOk());
  }
  EXPECT_THAT(ordinals["x"], ElementsAre(0, 1));
  EXPECT_THAT(ordinals["y"], ElementsAre(0, 1));
  EXPECT_EQ(harness.Summary("x").state(), v1::COMPLETED);
  EXPECT_EQ(harness.Summary("y").state(), v1::COMPLETED);
}

TEST(CoordinatorTasksTest, DeviceHoldsOneAssignmentAtATime) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.name = "x", .size = 1}), IsOk());
  ASSERT_THAT(harness.Submit({.name = "y", .size = 1}), IsOk());
  const auto first = harness.CheckIn("a");
  const auto second = harness.CheckIn("a");
  EXPECT_EQ(first->assignment().assignment_id(),
            second->assignment().assignment_id());
}

TEST(CoordinatorTasksTest, MinimumIntervalRestsADevice) {
  CoordinatorHarness harness;
  ASSERT_THAT(
      harness.Submit(
          {.size = 1, .rounds = 2, .minimum_interval_in_seconds = 3600}),
      IsOk());
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  harness.Crash();  // also across a restart
  const auto call = harness.CheckIn("a", absl::Hours(2));
  EXPECT_FALSE(call->answer.has_value());
  harness.Advance(absl::Minutes(59));
  EXPECT_FALSE(call->answer.has_value());
  harness.Advance(absl::Minutes(1));
  EXPECT_TRUE(call->has_assignment());
}

TEST(CoordinatorTasksTest, CancelEndsTheTaskAndFreesItsDevices) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  absl::Status cancelled = absl::UnknownError("");
  const auto cancel = [&](const char* task) {
    harness.coordinator->CancelTask(
        harness.now, TaskId(task),
        [&](absl::StatusOr<v1::CancelTaskResponse> response) {
          cancelled = response.status();
        });
    return cancelled;
  };
  EXPECT_THAT(cancel("task"), IsOk());
  EXPECT_THAT(cancel("task"), IsOk());
  EXPECT_THAT(cancel("other"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(harness.Summary().state(), v1::CANCELLED);
  EXPECT_EQ(harness.Upload("b", b->assignment())->outcome(), TOO_LATE);
  EXPECT_EQ(harness.memory.spooled_updates(), 0u);
  EXPECT_THAT(
      harness.coordinator->OpenBlob(
          {DeviceId("a")},
          Digest::FromBytes(a->assignment().parameters().sha256()).value()),
      StatusIs(absl::StatusCode::kNotFound));
  ASSERT_THAT(harness.Submit({.name = "next", .size = 1}), IsOk());
  EXPECT_TRUE(harness.CheckIn("b")->has_assignment());
}

TEST(CoordinatorTasksTest, ParametersThatDivergeEndTheTask) {
  CoordinatorHarness harness;
  v1::Task task = MakeTestTask({.size = 1, .rounds = 5});
  task.mutable_aggregation()->mutable_sgd()->set_learning_rate(1e38);
  harness.coordinator->SubmitTask(harness.now, MakeSubmission(task),
                                  [](absl::StatusOr<TaskId>) {});
  for (int i = 0; i < 5 && harness.Summary().state() == v1::RUNNING; ++i) {
    const auto call = harness.CheckIn("a");
    const std::string id = call->assignment().assignment_id();
    Update update = MakeTestUpdate(id, true);
    for (float& value : update.sections[0].values.span()) value = 15;
    ASSERT_THAT(
        harness.UploadFile(
            "a", id, SerializeUpdate(update, MakeTestContext(id)).value()),
        IsOk());
  }
  EXPECT_EQ(harness.Summary().state(), v1::FAILED);
  EXPECT_THAT(harness.Summary().reason(), HasSubstr("fc.weight"));
}

TEST(CoordinatorTasksTest, WatcherSeesStoredAndLiveEventsOnceAndInOrder) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 2}), IsOk());
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  std::vector<int64_t> sequences;
  int progress = 0;
  bool ended = false;
  const auto subscription = harness.coordinator->Watch(
      TaskId("task"), [&](const v1::TaskEvent& event) {
        if (event.sequence() == 0) {
          ++progress;
        } else {
          sequences.push_back(event.sequence());
        }
        ended = event.has_task_ended();
      });
  ASSERT_THAT(subscription, IsOk());
  EXPECT_THAT(sequences, ElementsAre(1, 2));
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  EXPECT_THAT(sequences, ElementsAre(1, 2, 3, 4, 5));
  EXPECT_GT(progress, 0);
  EXPECT_TRUE(ended);
  EXPECT_THAT(harness.coordinator->Watch(TaskId("none"), nullptr),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(CoordinatorTasksTest, CompletedRoundTellsItsFigures) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 1}), IsOk());
  const auto call = harness.CheckIn("a");
  const auto blob = harness.coordinator->OpenBlob(
      {DeviceId("a")},
      Digest::FromBytes(call->assignment().parameters().sha256()).value());
  ASSERT_THAT((*blob)->Read(0, 1000), IsOk());
  harness.Advance(absl::Seconds(3));
  ASSERT_THAT(harness.Upload("a", call->assignment()), IsOk());
  int rounds = 0;
  for (const v1::TaskEvent& event : harness.Events()) {
    if (!event.has_round_completed()) continue;
    ++rounds;
    const v1::RoundCompleted& round = event.round_completed();
    EXPECT_EQ(round.version(), 1);
    EXPECT_EQ(round.training_loss(), 0.5);
    EXPECT_EQ(round.training_metric(), 0.25);
    EXPECT_EQ(round.duration_milliseconds(), 3000);
    EXPECT_EQ(round.bytes_sent(), 32);
    EXPECT_EQ(
        round.bytes_received(),
        MakeTestUpdateFile(call->assignment().assignment_id(), true).size());
  }
}

TEST(CoordinatorTasksTest, DevicesAreListed) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 1}), IsOk());
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  harness.Crash();
  harness.CheckIn("e", absl::ZeroDuration(), kEvaluator);
  const std::vector<v1::DeviceSummary> devices =
      harness.coordinator->ListDevices();
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0].device_id(), "a");
  EXPECT_EQ(devices[0].assignments(), 1);
  EXPECT_EQ(devices[0].acknowledged(), 1);
  EXPECT_EQ(devices[1].role(), "evaluator");
}

TEST(CoordinatorTasksTest, ShutdownAnswersWhoWaitsAndRefusesNewWork) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2}), IsOk());
  const auto waiting = harness.CheckIn("a");
  harness.coordinator->Shutdown(harness.now);
  EXPECT_TRUE(waiting->told_to_come_back());
  const auto refused = harness.CheckIn("b");
  EXPECT_THAT(*refused->answer, StatusIs(absl::StatusCode::kUnavailable));
}

TEST(CoordinatorTasksTest, DestructionAnswersWhoWaits) {
  CoordinatorHarness harness;
  const auto waiting = harness.CheckIn("a");
  harness.coordinator.reset();
  EXPECT_THAT(*waiting->answer, StatusIs(absl::StatusCode::kCancelled));
}

// What a task leaves behind does not grow with its rounds, but for the versions
// that are kept.
TEST(CoordinatorTasksTest, NothingPilesUp) {
  CoordinatorHarness harness({.updates_per_checkpoint = 2});
  ASSERT_THAT(harness.Submit({.size = 8, .rounds = 40, .momentum = 0.9}),
              IsOk());
  for (int round = 0; round < 40; ++round) {
    std::vector<std::shared_ptr<CoordinatorHarness::Call>> calls;
    for (int d = 0; d < 8; ++d) {
      calls.push_back(harness.CheckIn(std::to_string(d)));
    }
    for (int d = 0; d < 8; ++d) {
      ASSERT_THAT(harness.Upload(std::to_string(d), calls[d]->assignment()),
                  IsOk());
    }
  }
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(harness.memory.spooled_updates(), 0u);
  // Task, package, 41 versions, the newest moments.
  EXPECT_EQ(harness.memory.blobs(), 44u);
}

TEST(CoordinatorTasksTest, SpooledUpdatesGoWithTheCheckpointThatHoldsThem) {
  CoordinatorHarness harness(
      {.updates_per_checkpoint = 2, .updates_per_fold = 1});
  ASSERT_THAT(harness.Submit({.size = 4, .rounds = 2}), IsOk());
  std::vector<std::shared_ptr<CoordinatorHarness::Call>> calls;
  for (int d = 0; d < 4; ++d) {
    calls.push_back(harness.CheckIn(std::to_string(d)));
  }
  const size_t spooled_after[] = {1, 0, 1, 0};
  for (int d = 0; d < 4; ++d) {
    ASSERT_THAT(harness.Upload(std::to_string(d), calls[d]->assignment()),
                IsOk());
    EXPECT_EQ(harness.memory.spooled_updates(), spooled_after[d]) << d;
  }
  EXPECT_EQ(harness.Summary().state(), v1::RUNNING);
}

// A long round saves its sum again and again; saved sums are as large as
// models.
TEST(CoordinatorTasksTest, CheckpointsOfOneRoundDoNotPileUp) {
  CoordinatorHarness harness(
      {.updates_per_checkpoint = 1, .updates_per_fold = 1});
  ASSERT_THAT(harness.Submit({.size = 60, .rounds = 1}), IsOk());
  std::vector<std::shared_ptr<CoordinatorHarness::Call>> calls;
  for (int d = 0; d < 60; ++d) {
    calls.push_back(harness.CheckIn(std::to_string(d)));
  }
  size_t most = 0;
  for (int d = 0; d < 60; ++d) {
    ASSERT_THAT(harness.Upload(std::to_string(d), calls[d]->assignment()),
                IsOk());
    most = std::max(most, harness.memory.blobs());
  }
  EXPECT_EQ(harness.Summary().version(), 1);
  // Task, package, two versions, and what comes between two collections.
  EXPECT_LE(most, 4u + 18u);
}

}  // namespace
}  // namespace mledge
