#include "mledge/coordinator/task_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "mledge/tests/coordinator/support/test_task.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);

// Drives a run one event at a time and keeps what it asked for last.
class TaskRunTest : public ::testing::Test {
 protected:
  void Begin(const TestTaskOptions& options) {
    TaskPlan plan = ResolveTask(MakeTestTask(options));
    plan.metric_name = "accuracy";
    plan.session.updates_per_fold = 2;
    plan.session.updates_per_checkpoint = 2;
    TaskRecord record;
    record.id = plan.task;
    run_ = std::make_unique<TaskRun>(plan, record);
  }
  void Waits(const std::string& device) {
    run_->DeviceWaits(now_, {.device = DeviceId(device)}, absl::InfinitePast());
  }
  // Devices "0" … "n-1" wait and are taken.
  std::vector<AssignmentRecord> Take(int devices) {
    for (int i = 0; i < devices; ++i) Waits(std::to_string(i));
    effects_ = run_->TakeDevices(now_);
    return effects_.issued;
  }
  UpdateOutcome Arrives(const AssignmentRecord& record) {
    const Update update = MakeTestUpdate(record.id.value(),
                                         record.kind == AssignmentKind::kTrain);
    auto arrival = run_->UpdateArrived(
        now_, record.id, Sha256Of(record.id.value()), 100,
        UpdateView::Of(update, MakeTestContext(record.id.value())));
    EXPECT_THAT(arrival, IsOk());
    effects_ = std::move(arrival->effects);
    return arrival->outcome;
  }
  TaskRun::Publication Publication(int64_t version) {
    TaskRun::Publication publication;
    publication.version.task = TaskId("task");
    publication.version.version = VersionNumber(version);
    publication.version.round = run_->record().round;
    publication.version.published_at = now_;
    return publication;
  }

  absl::Time now_ = kStart;
  std::unique_ptr<TaskRun> run_;
  Effects effects_;
};

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

// Two rounds of three devices, each version evaluated by three.
class SecureEvaluationTest : public TaskRunTest {
 protected:
  void SetUp() override {
    Begin({.size = 3,
           .minimum = 3,
           .rounds = 2,
           .evaluate_every = 1,
           .evaluation_devices = 4,
           .secure = true});
  }
  // Publishes the version of the round under way, whose devices are `assigned`.
  void Publish(const std::vector<AssignmentRecord>& assigned, int64_t version) {
    SecureSessionEnd end;
    for (const AssignmentRecord& record : assigned) {
      effects_ = run_->DeviceReady(now_, record.id).effects;
      end.counted[record.id] = Sha256Of(record.id.value());
    }
    ASSERT_TRUE(effects_.job.has_value());
    EXPECT_EQ(std::get<SecureSessionJob>(*effects_.job).kind,
              AssignmentKind::kTrain);
    run_->SecureSessionDone(now_, end, Sha256Of("sum"));
    effects_ = run_->PublishDone(now_, Publication(version));
  }
  // Of the devices that are drawn next.
  std::vector<AssignmentRecord> Evaluators(int devices) {
    std::vector<AssignmentRecord> evaluators;
    for (const AssignmentRecord& record : Take(devices)) {
      if (record.kind == AssignmentKind::kEvaluate) {
        evaluators.push_back(record);
      } else {
        trainers_.push_back(record);
      }
    }
    return evaluators;
  }
  static SecureSessionEnd Counted(
      const std::vector<AssignmentRecord>& evaluators) {
    SecureSessionEnd end;
    for (const AssignmentRecord& record : evaluators) {
      end.counted[record.id] = Sha256Of(record.id.value());
    }
    return end;
  }
  // As a session leaves it.
  static AggregationSum Sum(double examples, double loss, double metric) {
    const std::unique_ptr<Aggregator> sum = MakeEvaluationSum(4);
    Update update;
    update.weight = 1;
    update.scalars = {{std::string(kExamplesScalar), examples},
                      {std::string(kLossSumScalar), loss},
                      {std::string(kMetricSumScalar), metric}};
    const UpdateView view = UpdateView::Of(update, {});
    const UpdateView* const one = &view;
    EXPECT_THAT(sum->Fold(std::span(&one, 1)), IsOk());
    return sum->sum();
  }
  const v1::TaskEvent* Last(v1::TaskEvent::EventCase kind) const {
    for (const v1::TaskEvent& event : effects_.events) {
      if (event.event_case() == kind) return &event;
    }
    return nullptr;
  }

