// A disk that has damaged a blob: the coordinator starts all the same, says
// which blob and what to do, and all other tasks go on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/coordinator/coordinator.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Damage = FaultyStorage::Damage;

class DamagedBlobTest : public ::testing::Test {
 protected:
  // Two tasks in populations of their own; the first one is at version 1.
  void SetUp() override {
    ASSERT_THAT(harness_.Submit({.name = "hurt",
                                 .size = 1,
                                 .rounds = 4,
                                 .momentum = 0.5,
                                 .population = "hurt"}),
                IsOk());
    ASSERT_THAT(
        harness_.Submit(
            {.name = "sound", .size = 1, .rounds = 1, .population = "sound"}),
        IsOk());
    Train("hurt", "a");
  }

  void Train(const std::string& population, const std::string& device) {
    const auto call = CheckIn(population, device);
    ASSERT_TRUE(call->has_assignment());
    ASSERT_THAT(harness_.Upload(device, call->assignment()), IsOk());
  }
  std::shared_ptr<CoordinatorHarness::Call> CheckIn(
      const std::string& population, const std::string& device) {
    return harness_.CheckIn(device, absl::Hours(1), Peer::Role::kDevice,
                            population);
  }

  TaskRecord Task(const std::string& id) {
    const StoredState stored = harness_.memory.Load().value();
    for (const TaskRecord& task : stored.tasks) {
      if (task.id == TaskId(id)) return task;
    }
    ADD_FAILURE() << "no task " << id;
    return {};
  }
  VersionRecord Version(int64_t number) {
    const StoredState stored = harness_.memory.Load().value();
    for (const VersionRecord& version : stored.versions) {
      if (version.task == TaskId("hurt") &&
          version.version == VersionNumber(number)) {
        return version;
      }
    }
    ADD_FAILURE() << "no version " << number;
    return {};
  }
  v1::TaskSummary Listed(const std::string& id) {
    for (const v1::TaskSummary& task : harness_.coordinator->ListTasks()) {
      if (task.task_id() == id) return task;
    }
    ADD_FAILURE() << id << " is not listed";
    return {};
  }
  void ExpectSetAside(const Digest& blob) {
    const v1::TaskSummary hurt = Listed("hurt");
    EXPECT_EQ(hurt.state(), v1::SET_ASIDE);
    EXPECT_EQ(hurt.version(), 1);
    EXPECT_THAT(hurt.reason(),
                AllOf(HasSubstr("\"hurt\""), HasSubstr(blob.ToHex()),
                      HasSubstr("backup"), HasSubstr("cancel")));
    const auto data_loss =
        StatusIs(absl::StatusCode::kDataLoss, HasSubstr(blob.ToHex()));
    const TaskId id("hurt");
    EXPECT_THAT(harness_.coordinator->GetTask(id), data_loss);
    EXPECT_THAT(harness_.coordinator->OpenModel(id, std::nullopt).status(),
                data_loss);
    EXPECT_THAT(harness_.coordinator->Watch(id, [](const auto&) {}).status(),
                data_loss);
    EXPECT_THAT(harness_.Submit({.name = "hurt"}), data_loss);
  }

  CoordinatorHarness harness_;
};

TEST_F(DamagedBlobTest, SetsItsTaskAsideAndNoOther) {
  for (const Damage damage :
       {Damage::kMissing, Damage::kAltered, Damage::kCut}) {
    for (const Digest& blob : {Task("hurt").signed_task, Version(1).parameters,
                               *Version(1).optimizer_state}) {
      harness_.storage.DamageBlob(blob, damage);
      harness_.Crash();
      ExpectSetAside(blob);
      EXPECT_EQ(harness_.Summary("sound").state(), v1::RUNNING);
      harness_.storage.Repair();
    }
  }
  harness_.storage.DamageBlob(Version(1).parameters, Damage::kAltered);
  harness_.Crash();
  EXPECT_FALSE(CheckIn("hurt", "b")->has_assignment());
  Train("sound", "c");
  EXPECT_EQ(harness_.Summary("sound").state(), v1::COMPLETED);
}

TEST_F(DamagedBlobTest, PackageThatTwoTasksShareSetsBothAside) {
  harness_.storage.DamageBlob(Task("hurt").package, Damage::kAltered);
  harness_.Crash();
  ExpectSetAside(Task("hurt").package);
  EXPECT_EQ(Listed("sound").state(), v1::SET_ASIDE);
}

TEST_F(DamagedBlobTest, TaskGoesOnOnceTheBlobIsRestored) {
  const auto call = CheckIn("hurt", "b");
  ASSERT_TRUE(call->has_assignment());
  harness_.storage.DamageBlob(Version(1).parameters, Damage::kMissing);
  harness_.Crash();
  // What the device has may be wanted later: nothing that makes it drop it.
  EXPECT_THAT(harness_.Upload("b", call->assignment()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("hurt")));
  harness_.storage.Repair();
  harness_.Crash();
  const auto result = harness_.Upload("b", call->assignment());
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome(), v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(harness_.Summary("hurt").version(), 2);
}

