#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <utility>

#include "mledge/tests/client/device_session_fixture.h"
#include "mledge/tests/support/status_matchers.h"

// The device's own guard of differential privacy.

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class DeviceSessionPrivacyTest : public DeviceSessionFixture {
 protected:
  void SetUp() override {
    world_.MakePrivate();
    options_ = world_.MakeSessionOptions();
    Restart();
  }

  // A new session with what is on the disk.
  void Restart() {
    MakeSession(options_);
    auto ledger = PrivacyLedger::Restore(disk_);
    ASSERT_THAT(ledger, IsOk());
    session_->RestorePrivacy(*std::move(ledger));
  }

  Digest TaskSha256() {
    v1::Task complete = world_.task;
    EXPECT_THAT(ValidateTask(&complete), IsOk());
    return Sha256Of(complete.SerializeAsString());
  }

  // Of the version that `step` rounds have led to.
  v1::Assignment AssignmentAt(int64_t step, int64_t entries, int64_t known) {
    v1::Assignment assignment = world_.MakeAssignment(step + 1);
    *assignment.mutable_version_statement() =
        world_.SignVersion(world_.Statement(assignment, step));
    *assignment.mutable_ledger() =
        world_.ShowLedger(TaskSha256(), entries, known);
    return assignment;
  }

  // Trains it to the end; what is to be remembered is on the disk then.
  void TakePart(const v1::Assignment& assignment) {
    Restart();
    const Effects effects = Trained(Work(assignment));
    const Persist persist = Only<Persist>(effects);
    ASSERT_TRUE(persist.charge.has_value());
    disk_[persist.charge->task] = persist.charge->record;
  }

  DeviceSession::Options options_;
  std::map<Digest, std::string> disk_;
};

TEST_F(DeviceSessionPrivacyTest, ChargesBeforeTheUpdateIsStored) {
  const Effects trained = Trained(Work(world_.MakeAssignment()));
  const Persist persist = Only<Persist>(trained);
  ASSERT_TRUE(persist.charge.has_value());
  EXPECT_EQ(persist.charge->task, TaskSha256());
  EXPECT_FALSE(Has<Upload>(trained)) << "nothing leaves that is not charged";
  const auto ledger =
      PrivacyLedger::Restore({{persist.charge->task, persist.charge->record}});
  ASSERT_THAT(ledger, IsOk());
  EXPECT_EQ(ledger->participations(TaskSha256()), 1);
}

TEST_F(DeviceSessionPrivacyTest, TrainsOnTheTasksGrid) {
  const Effects effects = Work(world_.MakeAssignment());
  const auto job = Only<StartTraining>(effects).job;
  ASSERT_NE(job->pipeline.privacy, nullptr);
  EXPECT_EQ(job->pipeline.privacy->mechanism, v1::Privacy::CENTRAL);
  EXPECT_EQ(job->pipeline.clip_norm, 0.5);
  EXPECT_EQ(job->pipeline.value_bound, job->pipeline.privacy->value_bound);
}

TEST_F(DeviceSessionPrivacyTest, RefusesToTakePartTooSoonOrTooOften) {
  TakePart(AssignmentAt(0, 1, 0));
  Restart();
  EXPECT_THAT(Refusal(AssignmentAt(2, 3, 1)), HasSubstr("own ledger"));
  TakePart(AssignmentAt(3, 4, 1));
  Restart();
  EXPECT_THAT(Refusal(AssignmentAt(9, 10, 4)), HasSubstr("own ledger"));
}

// A second update of an assignment would carry other noise: two show more than
// one, whatever the coordinator calls it.
TEST_F(DeviceSessionPrivacyTest, AnAssignmentIsNotTakenOnAgain) {
  const v1::Assignment assignment = AssignmentAt(0, 1, 0);
  TakePart(assignment);
  v1::Assignment again = assignment;
  *again.mutable_ledger() = world_.ShowLedger(TaskSha256(), 1, 1);
  Restart();
  EXPECT_THAT(Refusal(again), HasSubstr("own ledger"));
}

// No device can see whether a coordinator's coins are coins.
TEST_F(DeviceSessionPrivacyTest, RefusesAPoissonSample) {
  v1::Cohort& cohort = *world_.task.mutable_cohort();
  cohort.Clear();
  cohort.set_selection(v1::Cohort::POISSON);
  cohort.set_size(100);
  world_.task.mutable_secure_aggregation()->set_mode(
      v1::SecureAggregation::OFF);
  world_.task.mutable_privacy()->clear_participations();
  world_.task.mutable_privacy()->clear_separation();
  Restart();
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              HasSubstr("cohort.selection is poisson"));
}