  std::vector<AssignmentRecord> trainers_;  // of round 2
};

TEST_F(SecureEvaluationTest, IsASessionOfItsOwnBesideTheRound) {
  Publish(Take(3), 1);
  const std::vector<AssignmentRecord> evaluators = Evaluators(7);
  ASSERT_THAT(evaluators, SizeIs(4));
  const Update update = MakeTestUpdate(evaluators[0].id.value(), false);
  EXPECT_THAT(
      run_->UpdateArrived(
          now_, evaluators[0].id, Sha256Of("x"), 100,
          UpdateView::Of(update, MakeTestContext(evaluators[0].id.value()))),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("not taken in the clear")));
  for (size_t i = 0; i < 4; ++i) {
    TaskRun::Readiness readiness = run_->DeviceReady(now_, evaluators[i].id);
    EXPECT_TRUE(readiness.waits);
    EXPECT_EQ(readiness.effects.job.has_value(), i == 3);
    effects_ = std::move(readiness.effects);
  }
  const auto job = std::get<SecureSessionJob>(*effects_.job);
  EXPECT_EQ(job.kind, AssignmentKind::kEvaluate);
  EXPECT_EQ(job.session_number, 2);  // one count for all sessions of a task
  EXPECT_EQ(job.base_version, VersionNumber(1));
  EXPECT_THAT(job.members, SizeIs(4));

  // The round is ready meanwhile, and waits for its turn.
  for (const AssignmentRecord& record : trainers_) {
    EXPECT_FALSE(run_->DeviceReady(now_, record.id).effects.job.has_value());
  }
  effects_ =
      run_->SecureEvaluationDone(now_, Counted(evaluators), Sum(100, 50, 25));
  EXPECT_EQ(run_->loss(), 0.5);
  EXPECT_EQ(run_->metric(), 0.25);
  // One transaction: what it says and that its devices are done.
  EXPECT_THAT(effects_.persist.events, SizeIs(1));
  EXPECT_THAT(effects_.persist.assignments, SizeIs(4));
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_EQ(std::get<SecureSessionJob>(*effects_.job).kind,
            AssignmentKind::kTrain);
  EXPECT_EQ(std::get<SecureSessionJob>(*effects_.job).session_number, 3);
}

TEST_F(SecureEvaluationTest, IsSkippedCountedAndShownWhenTooFewAreReady) {
  Publish(Take(3), 1);
  const std::vector<AssignmentRecord> evaluators = Evaluators(7);
  for (size_t i = 0; i < 2; ++i) run_->DeviceReady(now_, evaluators[i].id);
  now_ = evaluators[0].expires_at;
  effects_ = run_->Tick(now_);
  const v1::TaskEvent* const skipped = Last(v1::TaskEvent::kEvaluationSkipped);
  ASSERT_NE(skipped, nullptr);
  EXPECT_EQ(skipped->evaluation_skipped().version(), 1);
  EXPECT_THAT(skipped->evaluation_skipped().reason(),
              HasSubstr("2 devices ready for secure aggregation of at least "
                        "3"));
  EXPECT_EQ(run_->skipped_evaluations(), 1);
  EXPECT_FALSE(run_->loss().has_value());
  EXPECT_FALSE(run_->DeviceReady(now_, evaluators[0].id).waits);
}

TEST_F(SecureEvaluationTest, RunsAtTheDeadlineWithTheMinimum) {
  Publish(Take(3), 1);
  const std::vector<AssignmentRecord> evaluators = Evaluators(7);
  for (size_t i = 0; i < 3; ++i) run_->DeviceReady(now_, evaluators[i].id);
  now_ = evaluators[0].expires_at;
  effects_ = run_->Tick(now_);
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_THAT(std::get<SecureSessionJob>(*effects_.job).members, SizeIs(3));
  // Its time is up, so nothing wakes the task for it any more.
  EXPECT_GT(run_->NextTime(), now_);
  EXPECT_EQ(run_->Judge(now_, evaluators[0].id, Sha256Of("masked")),
            std::nullopt);
}