TEST_F(DamagedBlobTest, TaskThatIsSetAsideCanBeCancelled) {
  harness_.storage.DamageBlob(Version(1).parameters, Damage::kMissing);
  harness_.Crash();
  const auto cancel = [this] {
    absl::Status status = absl::UnknownError("no answer");
    harness_.coordinator->CancelTask(
        harness_.now, TaskId("hurt"),
        [&](const absl::StatusOr<v1::CancelTaskResponse>& response) {
          status = response.status();
        });
    return status;
  };
  EXPECT_THAT(cancel(), IsOk());
  EXPECT_EQ(Task("hurt").state, TaskState::kCancelled);
  EXPECT_EQ(Listed("hurt").state(), v1::CANCELLED);
  EXPECT_THAT(cancel(), StatusIs(absl::StatusCode::kDataLoss));
  // It has ended: its newest version matters to nobody but its readers.
  harness_.Crash();
  EXPECT_EQ(harness_.Summary("hurt").state(), v1::CANCELLED);
}

// What is not on the disk has not happened.
TEST_F(DamagedBlobTest, TaskThatIsSetAsideIsCancelledOnTheDiskFirst) {
  harness_.storage.DamageBlob(Version(1).parameters, Damage::kMissing);
  harness_.Crash();
  harness_.storage.fail = [](const std::string&) {
    return absl::ResourceExhaustedError("no space left on device");
  };
  absl::Status status;
  harness_.coordinator->CancelTask(
      harness_.now, TaskId("hurt"),
      [&](const absl::StatusOr<v1::CancelTaskResponse>& response) {
        status = response.status();
      });
  EXPECT_THAT(status.message(), HasSubstr("no space left"));
  EXPECT_EQ(Listed("hurt").state(), v1::SET_ASIDE);
  EXPECT_EQ(Task("hurt").state, TaskState::kRunning);
  harness_.storage.fail = nullptr;
  harness_.Advance(absl::Seconds(2));
  EXPECT_EQ(Listed("hurt").state(), v1::CANCELLED);
  EXPECT_EQ(Task("hurt").state, TaskState::kCancelled);
}

TEST_F(DamagedBlobTest, OlderVersionDoesNotMatter) {
  harness_.storage.DamageBlob(Version(0).parameters, Damage::kMissing);
  Train("hurt", "b");
  harness_.storage.DamageBlob(Version(1).parameters, Damage::kAltered);
  harness_.Crash();
  Train("hurt", "c");
  Train("hurt", "d");
  EXPECT_EQ(harness_.Summary("hurt").state(), v1::COMPLETED);
  EXPECT_EQ(harness_.Summary("hurt").version(), 4);
}

TEST_F(DamagedBlobTest, ParametersThatCannotBePublishedFromFailTheTask) {
  harness_.Crash();
  // The publisher reads them at the first publication after a restart.
  harness_.storage.DamageBlob(Version(1).parameters, Damage::kAltered);
  Train("hurt", "b");
  EXPECT_EQ(harness_.Summary("hurt").state(), v1::FAILED);
  EXPECT_THAT(harness_.Summary("hurt").reason(),
              HasSubstr(Version(1).parameters.ToHex()));
  Train("sound", "c");
  EXPECT_EQ(harness_.Summary("sound").state(), v1::COMPLETED);
}

TEST(DamagedCheckpointTest, CostsItsRoundAndNotTheTask) {
  CoordinatorHarness harness(
      {.updates_per_checkpoint = 1, .updates_per_fold = 1});
  ASSERT_THAT(harness.Submit({.size = 3, .rounds = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  const auto c = harness.CheckIn("c");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  const StoredState stored = harness.memory.Load().value();
  ASSERT_FALSE(stored.checkpoints.empty());
  for (const CheckpointRecord& slot : stored.checkpoints) {
    harness.storage.DamageBlob(slot.sum, Damage::kAltered);
  }
  harness.Crash();
  ASSERT_THAT(harness.Upload("c", c->assignment()), IsOk());
  EXPECT_EQ(harness.Summary().state(), v1::RUNNING);
  EXPECT_EQ(harness.Summary().version(), 0);
  for (const char* device : {"a", "b", "c"}) {
    harness.CheckIn(device);
  }
  std::vector<std::shared_ptr<CoordinatorHarness::Call>> calls;
  for (const char* device : {"a", "b", "c"}) {
    const auto call = harness.CheckIn(device);
    ASSERT_TRUE(call->has_assignment());
    EXPECT_EQ(call->assignment().round(), 2);
    ASSERT_THAT(harness.Upload(device, call->assignment()), IsOk());
  }
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
}

}  // namespace
}  // namespace mledge
