#include "mledge/coordinator/storage/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "mledge/coordinator/storage/schema.h"
#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Digest DigestOf(std::string_view text) { return Sha256Of(text); }
absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(seconds); }

class RecordsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto database = OpenDatabase(directory_.File("test.db"));
    ASSERT_THAT(database, IsOk());
    database_ = *std::move(database);
    ASSERT_THAT(MigrateSchema(*database_), IsOk());
  }
  void Write(const Transaction& transaction) {
    ASSERT_THAT(database_->InTransaction(
                    [&] { return WriteRecords(*database_, transaction); }),
                IsOk());
  }
  StoredState Load() {
    absl::StatusOr<StoredState> state = LoadRecords(*database_);
    EXPECT_THAT(state, IsOk());
    return *std::move(state);
  }
  static TaskRecord Task(const std::string& id) {
    TaskRecord task;
    task.id = TaskId(id);
    task.signed_task = DigestOf("signed");
    task.package = DigestOf("package");
    return task;
  }
  static RoundRecord Round(int64_t round, RoundState state) {
    RoundRecord record;
    record.task = TaskId("t");
    record.round = RoundNumber(round);
    record.state = state;
    return record;
  }
  static AssignmentRecord Assignment(const std::string& id, int64_t round) {
    AssignmentRecord record;
    record.id = AssignmentId(id);
    record.task = TaskId("t");
    record.device = DeviceId("d");
    record.round = RoundNumber(round);
    return record;
  }

  TempDirectory directory_;
  std::unique_ptr<Database> database_;
};

TEST_F(RecordsTest, LedgerComesBackInOrderAndIsNeverRewritten) {
  const auto entry = [](int64_t sequence, const std::string& bytes) {
    return LedgerRecord{TaskId("t"), {sequence, bytes, DigestOf(bytes)}};
  };
  Write({.tasks = {Task("t")}, .ledger = {entry(2, "b"), entry(1, "a")}});
  // A commit that was reported as failed and is tried again.
  Write({.ledger = {entry(2, "b"), entry(7, "c")}});
  const StoredState state = Load();
  ASSERT_THAT(state.ledger, SizeIs(3));
  EXPECT_EQ(state.ledger[0].entry, entry(1, "a").entry);
  EXPECT_EQ(state.ledger[2].entry, entry(7, "c").entry);
  EXPECT_THAT(database_->InTransaction([&] {
    return WriteRecords(*database_, {.ledger = {entry(2, "other")}});
  }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("entry 2")));
  EXPECT_FALSE(database_->Execute("DELETE FROM ledger").ok());
  EXPECT_FALSE(database_->Execute("UPDATE ledger SET entry = hash").ok());
  EXPECT_EQ(Load().ledger.size(), 3u);
}

TEST_F(RecordsTest, ParticipationsOfRunningTasksComeBack) {
  TaskRecord ended = Task("ended");
  ended.state = TaskState::kCompleted;
  const ParticipationRecord never;
  const ParticipationRecord twice = {.participations = 2, .last_round = 5};
  Write({.tasks = {Task("t"), ended},
         .participations = {{TaskId("t"), DeviceId("a"), never},
                            {TaskId("t"), DeviceId("b"), twice},
                            {TaskId("ended"), DeviceId("a"), twice}}});
  const StoredState state = Load();
  ASSERT_THAT(state.participations, SizeIs(2));
  EXPECT_EQ(state.participations[0].record, never);
  EXPECT_EQ(state.participations[1].device, DeviceId("b"));
  EXPECT_EQ(state.participations[1].record, twice);
}

TEST_F(RecordsTest, NoiseStateAndClipNormStayWithTheirVersion) {
  VersionRecord version;
  version.task = TaskId("t");
  version.version = VersionNumber(3);
  version.noise_state = DigestOf("noise");
  version.clip_norm = 0.1;
  Write({.tasks = {Task("t")}, .versions = {version}});
  const StoredState state = Load();
  ASSERT_THAT(state.versions, SizeIs(1));
  EXPECT_EQ(state.versions[0].noise_state, DigestOf("noise"));
  EXPECT_EQ(state.versions[0].clip_norm, 0.1);
  const absl::StatusOr<std::set<Digest>> blobs = ReferencedBlobs(*database_);
  ASSERT_THAT(blobs, IsOk());
  EXPECT_TRUE(blobs->contains(DigestOf("noise")));
  EXPECT_TRUE(
      BlobsNamedBy({.versions = {version}}).contains(DigestOf("noise")));
}