TEST_F(SecureEvaluationTest, ASessionThatComesToNothingIsTriedAgainInTime) {
  Publish(Take(3), 1);
  const std::vector<AssignmentRecord> evaluators = Evaluators(7);
  for (const AssignmentRecord& record : evaluators) {
    effects_ = run_->DeviceReady(now_, record.id).effects;
  }
  ASSERT_TRUE(effects_.job.has_value());
  effects_ = run_->SecureSessionAborted(
      now_, {.lost = {{evaluators[0].id, "left"}}}, "too few were left");
  EXPECT_FALSE(effects_.job.has_value());
  EXPECT_EQ(run_->skipped_evaluations(), 0);
  now_ = evaluators[0].expires_at;
  effects_ = run_->Tick(now_);
  ASSERT_TRUE(effects_.job.has_value());
  EXPECT_THAT(std::get<SecureSessionJob>(*effects_.job).members, SizeIs(3));
  // After its deadline there is no third try.
  effects_ = run_->SecureSessionAborted(now_, {}, "the registrar is away");
  EXPECT_EQ(run_->skipped_evaluations(), 1);
  ASSERT_NE(Last(v1::TaskEvent::kEvaluationSkipped), nullptr);
  EXPECT_THAT(
      Last(v1::TaskEvent::kEvaluationSkipped)->evaluation_skipped().reason(),
      HasSubstr("the registrar is away"));
}

// The registrar's log of versions does not go back.
TEST_F(SecureEvaluationTest, OlderVersionsGoBeforeTheRound) {
  Begin({.size = 3,
         .minimum = 3,
         .rounds = 3,
         .evaluate_every = 1,
         .evaluation_devices = 3,
         .secure = true});
  Publish(Take(3), 1);
  const std::vector<AssignmentRecord> first = Evaluators(6);
  ASSERT_THAT(first, SizeIs(3));
  Publish(std::exchange(trainers_, {}), 2);
  const std::vector<AssignmentRecord> second = Evaluators(9);
  ASSERT_THAT(second, SizeIs(3));
  // While the second version's evaluation runs, the first version's and the
  // round come due.
  for (const AssignmentRecord& record : second) {
    effects_ = run_->DeviceReady(now_, record.id).effects;
  }
  ASSERT_TRUE(effects_.job.has_value());
  for (const AssignmentRecord& record : trainers_) {
    run_->DeviceReady(now_, record.id);
  }
  for (const AssignmentRecord& record : first) {
    run_->DeviceReady(now_, record.id);
  }
  effects_ = run_->SecureEvaluationDone(now_, Counted(second), Sum(4, 2, 2));
  ASSERT_TRUE(effects_.job.has_value());
  const auto job = std::get<SecureSessionJob>(*effects_.job);
  EXPECT_EQ(job.kind, AssignmentKind::kEvaluate);
  EXPECT_EQ(job.base_version, VersionNumber(1));
}

TEST_F(SecureEvaluationTest, ReportOfAMemberDoesNotUndoTheSession) {
  Publish(Take(3), 1);
  const std::vector<AssignmentRecord> evaluators = Evaluators(7);
  for (const AssignmentRecord& record : evaluators) {
    run_->DeviceReady(now_, record.id);
  }
  effects_ = run_->DeviceFails(now_, evaluators[0].id, "went away");
  EXPECT_THAT(effects_.ended, IsEmpty());
  effects_ =
      run_->SecureEvaluationDone(now_, Counted(evaluators), Sum(10, 5, 5));
  EXPECT_THAT(effects_.ended, SizeIs(4));
  EXPECT_EQ(run_->metric(), 0.5);
}

// Private tasks with secure aggregation.

