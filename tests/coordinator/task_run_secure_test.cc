// Runs of tasks with secure aggregation: sessions of rounds and of evaluations,
// and what noise in their sums is charged.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mledge/tests/coordinator/task_run_fixture.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

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
