#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "mledge/tests/client/device_session_fixture.h"
#include "mledge/tests/client/session_world.h"
#include "mledge/tests/support/status_matchers.h"

// What a device does not do although the coordinator asks for it: one test for
// each kind of bad assignment.

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class DeviceSessionRefusalTest : public DeviceSessionFixture {};

TEST_F(DeviceSessionRefusalTest, RefusesTaskOfAnOperatorItDoesNotTrust) {
  v1::Assignment assignment = world_.MakeAssignment();
  v1::Task task = world_.task;
  ASSERT_THAT(ValidateTask(&task), IsOk());
  world_.PutInto(
      assignment.mutable_signed_task(),
      world_.SignTask(task, world_.pki.MakeSigner(Role::kOperator, "mallory")));
  EXPECT_THAT(Refusal(assignment), HasSubstr("mallory"));
}

TEST_F(DeviceSessionRefusalTest, RefusesTaskSignedUnderAForeignRoot) {
  const TestPki foreign(world_.now, "foreign");
  v1::Assignment assignment = world_.MakeAssignment();
  v1::Task task = world_.task;
  ASSERT_THAT(ValidateTask(&task), IsOk());
  world_.PutInto(
      assignment.mutable_signed_task(),
      world_.SignTask(task, foreign.MakeSigner(Role::kOperator, "alice")));
  EXPECT_THAT(Refusal(assignment), HasSubstr("task"));
}

TEST_F(DeviceSessionRefusalTest, RefusesBytesThatAreNoTask) {
  v1::Assignment assignment = world_.MakeAssignment();
  world_.PutInto(assignment.mutable_signed_task(), std::string("\xff\xfe\x01"));
  EXPECT_THAT(Refusal(assignment), HasSubstr("cannot be parsed"));
}

TEST_F(DeviceSessionRefusalTest, RefusesSignedTaskThatIsNotValid) {
  v1::Assignment assignment = world_.MakeAssignment();
  v1::Task task = world_.task;
  task.mutable_local_training()->mutable_sgd()->set_learning_rate(-1);
  world_.PutInto(assignment.mutable_signed_task(),
                 world_.SignTask(task, world_.operator_signer));
  EXPECT_THAT(Refusal(assignment), HasSubstr("learning_rate"));
}

TEST_F(DeviceSessionRefusalTest, RefusesTaskOfAnotherName) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_task_id("task-2");
  EXPECT_THAT(Refusal(assignment),
              AllOf(HasSubstr("task-2"), HasSubstr("task-1")));
}

TEST_F(DeviceSessionRefusalTest, RefusesTaskOfAnotherPopulation) {
  world_.task.set_population("elsewhere");
  EXPECT_THAT(Refusal(world_.MakeAssignment()), HasSubstr("'elsewhere'"));
}

TEST_F(DeviceSessionRefusalTest, RefusesPackageThatTheOperatorDidNotSign) {
  v1::Assignment assignment = world_.MakeAssignment();
  world_.PutInto(
      assignment.mutable_package(),
      SerializePackageFile(MakeFakePackage(9), world_.model_signer).value());
  EXPECT_THAT(Refusal(assignment), HasSubstr("the operator signed"));
}

TEST_F(DeviceSessionRefusalTest, RefusesPackageOfAModelSignerItDoesNotTrust) {
  const Signer stranger = world_.pki.MakeSigner(Role::kModelSigner, "stranger");
  world_.package_digest =
      world_.Put(SerializePackageFile(world_.package, stranger).value());
  world_.task.mutable_model()->set_package_sha256(
      world_.package_digest.ToHex());
  EXPECT_THAT(Refusal(world_.MakeAssignment()), HasSubstr("stranger"));
}

TEST_F(DeviceSessionRefusalTest, RefusesVersionThatNoCoordinatorSigned) {
  v1::Assignment assignment = world_.MakeAssignment();
  *assignment.mutable_version_statement() =
      world_.pki.MakeSigner(Role::kDevice, "device-2")
          .Sign(kModelVersionContext,
                world_.Statement(assignment, 0).SerializeAsString());
  EXPECT_THAT(Refusal(assignment), HasSubstr("version statement"));
}

TEST_F(DeviceSessionRefusalTest, RefusesSignatureMadeForAnotherPurpose) {
  v1::Assignment assignment = world_.MakeAssignment();
  *assignment.mutable_version_statement() = world_.coordinator_signer.Sign(
      kTaskContext, world_.Statement(assignment, 0).SerializeAsString());
  EXPECT_THAT(Refusal(assignment), HasSubstr("version statement"));
}

