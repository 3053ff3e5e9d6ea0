#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mledge/client/device_session.h"
#include "mledge/tests/client/device_session_fixture.h"
#include "mledge/tests/client/session_world.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"

// A session whose task has secure aggregation: what it asks of its driver, and
// what it refuses before anything is trained.

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Kind = SecureOutcome::Kind;
using Phase = DeviceSession::Phase;

class DeviceSessionSecureTest : public DeviceSessionFixture {
 protected:
  void SetUp() override {
    world_.MakeSecure(20);
    MakeSession(SecureOptions());
  }

  DeviceSession::Options SecureOptions() {
    DeviceSession::Options options = world_.MakeSessionOptions();
    options.policy.secure.emplace();
    return options;
  }
  Effects Aggregated(const Effects& effects,
                     absl::StatusOr<SecureOutcome> outcome) {
    return session_->OnAggregated(
        world_.now, Only<AggregateSecurely>(effects).call, outcome);
  }
  std::string RefusalWith(void (*bend)(v1::Assignment&)) {
    MakeSession(SecureOptions());
    v1::Assignment assignment = world_.MakeAssignment();
    bend(assignment);
    return Refusal(assignment);
  }
};

TEST_F(DeviceSessionSecureTest, AggregatesInsteadOfUploading) {
  const v1::Assignment assignment = world_.MakeAssignment();
  Effects effects = Work(assignment);
  const TrainingJob& job = *Only<StartTraining>(effects).job;
  EXPECT_EQ(job.pipeline.value_bound, 0) << "values are clipped, not refused";
  EXPECT_EQ(job.pipeline.weight_bound, 8192);
  effects = Trained(effects);
  EXPECT_FALSE(Has<AggregateSecurely>(effects)) << "it is not persisted yet";
  effects = Persisted(effects);
  EXPECT_FALSE(Has<Upload>(effects)) << "the update leaves in the clear";
  const AggregateSecurely aggregate = Only<AggregateSecurely>(effects);
  EXPECT_THAT(aggregate.assignment, EqualsProto(assignment));
  EXPECT_EQ(aggregate.update, kUpdate);
  EXPECT_EQ(session_->phase(), Phase::kAggregating);
  effects = Aggregated(effects, SecureOutcome{Kind::kCounted, ""});
  EXPECT_TRUE(Has<Forget>(effects));
  EXPECT_TRUE(Has<SendCheckIn>(effects));
  EXPECT_EQ(session_->counters().acknowledged, 1);
}

TEST_F(DeviceSessionSecureTest, WaitsAsLongAsItTakes) {
  EXPECT_TRUE(Has<AggregateSecurely>(UntilUpload(world_.MakeAssignment())));
  EXPECT_TRUE(Wake(absl::Hours(48)).empty());
  EXPECT_EQ(session_->phase(), Phase::kAggregating);
}

TEST_F(DeviceSessionSecureTest, TooLateIsNoFailure) {
  const Effects effects =
      Aggregated(UntilUpload(world_.MakeAssignment()),
                 SecureOutcome{Kind::kTooLate, "the round is over"});
  EXPECT_TRUE(Has<SendCheckIn>(effects));
  EXPECT_EQ(session_->counters().too_late, 1);
}

TEST_F(DeviceSessionSecureTest, RefusedUpdateIsForgottenAfterAPause) {
  const Effects effects =
      Aggregated(UntilUpload(world_.MakeAssignment()),
                 SecureOutcome{Kind::kRefused, "it is not wanted"});
  EXPECT_TRUE(Has<Forget>(effects));
  EXPECT_FALSE(Has<SendCheckIn>(effects));
  EXPECT_THAT(Only<Notice>(effects).text, HasSubstr("it is not wanted"));
  EXPECT_EQ(session_->counters().refused, 1);
}

TEST_F(DeviceSessionSecureTest, LostUpdateIsCountedReportedAndForgotten) {
  Effects effects = Aggregated(UntilUpload(world_.MakeAssignment()),
                               SecureOutcome{Kind::kLost, "there is no sum"});
  EXPECT_EQ(session_->counters().lost, 1);
  EXPECT_EQ(session_->counters().failed, 0);
  EXPECT_THAT(Only<Notice>(effects).text,
              AllOf(HasSubstr("lost"), HasSubstr("there is no sum")));
  const SendReport report = Only<SendReport>(effects);
  EXPECT_THAT(report.request.reason(), HasSubstr("is lost: there is no sum"));
  effects = session_->OnReportAnswer(world_.now, report.call, absl::OkStatus());
  EXPECT_TRUE(Has<Forget>(effects));
}