TEST_F(DeviceSessionPrivacyTest, EvaluatesNoPrivateTask) {
  EXPECT_THAT(Refusal(world_.MakeAssignment(1, v1::Assignment::EVALUATE)),
              HasSubstr("has no noise"));
  world_.task.clear_privacy();
  options_.privacy.require = Observer::kModelRecipients;
  Restart();
  EXPECT_THAT(Refusal(world_.MakeAssignment(1, v1::Assignment::EVALUATE)),
              HasSubstr("the task has no differential privacy"));
}

TEST_F(DeviceSessionPrivacyTest, ReportsNoNumberOfAFailure) {
  const Effects effects =
      Trained(Work(world_.MakeAssignment()),
              absl::InvalidArgumentError("value 17 of section 'delta' is nan"));
  EXPECT_THAT(Only<SendReport>(effects).request.reason(),
              HasSubstr("the device's own log says why"));
}

TEST_F(DeviceSessionPrivacyTest, ShowsTheNewestHeadAtCheckIn) {
  EXPECT_THAT(Only<SendCheckIn>(Start()).request.ledger_heads(), IsEmpty());
  TakePart(AssignmentAt(0, 4, 0));
  Restart();
  const auto heads = Only<SendCheckIn>(Start()).request.ledger_heads();
  ASSERT_THAT(heads, SizeIs(1));
  v1::LedgerHead head;
  ASSERT_TRUE(head.ParseFromString(heads[0].payload()));
  EXPECT_EQ(head.sequence(), 4);
  EXPECT_EQ(head.task_sha256(), TaskSha256().ToBytes());
}

TEST_F(DeviceSessionPrivacyTest, RefusesALedgerThatHasGoneBack) {
  TakePart(AssignmentAt(0, 4, 0));
  Restart();
  EXPECT_THAT(Refusal(AssignmentAt(5, 3, 0)), HasSubstr("gone back"));
  // Or that was rewritten, or says less than it should.
  Restart();
  v1::Assignment forked = AssignmentAt(5, 6, 4);
  *forked.mutable_ledger() =
      world_.ShowLedger(TaskSha256(), 6, 4, "another line");
  EXPECT_THAT(Refusal(forked), HasSubstr("mledge privacy adopt"));
  Restart();
  EXPECT_THAT(Refusal(AssignmentAt(5, 6, 5)), HasSubstr("gone back"));
  Restart();
  EXPECT_TRUE(Has<StartTraining>(Work(AssignmentAt(5, 6, 4))));
}

TEST_F(DeviceSessionPrivacyTest, GoesOnWithALedgerThatAnOperatorAdopted) {
  TakePart(AssignmentAt(0, 4, 0));
  // Restored from a copy with two entries; the adoption is its fifth.
  const Digest task = TaskSha256();
  const auto head_after = [&](int64_t entries) {
    v1::LedgerHead head;
    EXPECT_TRUE(head.ParseFromString(
        world_.ShowLedger(task, entries, 0).head().payload()));
    return head;
  };
  v1::LedgerAdoptionStatement statement;
  statement.set_task_sha256(task.ToBytes());
  statement.set_own_sequence(2);
  statement.set_own_hash(head_after(2).hash());
  statement.set_lost_sequence(4);
  statement.set_lost_hash(head_after(4).hash());
  LedgerHead head = {.sequence = 2,
                     .hash = *Digest::FromBytes(head_after(2).hash())};
  const Digest entry = Sha256Of("adoption");
  head = ExtendLedger(head, 5, entry);
  v1::LedgerHead message;
  message.set_task_sha256(task.ToBytes());
  message.set_sequence(5);
  message.set_hash(head.hash.ToBytes());

  v1::Assignment assignment = AssignmentAt(5, 4, 4);
  v1::AssignmentLedger& shown = *assignment.mutable_ledger();
  *shown.mutable_head() = world_.coordinator_signer.Sign(
      kLedgerHeadContext, message.SerializeAsString());
  shown.add_links()->set_sequence(5);
  shown.mutable_links(0)->set_entry_sha256(entry.ToBytes());
  const v1::Assignment without = assignment;
  *shown.mutable_adoption() = world_.operator_signer.Sign(
      kLedgerAdoptionContext, statement.SerializeAsString());

  Restart();
  EXPECT_TRUE(Has<StartTraining>(Work(assignment)));
  Restart();
  EXPECT_THAT(Refusal(without), HasSubstr("gone back"));
  // Nobody but an operator can say so.
  *shown.mutable_adoption() = world_.coordinator_signer.Sign(
      kLedgerAdoptionContext, statement.SerializeAsString());
  Restart();
  EXPECT_THAT(Refusal(assignment), HasSubstr("adoption of the privacy ledger"));
}

