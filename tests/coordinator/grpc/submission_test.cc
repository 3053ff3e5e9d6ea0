#include "mledge/coordinator/grpc/submission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/model/package_file.h"
#include "mledge/task/task_file.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_pki.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ModelPackage SmallPackage() {
  ModelPackage package;
  package.name = "small";
  package.layout =
      ParameterLayout::Create({{.name = "weight", .shape = {2, 3}}}).value();
  package.code = "code";
  package.initial_parameters = ParameterVector(package.layout);
  package.input.shape = {3};
  package.output.shape = {2};
  return package;
}

class SubmissionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto package = SerializePackageFile(SmallPackage(), model_signer_);
    ASSERT_THAT(package, IsOk());
    package_ = *std::move(package);
    auto task = ParseTask(R"(
name: small-task
model: {package: small.mlpkg}
local_training: {sgd: {learning_rate: 0.1}}
cohort: {size: 2}
secure_aggregation: {mode: off}
stop: {rounds: 3}
)",
                          "task.yaml");
    ASSERT_THAT(task, IsOk());
    task_ = *std::move(task);
    task_.mutable_model()->set_package_sha256(Sha256Of(package_).ToHex());
  }
  v1::SignedMessage Signed(const Signer& signer) const {
    return signer.Sign(kTaskContext, task_.SerializeAsString());
  }
  absl::StatusOr<Coordinator::Submission> Check(
      const v1::SignedMessage& signed_task) const {
    return CheckSubmission(
        signed_task, package_,
        pki_.MakeVerifier(kTaskContext, Role::kOperator, {"alice"}),
        pki_.MakeVerifier(kPackageContext, Role::kModelSigner, {"sam"}),
        pki_.now());
  }

  const TestPki pki_;
  const Signer operator_ = pki_.MakeSigner(Role::kOperator, "alice");
  const Signer model_signer_ = pki_.MakeSigner(Role::kModelSigner, "sam");
  std::string package_;
  v1::Task task_;
};

TEST_F(SubmissionTest, TakesATrustedOperatorsTaskWithItsPackage) {
  const v1::SignedMessage signed_task = Signed(operator_);
  const auto submission = Check(signed_task);
  ASSERT_THAT(submission, IsOk());
  EXPECT_EQ(submission->task.name(), "small-task");
  EXPECT_EQ(submission->submitted_by, "alice");
  EXPECT_EQ(submission->package_file, package_);
  // Byte for byte: nothing is parsed and serialized again.
  v1::SignedMessage stored;
  ASSERT_TRUE(stored.ParseFromString(submission->signed_task));
  EXPECT_EQ(stored.payload(), signed_task.payload());
}

TEST_F(SubmissionTest, RefusesAnOperatorItDoesNotTrust) {
  EXPECT_THAT(
      Check(Signed(pki_.MakeSigner(Role::kOperator, "mallory"))),
      StatusIs(absl::StatusCode::kPermissionDenied,
               AllOf(HasSubstr("mallory"), HasSubstr("trusted_operators"))));
}

TEST_F(SubmissionTest, RefusesAForeignRoot) {
  const TestPki foreign(pki_.now(), "foreign");
  EXPECT_THAT(Check(Signed(foreign.MakeSigner(Role::kOperator, "alice"))),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(SubmissionTest, RefusesATaskSignedByADevice) {
  EXPECT_THAT(Check(Signed(pki_.MakeSigner(Role::kDevice, "alice"))),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(SubmissionTest, RefusesAnAlteredTask) {
  v1::SignedMessage altered = Signed(operator_);
  task_.mutable_stop()->set_rounds(1'000'000);
  altered.set_payload(task_.SerializeAsString());
  EXPECT_THAT(Check(altered), StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(SubmissionTest, RefusesAPackageOfASignerItDoesNotTrust) {
  package_ = SerializePackageFile(SmallPackage(),
                                  pki_.MakeSigner(Role::kModelSigner, "eve"))
                 .value();
  task_.mutable_model()->set_package_sha256(Sha256Of(package_).ToHex());
  EXPECT_THAT(
      Check(Signed(operator_)),
      StatusIs(absl::StatusCode::kPermissionDenied,
               AllOf(HasSubstr("eve"), HasSubstr("trusted_model_signers"))));
}

TEST_F(SubmissionTest, RefusesAnotherPackageThanTheTaskNames) {
  task_.mutable_model()->set_package_sha256(std::string(64, 'a'));
  EXPECT_THAT(
      Check(Signed(operator_)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("SHA-256")));
}

TEST_F(SubmissionTest, RefusesADamagedPackage) {
  package_.back() ^= 1;
  task_.mutable_model()->set_package_sha256(Sha256Of(package_).ToHex());
  EXPECT_THAT(
      Check(Signed(operator_)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("package")));
}

TEST_F(SubmissionTest, RefusesSignedBytesThatAreNoTask) {
  EXPECT_THAT(
      Check(operator_.Sign(kTaskContext, "\xff\xff\xff")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no task")));
}

TEST_F(SubmissionTest, RefusesAnInvalidTask) {
  task_.mutable_stop()->set_rounds(-1);
  EXPECT_THAT(
      Check(Signed(operator_)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rounds")));
}

TEST_F(SubmissionTest, RefusesATaskThatLeavesDefaultsOpen) {
  task_.clear_population();
  EXPECT_THAT(
      Check(Signed(operator_)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("defaults")));
}

}  // namespace
}  // namespace mledge