TEST_F(DeviceSessionSecureTest, TransientFailureIsTriedAgainWithTheSameUpdate) {
  Effects effects = UntilUpload(world_.MakeAssignment());
  const CallId first = Only<AggregateSecurely>(effects).call;
  effects = Aggregated(effects, absl::UnavailableError("the disk is busy"));
  EXPECT_FALSE(Has<Forget>(effects));
  effects = WakeWhenAsked(effects);
  EXPECT_EQ(Only<AggregateSecurely>(effects).update, kUpdate);
  EXPECT_NE(Only<AggregateSecurely>(effects).call, first);
}

TEST_F(DeviceSessionSecureTest, SessionsThatItRefusesAreReported) {
  const Effects effects =
      Aggregated(UntilUpload(world_.MakeAssignment()),
                 absl::FailedPreconditionError("offer: is too small"));
  EXPECT_EQ(session_->counters().refused, 1);
  EXPECT_THAT(Only<SendReport>(effects).request.reason(),
              HasSubstr("refused secure aggregation: offer: is too small"));
}

TEST_F(DeviceSessionSecureTest, UnaskedAndRepeatedAnswersDoNoHarm) {
  EXPECT_TRUE(
      session_
          ->OnAggregated(world_.now, CallId(1), SecureOutcome{Kind::kLost, ""})
          .empty());
  const Effects effects = UntilUpload(world_.MakeAssignment());
  const CallId call = Only<AggregateSecurely>(effects).call;
  Aggregated(effects, SecureOutcome{Kind::kCounted, ""});
  EXPECT_TRUE(
      session_->OnAggregated(world_.now, call, SecureOutcome{Kind::kLost, ""})
          .empty());
  EXPECT_EQ(session_->counters().acknowledged, 1);
  EXPECT_EQ(session_->counters().lost, 0);
}

TEST_F(DeviceSessionSecureTest, RestoredUpdateGoesOnToItsSum) {
  session_->Restore({world_.MakeAssignment(), kUpdate});
  EXPECT_EQ(Only<AggregateSecurely>(Start()).update, kUpdate);
}

TEST_F(DeviceSessionSecureTest, CoordinatorCannotLeaveItOut) {
  EXPECT_THAT(RefusalWith([](v1::Assignment& a) { a.clear_secure(); }),
              HasSubstr("leaves out secure aggregation"));
}

TEST_F(DeviceSessionSecureTest, CoordinatorCannotAddIt) {
  v1::Assignment assignment = world_.MakeAssignment();
  const v1::SecureAssignment secure = assignment.secure();
  world_.task.mutable_secure_aggregation()->set_mode(
      v1::SecureAggregation::OFF);
  assignment = world_.MakeAssignment();
  *assignment.mutable_secure() = secure;
  EXPECT_THAT(Refusal(assignment), HasSubstr("the operator signed does not"));
}

TEST_F(DeviceSessionSecureTest, EveryNumberFollowsFromTheSignedTask) {
  using A = v1::Assignment;
  const struct {
    void (*bend)(A&);
    const char* part;
  } cases[] = {
      {[](A& a) { a.mutable_secure()->set_task_sha256(std::string(32, 'x')); },
       "secure.task_sha256"},
      {[](A& a) { a.mutable_secure()->set_task_sha256("x"); },
       "secure.task_sha256"},
      {[](A& a) { a.mutable_secure()->set_value_bound(64); },
       "secure.value_bound is 64"},
      {[](A& a) { a.mutable_secure()->set_weight_bound(1); },
       "secure.weight_bound is 1"},
      {[](A& a) { a.mutable_secure()->set_uniform_weight(true); },
       "secure.uniform_weight is"},
      {[](A& a) { a.mutable_secure()->set_maximum_updates(21); },
       "secure.maximum_updates is 21"},
      {[](A& a) { a.mutable_secure()->set_value_bits(7); },
       "secure.value_bits is 7"},
      {[](A& a) { a.mutable_secure()->set_semi_honest(true); },
       "secure.semi_honest is"},
      {[](A& a) { a.mutable_secure()->set_shared_size(9999); },
       "secure.shared_size is 9999"},
      {[](A& a) { a.mutable_secure()->set_shared_size(0); }, "secure"},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.part);
    EXPECT_THAT(RefusalWith(bad.bend), HasSubstr(bad.part));
  }
}