TEST_F(DeviceSessionRefusalTest, RefusesStatementAboutAnotherTask) {
  v1::Assignment assignment = world_.MakeAssignment();
  v1::VersionStatement statement = world_.Statement(assignment, 0);
  statement.set_task_id("task-2");
  *assignment.mutable_version_statement() = world_.SignVersion(statement);
  EXPECT_THAT(Refusal(assignment), HasSubstr("about task 'task-2'"));
}

TEST_F(DeviceSessionRefusalTest, RefusesStatementAboutOtherParameters) {
  v1::Assignment assignment = world_.MakeAssignment();
  ParameterVector other = world_.package.initial_parameters;
  other.values()[0] = 1;
  world_.PutInto(assignment.mutable_parameters(), ParameterBytes(other));
  EXPECT_THAT(Refusal(assignment), HasSubstr("about other parameters"));
}

TEST_F(DeviceSessionRefusalTest, RefusesStatementAboutAnotherLayout) {
  v1::Assignment assignment = world_.MakeAssignment();
  v1::VersionStatement statement = world_.Statement(assignment, 0);
  statement.set_layout_fingerprint(std::string(32, 'x'));
  *assignment.mutable_version_statement() = world_.SignVersion(statement);
  EXPECT_THAT(Refusal(assignment), HasSubstr("another layout"));
}

TEST_F(DeviceSessionRefusalTest, RefusesInitialVersionThatIsNotThePackages) {
  v1::Assignment assignment = world_.MakeAssignment();
  ParameterVector other = world_.package.initial_parameters;
  other.values()[0] = 1;
  world_.PutInto(assignment.mutable_parameters(), ParameterBytes(other));
  *assignment.mutable_version_statement() =
      world_.SignVersion(world_.Statement(assignment, 0));
  EXPECT_THAT(Refusal(assignment), HasSubstr("version 0 is not"));
}

TEST_F(DeviceSessionRefusalTest, RefusesVersionBeyondTheStopRule) {
  v1::Assignment assignment = world_.MakeAssignment();
  *assignment.mutable_version_statement() =
      world_.SignVersion(world_.Statement(assignment, 10));
  EXPECT_THAT(Refusal(assignment), HasSubstr("ends with 10 rounds"));
}

TEST_F(DeviceSessionRefusalTest, RefusesParametersWithNan) {
  v1::Assignment assignment = world_.MakeAssignment();
  ParameterVector other = world_.package.initial_parameters;
  other.values()[5] = std::nanf("");
  world_.PutInto(assignment.mutable_parameters(), ParameterBytes(other));
  *assignment.mutable_version_statement() =
      world_.SignVersion(world_.Statement(assignment, 1));
  EXPECT_THAT(Refusal(assignment), HasSubstr("parameter 5 is nan"));
}

TEST_F(DeviceSessionRefusalTest, RefusesParametersOfAnotherSize) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.mutable_parameters()->set_size_in_bytes(36);
  EXPECT_THAT(Refusal(assignment), HasSubstr("36 bytes"));
}

TEST_F(DeviceSessionRefusalTest, RefusesLargerLearningRateThanTheTaskAllows) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_learning_rate(0.6);
  EXPECT_THAT(Refusal(assignment),
              AllOf(HasSubstr("learning_rate is 0.6"), HasSubstr("0.5")));
}

TEST_F(DeviceSessionRefusalTest, RefusesLearningRateThatIsNotANumber) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_learning_rate(std::nan(""));
  EXPECT_THAT(Refusal(assignment), HasSubstr("learning_rate is nan"));
}

TEST_F(DeviceSessionRefusalTest,
       AcceptsLearningRateThatTheScheduleHasBroughtDown) {
  v1::LearningRateSchedule* schedule =
      world_.task.mutable_local_training()->mutable_learning_rate_schedule();
  schedule->set_kind(v1::LearningRateSchedule::STEP);
  schedule->set_every(1);
  schedule->set_factor(0.5);
  v1::Assignment assignment = world_.MakeAssignment(3);
  assignment.set_learning_rate(0.125);
  EXPECT_TRUE(Has<StartTraining>(Work(assignment)));
}

