#include "mledge/coordinator/task_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "mledge/tests/coordinator/task_run_fixture.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST_F(TaskRunTest, StartsWhenEnoughDevicesWait) {
  Begin({.size = 2});
  Waits("a");
  EXPECT_FALSE(run_->Hungry(now_));
  Waits("b");
  EXPECT_TRUE(run_->Hungry(now_));
  effects_ = run_->TakeDevices(now_);
  EXPECT_FALSE(run_->Hungry(now_));
  EXPECT_THAT(effects_.issued, SizeIs(2));
  // Everything that was handed out is in the transaction that comes first.
  EXPECT_THAT(effects_.persist.assignments, SizeIs(2));
  EXPECT_THAT(effects_.persist.rounds, SizeIs(1));
  EXPECT_THAT(effects_.persist.tasks, SizeIs(1));
  EXPECT_THAT(effects_.persist.events, SizeIs(1));
  EXPECT_TRUE(effects_.events[0].has_round_started());
  EXPECT_EQ(run_->NextTime(), kStart + absl::Minutes(10));
}

TEST_F(TaskRunTest, MinimumWaitingHoldsTheRoundBack) {
  Begin({.size = 1, .minimum_waiting = 3});
  EXPECT_THAT(Take(2), IsEmpty());
  EXPECT_THAT(Take(3), SizeIs(1));
}

TEST_F(TaskRunTest, FoldsThenPublishesThenGoesOn) {
  Begin({.size = 2, .rounds = 2});
  const auto issued = Take(2);
  EXPECT_EQ(Arrives(issued[0]), UpdateOutcome::kAcknowledged);
  EXPECT_THAT(effects_.persist.assignments, SizeIs(1));
  EXPECT_FALSE(effects_.job.has_value());
  EXPECT_EQ(Arrives(issued[1]), UpdateOutcome::kAcknowledged);
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_THAT(std::get<FoldJob>(*effects_.job).updates, SizeIs(2));
  effects_ = run_->FoldDone(now_);
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_EQ(std::get<PublishJob>(*effects_.job).round, RoundNumber(1));
  EXPECT_THAT(effects_.discard, IsEmpty());  // not before the publication
  effects_ = run_->PublishDone(now_, Publication(1));
  // One transaction ends the round and names the version.
  EXPECT_THAT(effects_.persist.versions, SizeIs(1));
  EXPECT_EQ(effects_.persist.rounds.at(0).state, RoundState::kCompleted);
  EXPECT_EQ(effects_.persist.tasks.at(0).version, VersionNumber(1));
  EXPECT_THAT(effects_.discard, SizeIs(2));
  EXPECT_FALSE(run_->ended());
}

TEST_F(TaskRunTest, SpoolIsDiscardedOnlyAfterTheCheckpoint) {
  Begin({.size = 4});
  const auto issued = Take(4);
  Arrives(issued[0]);
  Arrives(issued[1]);
  ASSERT_TRUE(effects_.job.has_value());
  effects_ = run_->FoldDone(now_);
  EXPECT_THAT(effects_.discard, IsEmpty());
  ASSERT_TRUE(effects_.job.has_value());
  const CheckpointJob job = std::get<CheckpointJob>(*effects_.job);
  EXPECT_EQ(job.slot, 0);
  EXPECT_THAT(job.folded, SizeIs(2));
  effects_ = run_->CheckpointDone(now_, Digest());
  ASSERT_THAT(effects_.persist.checkpoints, SizeIs(1));
  EXPECT_EQ(effects_.persist.checkpoints[0].folded, job.folded);
  EXPECT_THAT(effects_.discard, SizeIs(2));
}

TEST_F(TaskRunTest, FailedJobRestsAndBeginsAgain) {
  Begin({.size = 2});
  const auto issued = Take(2);
  Arrives(issued[0]);
  Arrives(issued[1]);
  effects_ = run_->JobFailed(now_, absl::ResourceExhaustedError("full"),
                             TaskRun::JobFailure::kRetry);
  EXPECT_FALSE(effects_.job.has_value());
  EXPECT_EQ(run_->NextTime(), now_ + TaskRun::kRetryPause);
  now_ += TaskRun::kRetryPause;
  effects_ = run_->Tick(now_);
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_THAT(std::get<FoldJob>(*effects_.job).updates, SizeIs(2));
}

TEST_F(TaskRunTest, LostUpdateFailsTheRoundNotTheTask) {
  Begin({.size = 2});
  const auto issued = Take(2);
  Arrives(issued[0]);
  Arrives(issued[1]);
  effects_ = run_->JobFailed(now_, absl::DataLossError("gone"),
                             TaskRun::JobFailure::kRoundFails);
  EXPECT_EQ(effects_.persist.rounds.at(0).state, RoundState::kFailed);
  EXPECT_FALSE(run_->ended());
  Take(2);
  EXPECT_EQ(run_->record().round, RoundNumber(2));
}

TEST_F(TaskRunTest, JobOfARoundThatIsGoneIsForgotten) {
  Begin({.size = 1});
  const auto issued = Take(1);
  Arrives(issued[0]);
  EXPECT_TRUE(run_->job_under_way());
  effects_ = run_->Cancel(now_);
  EXPECT_TRUE(effects_.task_ended);
  EXPECT_THAT(effects_.discard, ElementsAre(issued[0].id));
  effects_ = run_->FoldDone(now_);
  EXPECT_FALSE(effects_.job.has_value());
  EXPECT_TRUE(effects_.persist.empty());
}