TEST_F(RecordsTest, TaskComesBackWithEveryField) {
  TaskRecord task = Task("t");
  task.submitted_by = "alice";
  task.submitted_at = At(100) + absl::Nanoseconds(7);
  task.state = TaskState::kFailed;
  task.reason = "why\n'quoted'";
  task.round = RoundNumber(12);
  task.version = VersionNumber(11);
  task.bytes_received = ~uint64_t{0};
  task.bytes_sent = 6;
  task.ledger = {5, DigestOf("head")};
  task.lost_head = {9, DigestOf("lost")};
  Write({.tasks = {task}});
  const StoredState state = Load();
  ASSERT_THAT(state.tasks, SizeIs(1));
  const TaskRecord& read = state.tasks[0];
  EXPECT_EQ(read.id, task.id);
  EXPECT_EQ(read.signed_task, task.signed_task);
  EXPECT_EQ(read.package, task.package);
  EXPECT_EQ(read.submitted_by, task.submitted_by);
  EXPECT_EQ(read.submitted_at, task.submitted_at);
  EXPECT_EQ(read.state, task.state);
  EXPECT_EQ(read.reason, task.reason);
  EXPECT_EQ(read.round, task.round);
  EXPECT_EQ(read.version, task.version);
  EXPECT_EQ(read.bytes_received, task.bytes_received);
  EXPECT_EQ(read.bytes_sent, task.bytes_sent);
  EXPECT_EQ(read.ledger, task.ledger);
  EXPECT_EQ(read.lost_head, task.lost_head);
}

TEST_F(RecordsTest, VersionComesBackWithAndWithoutOptimizerState) {
  VersionRecord version;
  version.task = TaskId("t");
  version.version = VersionNumber(1);
  version.round = RoundNumber(2);
  version.parameters = DigestOf("parameters");
  version.parameters_size_in_bytes = 1 << 20;
  version.optimizer_state = DigestOf("moments");
  version.signed_statement = std::string("bytes\0more", 10);
  version.published_at = At(3);
  VersionRecord without = version;
  without.version = VersionNumber(2);
  without.optimizer_state.reset();
  Write({.versions = {version, without}});
  const StoredState state = Load();
  ASSERT_THAT(state.versions, SizeIs(2));
  EXPECT_EQ(state.versions[0].optimizer_state, version.optimizer_state);
  EXPECT_EQ(state.versions[0].signed_statement, version.signed_statement);
  EXPECT_EQ(state.versions[0].parameters, version.parameters);
  EXPECT_EQ(state.versions[0].published_at, version.published_at);
  EXPECT_EQ(state.versions[1].optimizer_state, std::nullopt);
}

TEST_F(RecordsTest, InfiniteTimesSurvive) {
  RoundRecord round = Round(1, RoundState::kRunning);
  round.started_at = absl::InfinitePast();
  round.deadline = absl::InfiniteFuture();
  Write({.rounds = {round}});
  const StoredState state = Load();
  ASSERT_THAT(state.rounds, SizeIs(1));
  EXPECT_EQ(state.rounds[0].started_at, absl::InfinitePast());
  EXPECT_EQ(state.rounds[0].deadline, absl::InfiniteFuture());
}

TEST_F(RecordsTest, RecordOfTheSameKeyIsReplaced) {
  AssignmentRecord assignment = Assignment("a", 1);
  Write({.tasks = {Task("t")},
         .assignments = {assignment},
         .rounds = {Round(1, RoundState::kRunning)}});
  assignment.state = AssignmentState::kAcknowledged;
  assignment.content = DigestOf("content");
  Write({.assignments = {assignment}});
  const StoredState state = Load();
  ASSERT_THAT(state.assignments, SizeIs(1));
  EXPECT_EQ(state.assignments[0].state, AssignmentState::kAcknowledged);
  EXPECT_EQ(state.assignments[0].content, DigestOf("content"));
}

TEST_F(RecordsTest, LoadsAssignmentsOfOpenRoundsAndOfTheLastFinishedOne) {
  Write({.tasks = {Task("t")},
         .assignments = {Assignment("old", 1), Assignment("last", 2),
                         Assignment("open", 3)},
         .rounds = {Round(1, RoundState::kCompleted),
                    Round(2, RoundState::kFailed),
                    Round(3, RoundState::kRunning)}});
  std::vector<std::string> ids;
  for (const AssignmentRecord& a : Load().assignments) {
    ids.push_back(a.id.value());
  }
  EXPECT_THAT(ids, ::testing::UnorderedElementsAre("last", "open"));
}