class PrivateSecureRunTest : public TaskRunTest {
 protected:
  void BeginPrivate(bool charged_with_version) {
    TaskPlan plan = ResolveTask(MakeTestTask({.size = 2, .secure = true}));
    PrivacyPlan privacy;
    privacy.schedule.set_task_sha256(Sha256Of("task").ToBytes());
    privacy.schedule.set_rounds(2);
    privacy.schedule.set_participations(1);
    privacy.schedule.set_separation(1);
    privacy.schedule.set_delta(1e-6);
    privacy.schedule.set_adjacency(v1::ADJACENCY_ZERO_OUT);
    privacy.schedule.mutable_event()->mutable_gaussian()->set_noise_multiplier(
        1);
    privacy.schedule.mutable_event()->mutable_gaussian()->set_origin(
        v1::NOISE_ORIGIN_DEVICE);
    *privacy.schedule.mutable_participation() = privacy.schedule.event();
    privacy.charged_with_version = charged_with_version;
    privacy.participations_within_budget = 1;
    plan.privacy = privacy;
    TaskRecord record;
    record.id = plan.task;
    Transaction transaction;
    run_ = std::make_unique<TaskRun>(
        plan, record,
        TaskPrivacy::Create(now_, privacy, Ledger(Sha256Of("task")),
                            std::nullopt, plan.task, &transaction)
            .value());
    for (const AssignmentRecord& assignment : Take(2)) {
      devices_[assignment.id] = assignment.device;
      effects_ = run_->DeviceReady(now_, assignment.id).effects;
    }
    ASSERT_TRUE(effects_.job.has_value());
    job_ = std::get<SecureSessionJob>(*effects_.job);
  }
  std::vector<AssignmentId> Members() const {
    std::vector<AssignmentId> members;
    for (const auto& [id, device] : job_.members) members.push_back(id);
    return members;
  }
  std::map<AssignmentId, DeviceId> devices_;
  SecureSessionJob job_;
};

TEST_F(PrivateSecureRunTest, NoiseInTheSumIsChargedBeforeItIsUnmasked) {
  BeginPrivate(/*charged_with_version=*/false);
  absl::StatusOr<Effects> due = run_->UnmaskingIsDue(now_, job_, 1, Members());
  ASSERT_THAT(due, IsOk());
  ASSERT_THAT(due->persist.ledger, SizeIs(1));
  v1::LedgerEntry entry;
  ASSERT_TRUE(entry.ParseFromString(due->persist.ledger[0].entry.entry));
  EXPECT_EQ(entry.charge().secure_session(), 1u);
  EXPECT_EQ(entry.charge().group(), 1u);
  EXPECT_EQ(entry.charge().devices(), 2);
  EXPECT_THAT(due->persist.participations, SizeIs(2));
  EXPECT_EQ(due->persist.tasks.back().ledger, run_->privacy()->ledger().head());
  // It stands if the session then fails: the devices are used up.
  SecureSessionEnd end;
  for (const AssignmentId& id : Members()) end.lost[id] = "unmasking failed";
  run_->SecureSessionAborted(now_, end, "too few shares");
  EXPECT_EQ(run_->privacy()->ledger().entries().size(), 2u);
  EXPECT_EQ(run_->privacy()->used_up(), 2);
  for (const auto& [id, device] : devices_) {
    EXPECT_FALSE(run_->MayEverTrain(device));
  }
}

TEST_F(PrivateSecureRunTest, CentralNoiseOnlyCountsTheDevicesThen) {
  BeginPrivate(/*charged_with_version=*/true);
  absl::StatusOr<Effects> due = run_->UnmaskingIsDue(now_, job_, 0, Members());
  ASSERT_THAT(due, IsOk());
  EXPECT_THAT(due->persist.ledger, IsEmpty());
  EXPECT_THAT(due->persist.participations, SizeIs(2));
}

TEST_F(PrivateSecureRunTest, SumIsNotUnmaskedOnceTheLedgerIsBehind) {
  BeginPrivate(/*charged_with_version=*/false);
  run_->LedgerIsBehind(now_, {9, Sha256Of("newer")});
  EXPECT_THAT(run_->UnmaskingIsDue(now_, job_, 0, Members()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(run_->privacy()->ledger().entries().size(), 1u);
  EXPECT_TRUE(run_->paused());
}

}  // namespace
}  // namespace mledge