TEST_F(DeviceSessionSecureTest, BoundsThatLeaveNoRoomAreRefused) {
  world_.task.mutable_aggregation()->set_weight_bound(1 << 30);
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              HasSubstr("Lower aggregation.weight_bound"));
}

TEST_F(DeviceSessionSecureTest, DeviceWithoutRegistrarSaysWhatToConfigure) {
  MakeSession(world_.MakeSessionOptions());
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              HasSubstr("`registrar: {witness_key"));
}

TEST_F(DeviceSessionSecureTest, SemiHonestTaskNeedsTheDevicesConsent) {
  world_.task.mutable_secure_aggregation()->set_threat_model(
      v1::SecureAggregation::SEMI_HONEST);
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              HasSubstr("allow_semi_honest: true"));
  DeviceSession::Options options = SecureOptions();
  options.policy.secure->allow_semi_honest = true;
  MakeSession(options);
  EXPECT_TRUE(Has<StartTraining>(Work(world_.MakeAssignment())));
}

TEST_F(DeviceSessionSecureTest,
       TaskThatIsTooSmallForItIsRefusedBeforeTraining) {
  world_.MakeSecure(19);
  EXPECT_THAT(Refusal(world_.MakeAssignment()),
              AllOf(HasSubstr("at most 19"), HasSubstr("no fewer than 20")));
}

TEST_F(DeviceSessionSecureTest, GroupsThatAreTooSmallAreRefused) {
  world_.MakeSecure(100);
  world_.task.mutable_secure_aggregation()->set_group_size(10);
  EXPECT_THAT(Refusal(world_.MakeAssignment()), HasSubstr("at most 10"));
}

// Where the operator wants evaluators, no device is asked for its numbers.
TEST_F(DeviceSessionSecureTest, DeviceDoesNotDoTheEvaluatorsWork) {
  EXPECT_THAT(Refusal(world_.MakeAssignment(1, v1::Assignment::EVALUATE)),
              HasSubstr("evaluated by evaluators"));
}

TEST_F(DeviceSessionSecureTest, DeviceEvaluatesInsideASumOnly) {
  world_.task.mutable_evaluation()->set_where(v1::Evaluation::DEVICES);
  world_.task.mutable_evaluation()->set_devices(25);
  v1::Assignment assignment =
      world_.MakeAssignment(1, v1::Assignment::EVALUATE);
  EXPECT_EQ(assignment.secure().maximum_updates(), 25);
  Effects effects = Work(assignment);
  EXPECT_TRUE(Has<StartTraining>(effects));
  effects = Persisted(Trained(effects));
  EXPECT_FALSE(Has<Upload>(effects)) << "its numbers leave in the clear";
  EXPECT_THAT(Only<AggregateSecurely>(effects).assignment,
              EqualsProto(assignment));

  MakeSession(SecureOptions());
  assignment.clear_secure();
  EXPECT_THAT(Refusal(assignment), HasSubstr("how this device's examples"));
  // Nothing but the three sums, among as many devices as the operator said.
  MakeSession(SecureOptions());
  assignment = world_.MakeAssignment(1, v1::Assignment::EVALUATE);
  assignment.mutable_secure()->set_shared_size(
      world_.package.layout->shared_size());
  EXPECT_THAT(Refusal(assignment), HasSubstr("secure.shared_size is"));
  MakeSession(SecureOptions());
  assignment = world_.MakeAssignment(1, v1::Assignment::EVALUATE);
  assignment.mutable_secure()->set_maximum_updates(20);
  EXPECT_THAT(Refusal(assignment), HasSubstr("secure.maximum_updates is 20"));
}

TEST_F(DeviceSessionSecureTest, EvaluationAmongTooFewIsRefused) {
  world_.task.mutable_evaluation()->set_where(v1::Evaluation::DEVICES);
  world_.task.mutable_evaluation()->set_devices(19);
  EXPECT_THAT(Refusal(world_.MakeAssignment(1, v1::Assignment::EVALUATE)),
              HasSubstr("at most 19 evaluations"));
}

TEST_F(DeviceSessionSecureTest, EvaluatorEvaluatesATaskWithSecureAggregation) {
  DeviceSession::Options options = world_.MakeSessionOptions();
  options.policy.role = AssignmentPolicy::Role::kEvaluator;
  MakeSession(options);
  EXPECT_TRUE(Has<StartTraining>(
      Work(world_.MakeAssignment(1, v1::Assignment::EVALUATE))));
}

}  // namespace
}  // namespace mledge