TEST_F(DeviceSessionPrivacyTest, RefusesALedgerThatIsNotTheCoordinators) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.clear_ledger();
  EXPECT_THAT(Refusal(assignment), HasSubstr("shows no privacy ledger"));
  Restart();
  assignment = world_.MakeAssignment();
  assignment.mutable_ledger()->mutable_head()->set_payload("x");
  EXPECT_THAT(Refusal(assignment), HasSubstr("head of the privacy ledger"));
  Restart();
  *assignment.mutable_ledger() =
      world_.ShowLedger(Sha256Of("another task"), 1, 0);
  EXPECT_THAT(Refusal(assignment), HasSubstr("another task"));
}

TEST_F(DeviceSessionPrivacyTest, RefusesWhatItsOwnerDoesNotAllow) {
  options_.privacy.epsilon_limit = 1.9;
  Restart();
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              HasSubstr("this device allows 1.9"));
  options_.privacy.epsilon_limit = 10;
  options_.privacy.delta_limit = 1e-7;
  Restart();
  EXPECT_THAT(Refusal(world_.MakeAssignment()), HasSubstr("delta is 1e-06"));
  options_.privacy.delta_limit = 1e-5;
  options_.privacy.require = Observer::kCoordinator;
  Restart();
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              HasSubstr("epsilon inf at delta 1e-06 of this device against the "
                        "coordinator"));
}

TEST_F(DeviceSessionPrivacyTest, LayersAreClippedToNoOtherTotal) {
  world_.task.mutable_local_training()->clear_clip_norm();
  v1::LayerClipNorm& layer =
      *world_.task.mutable_privacy()->add_layer_clip_norms();
  layer.set_layer(world_.package.layout->entries()[0].name);
  layer.set_clip_norm(0.5);
  v1::Assignment assignment = world_.MakeAssignment();
  for (const double bad : {0.0, 0.4, 0.6}) {
    assignment.set_clip_norm(bad);
    EXPECT_THAT(Refusal(assignment), HasSubstr("clip_norm is")) << bad;
    Restart();
  }
  assignment.set_clip_norm(0.5);
  TakePart(assignment);
}

TEST_F(DeviceSessionPrivacyTest, ALowerNoiseIsAnotherTaskAndCostsMore) {
  // Ten times less noise than what the owner's limit leaves room for.
  world_.task.mutable_privacy()->set_noise_multiplier(0.3);
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              HasSubstr("this device allows 10"));
}

TEST_F(DeviceSessionPrivacyTest, RefusesTasksWithoutPrivacyWhereItIsDemanded) {
  world_.task.clear_privacy();
  Restart();
  EXPECT_TRUE(Has<StartTraining>(Work(world_.MakeAssignment())));
  options_.privacy.require = Observer::kModelRecipients;
  Restart();
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              HasSubstr("the task has no differential privacy"));
}

TEST_F(DeviceSessionPrivacyTest, AdaptiveClipNormsStayWithinTheTasksRange) {
  v1::AdaptiveClipping& clipping =
      *world_.task.mutable_privacy()->mutable_adaptive_clipping();
  clipping.set_largest_change(4);
  clipping.set_count_noise(20);
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_clip_norm(2);
  EXPECT_TRUE(Has<StartTraining>(Work(assignment)));
  for (const double outside : {2.1, 0.12, 0.0}) {
    Restart();
    assignment.set_clip_norm(outside);
    EXPECT_THAT(Refusal(assignment), HasSubstr("clip_norm")) << outside;
  }
}

TEST(PrivacyLedgerTest, RefusesRecordsThatItCannotRead) {
  const Digest task = Sha256Of("task");
  EXPECT_THAT(PrivacyLedger::Restore({{task, "\xff"}}),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("must not be forgotten")));
  // A field of a newer version.
  EXPECT_THAT(PrivacyLedger::Restore({{task, "\x7a\x01x"}}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("newer")));
  v1::DevicePrivacyRecord record;
  record.set_participations(-1);
  EXPECT_THAT(PrivacyLedger::Restore({{task, record.SerializeAsString()}}),
              StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace mledge