// With what others have answered: that is to count as well.
TEST_F(RecordsTest, LoadsEvaluationsOfOlderRoundsThatSomebodyWorksOn) {
  const auto evaluation = [](const std::string& id, int64_t round,
                             AssignmentState state) {
    AssignmentRecord record = Assignment(id, round);
    record.kind = AssignmentKind::kEvaluate;
    record.state = state;
    return record;
  };
  Write({.tasks = {Task("t")},
         .assignments = {Assignment("trained", 1),
                         evaluation("open", 1, AssignmentState::kIssued),
                         evaluation("done", 1, AssignmentState::kAcknowledged),
                         evaluation("failed", 1, AssignmentState::kFailed),
                         evaluation("past", 2, AssignmentState::kAcknowledged)},
         .rounds = {Round(1, RoundState::kCompleted),
                    Round(2, RoundState::kCompleted),
                    Round(3, RoundState::kCompleted)}});
  std::vector<std::string> ids;
  for (const AssignmentRecord& a : Load().assignments) {
    ids.push_back(a.id.value());
  }
  EXPECT_THAT(ids, ::testing::UnorderedElementsAre("open", "done", "failed"));
}

TEST_F(RecordsTest, LoadsNoAssignmentsOfTasksThatEnded) {
  TaskRecord task = Task("t");
  task.state = TaskState::kCompleted;
  Write({.tasks = {task},
         .assignments = {Assignment("a", 1)},
         .rounds = {Round(1, RoundState::kCompleted)}});
  EXPECT_THAT(Load().assignments, IsEmpty());
}

TEST_F(RecordsTest, FindsAnyAssignmentByItsId) {
  Write({.assignments = {Assignment("long-ago", 1)}});
  const auto found = LoadAssignment(*database_, AssignmentId("long-ago"));
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->device, DeviceId("d"));
  EXPECT_THAT(LoadAssignment(*database_, AssignmentId("never")),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(RecordsTest, FinishedRoundLosesItsCheckpoints) {
  CheckpointRecord checkpoint;
  checkpoint.task = TaskId("t");
  checkpoint.round = RoundNumber(1);
  checkpoint.slot = 1;
  checkpoint.sum = DigestOf("sum");
  checkpoint.folded = {AssignmentId("a"), AssignmentId("b")};
  Write({.rounds = {Round(1, RoundState::kRunning)},
         .checkpoints = {checkpoint}});
  StoredState state = Load();
  ASSERT_THAT(state.checkpoints, SizeIs(1));
  EXPECT_EQ(state.checkpoints[0].slot, 1);
  EXPECT_THAT(state.checkpoints[0].folded,
              ElementsAre(AssignmentId("a"), AssignmentId("b")));
  Write({.rounds = {Round(1, RoundState::kCompleted)}});
  EXPECT_THAT(Load().checkpoints, IsEmpty());
}

TEST_F(RecordsTest, DeviceComesBackWithItsCounts) {
  DeviceRecord device;
  device.id = DeviceId("d");
  device.role = "device";
  device.population = "default";
  device.software = "mledge-device 0.1.0";
  device.last_seen = At(4);
  device.assignments = {{TaskId("t"), 3}, {TaskId("u.2"), 1}};
  device.last_assigned = {{TaskId("t"), At(3)}};
  device.acknowledged = 3;
  device.failed = 1;
  Write({.devices = {device}});
  const StoredState state = Load();
  ASSERT_THAT(state.devices, SizeIs(1));
  EXPECT_EQ(state.devices[0].assignments, device.assignments);
  EXPECT_EQ(state.devices[0].last_assigned, device.last_assigned);
  EXPECT_EQ(state.devices[0].software, device.software);
  EXPECT_EQ(state.devices[0].acknowledged, 3);
  EXPECT_EQ(state.devices[0].failed, 1);
}

TEST_F(RecordsTest, EventsAreReadInOrderAfterASequence) {
  Transaction transaction;
  for (int64_t i : {3, 1, 2}) {
    transaction.events.push_back({TaskId("t"), i, StrCat("event ", i)});
  }
  transaction.events.push_back({TaskId("other"), 1, "other"});
  Write(transaction);
  EXPECT_EQ(Load().last_event_sequence[TaskId("t")], 3);
  const auto events = LoadEvents(*database_, TaskId("t"), 1);
  ASSERT_THAT(events, IsOk());
  ASSERT_THAT(*events, SizeIs(2));
  EXPECT_EQ((*events)[0].sequence, 2);
  EXPECT_EQ((*events)[1].event, "event 3");
}

TEST_F(RecordsTest, EveryBlobThatARecordNamesIsReferenced) {
  VersionRecord version;
  version.task = TaskId("t");
  version.parameters = DigestOf("parameters");
  version.optimizer_state = DigestOf("moments");
  CheckpointRecord checkpoint;
  checkpoint.task = TaskId("t");
  checkpoint.sum = DigestOf("sum");
  const Transaction transaction = {
      .tasks = {Task("t")}, .versions = {version}, .checkpoints = {checkpoint}};
  Write(transaction);
  const auto referenced = ReferencedBlobs(*database_);
  ASSERT_THAT(referenced, IsOk());
  EXPECT_THAT(*referenced, SizeIs(5));
  EXPECT_EQ(*referenced, BlobsNamedBy(transaction));
}

}  // namespace
}  // namespace mledge