TEST_F(DeviceSessionRefusalTest, RefusesLearningRateBelowTheSchedule) {
  v1::LearningRateSchedule* schedule =
      world_.task.mutable_local_training()->mutable_learning_rate_schedule();
  schedule->set_kind(v1::LearningRateSchedule::STEP);
  schedule->set_every(1);
  schedule->set_factor(0.5);
  v1::Assignment assignment = world_.MakeAssignment(3);
  assignment.set_learning_rate(0.1);
  EXPECT_THAT(Refusal(assignment), HasSubstr("0.125 to 0.5"));
}

TEST_F(DeviceSessionRefusalTest, RefusesMoreThanTheTasksClipNorm) {
  world_.task.mutable_local_training()->set_clip_norm(1);
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_clip_norm(2);
  EXPECT_THAT(Refusal(assignment), HasSubstr("clip_norm is 2"));
}

TEST_F(DeviceSessionRefusalTest, RefusesToLeaveOutTheTasksClipping) {
  world_.task.mutable_local_training()->set_clip_norm(1);
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_clip_norm(0);
  EXPECT_THAT(Refusal(assignment), HasSubstr("no clipping"));
}

TEST_F(DeviceSessionRefusalTest, EvaluatorRefusesToTrain) {
  DeviceSession::Options options = world_.MakeSessionOptions();
  options.policy.role = AssignmentPolicy::Role::kEvaluator;
  MakeSession(options);
  EXPECT_THAT(Refusal(world_.MakeAssignment()), HasSubstr("never trains"));
}

TEST_F(DeviceSessionRefusalTest, RefusesUnknownKindOfWork) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_kind(static_cast<v1::Assignment::Kind>(7));
  EXPECT_THAT(Refusal(assignment), HasSubstr("kind 7"));
}

TEST_F(DeviceSessionRefusalTest, RefusesAnotherProtocolVersion) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_protocol_version(2);
  EXPECT_THAT(Refusal(assignment), HasSubstr("protocol_version is 2"));
}

TEST_F(DeviceSessionRefusalTest, RefusesIdThatIsNone) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_assignment_id("../../etc/passwd");
  EXPECT_THAT(Refusal(assignment), HasSubstr("assignment_id"));
}

TEST_F(DeviceSessionRefusalTest, RefusesNegativeOrdinal) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_ordinal(-1);
  EXPECT_THAT(Refusal(assignment), HasSubstr("ordinal -1"));
}

TEST_F(DeviceSessionRefusalTest, RefusesHashThatIsNone) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.mutable_package()->set_sha256("short");
  EXPECT_THAT(Refusal(assignment), HasSubstr("package.sha256 has 5 bytes"));
}

TEST_F(DeviceSessionRefusalTest, RefusesPackageLargerThanItTakes) {
  DeviceSession::Options options = world_.MakeSessionOptions();
  options.policy.maximum_package_bytes = 100;
  MakeSession(options);
  EXPECT_THAT(Refusal(world_.MakeAssignment()), HasSubstr("at most 100"));
}

TEST_F(DeviceSessionRefusalTest, RefusesRoundSeedOfAnotherLength) {
  v1::Assignment assignment = world_.MakeAssignment();
  assignment.set_round_seed("x");
  EXPECT_THAT(Refusal(assignment), HasSubstr("round_seed has 1 bytes"));
}

TEST_F(DeviceSessionRefusalTest,
       RefusesAssignmentThatHasExpiredAndNamesBothClocks) {
  const v1::Assignment assignment = world_.MakeAssignment();
  world_.now += absl::Minutes(11);
  EXPECT_THAT(Refusal(assignment),
              AllOf(HasSubstr("expired at 2026-01-01T00:10"),
                    HasSubstr("2026-01-01T00:11")));
}

TEST_F(DeviceSessionRefusalTest,
       VerifiedTaskIsVerifiedAgainOnceItsSignerExpires) {
  const std::shared_ptr<PackageCache> cache = world_.MakeCache();
  v1::Task task = world_.task;
  ASSERT_THAT(ValidateTask(&task), IsOk());
  const std::string bytes = world_.SignTask(task, world_.operator_signer);
  EXPECT_THAT(cache->Task(Sha256Of(bytes), bytes, world_.now), IsOk());
  EXPECT_THAT(cache->Task(Sha256Of(bytes), bytes,
                          world_.now + TestPki::kValidity + absl::Hours(1)),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

}  // namespace
}  // namespace mledge