TEST_F(TaskRunTest, FailedDeviceIsReplacedButNotByItself) {
  Begin({.size = 1});
  const auto issued = Take(1);
  effects_ = run_->DeviceFails(now_, issued[0].id, "no data");
  ASSERT_THAT(effects_.ended, SizeIs(1));
  EXPECT_EQ(effects_.ended[0].state, AssignmentState::kFailed);
  EXPECT_EQ(run_->FailureOf(issued[0].id), "no data");
  EXPECT_THAT(Take(1), IsEmpty());
  EXPECT_THAT(Take(2), SizeIs(1));
}

TEST_F(TaskRunTest, EndsWithTheLastRoundWhenNothingIsEvaluated) {
  Begin({.size = 1, .rounds = 1});
  Arrives(Take(1)[0]);
  run_->FoldDone(now_);
  effects_ = run_->PublishDone(now_, Publication(1));
  EXPECT_TRUE(effects_.task_ended);
  EXPECT_EQ(effects_.persist.tasks.back().state, TaskState::kCompleted);
  EXPECT_TRUE(effects_.events.back().has_task_ended());
  EXPECT_EQ(run_->NextTime(), absl::InfiniteFuture());
  EXPECT_FALSE(run_->Hungry(now_));
}

TEST_F(TaskRunTest, SecureRoundsRunOneSessionUnderANewNumber) {
  TestTaskOptions options;
  options.size = 3;
  options.secure = true;
  Begin(options);
  const std::vector<AssignmentRecord> assigned = Take(3);
  ASSERT_THAT(assigned, SizeIs(3));
  for (int i = 0; i < 3; ++i) {
    TaskRun::Readiness readiness = run_->DeviceReady(now_, assigned[i].id);
    EXPECT_TRUE(readiness.waits);
    EXPECT_EQ(readiness.effects.job.has_value(), i == 2);
    effects_ = std::move(readiness.effects);
  }
  const auto* const session = std::get_if<SecureSessionJob>(&*effects_.job);
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->session_number, 1);
  EXPECT_THAT(session->members, SizeIs(3));
  // Before anybody hears of the number it is on disk.
  ASSERT_THAT(effects_.persist.tasks, SizeIs(1));
  EXPECT_EQ(effects_.persist.tasks[0].secure_session, 1);

  // It comes to nothing; after a pause there is another one.
  effects_ = run_->SecureSessionAborted(now_, {}, "the registrar is away");
  EXPECT_FALSE(effects_.job.has_value());
  const absl::Time again = now_ + TaskRun::kSessionPause;
  EXPECT_EQ(run_->NextTime(), again);
  now_ = again;
  effects_ = run_->Tick(now_);
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_EQ(std::get<SecureSessionJob>(*effects_.job).session_number, 2);

  const Digest sum = Sha256Of("sum");
  effects_ =
      run_->SecureSessionDone(now_,
                              {.counted = {{assigned[0].id, Sha256Of("0")},
                                           {assigned[2].id, Sha256Of("2")}},
                               .lost = {{assigned[1].id, "used up"}}},
                              sum);
  // Sum and acknowledgements are one transaction, and publication follows.
  ASSERT_THAT(effects_.persist.checkpoints, SizeIs(1));
  EXPECT_EQ(effects_.persist.checkpoints[0].sum, sum);
  EXPECT_THAT(effects_.persist.checkpoints[0].folded,
              UnorderedElementsAre(assigned[0].id, assigned[2].id));
  EXPECT_THAT(effects_.ended, SizeIs(3));
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_TRUE(std::holds_alternative<PublishJob>(*effects_.job));
  effects_ = run_->PublishDone(now_, Publication(1));
  EXPECT_EQ(run_->record().version, VersionNumber(1));
}

// A session may begin at the deadline and go on for a while.
TEST_F(TaskRunTest, MaskedInputsAreWantedAfterTheDeadline) {
  TestTaskOptions options;
  options.size = 4;
  options.minimum = 3;
  options.secure = true;
  Begin(options);
  const std::vector<AssignmentRecord> assigned = Take(4);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(run_->DeviceReady(now_, assigned[i].id).waits);
  }
  now_ = assigned[0].expires_at;
  effects_ = run_->Tick(now_);
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_TRUE(std::holds_alternative<SecureSessionJob>(*effects_.job));
  EXPECT_EQ(run_->Judge(now_, assigned[0].id, Sha256Of("masked")),
            std::nullopt);
}

TEST_F(TaskRunTest, SecureRoundsTakeNoUpdateInTheClear) {
  TestTaskOptions options;
  options.size = 3;
  options.secure = true;
  Begin(options);
  const std::vector<AssignmentRecord> assigned = Take(3);
  const Update update = MakeTestUpdate("x", true);
  EXPECT_THAT(run_->UpdateArrived(now_, assigned[0].id, Sha256Of("x"), 100,
                                  UpdateView::Of(update, MakeTestContext("x"))),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not taken in the clear")));
}

// Its round and the next one have ended: too late, not unknown.
TEST_F(TaskRunTest, WhatIsForgottenIsTooLate) {
  Begin({.size = 1});
  const AssignmentRecord open = Take(1).at(0);
  const AssignmentId id("forgotten");
  EXPECT_EQ(run_->Judge(now_, id, Sha256Of("x")), UpdateOutcome::kTooLate);
  const Update update = MakeTestUpdate("forgotten", true);
  const auto arrival =
      run_->UpdateArrived(now_, id, Sha256Of("x"), 100,
                          UpdateView::Of(update, MakeTestContext("forgotten")));
  ASSERT_THAT(arrival, IsOk());
  EXPECT_EQ(arrival->outcome, UpdateOutcome::kTooLate);
  EXPECT_FALSE(run_->DeviceReady(now_, id).waits);
  EXPECT_EQ(run_->Judge(now_, open.id, Sha256Of("x")), std::nullopt);
}

}  // namespace
}  // namespace mledge
