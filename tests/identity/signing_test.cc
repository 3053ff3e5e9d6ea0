#include "mledge/identity/signing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_pki.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SigningTest : public ::testing::Test {
 protected:
  absl::StatusOr<Identity> Verify(const v1::SignedMessage& message) const {
    return verifier_.Verify(message, pki_.now());
  }

  const TestPki pki_;
  const Signer alice_ = pki_.MakeSigner(Role::kOperator, "alice");
  const SignatureVerifier verifier_ =
      pki_.MakeVerifier(kTaskContext, Role::kOperator, {"alice", "anna"});
};

TEST_F(SigningTest, TrustedSignerIsBelieved) {
  const v1::SignedMessage message = alice_.Sign(kTaskContext, "a task");
  EXPECT_EQ(message.payload(), "a task");
  const Identity expected{Role::kOperator, "alice"};
  EXPECT_THAT(Verify(message), IsOkAndHolds(expected));
  EXPECT_THAT(ClaimedSigner(message), IsOkAndHolds(expected));
}

TEST_F(SigningTest, SurvivesSerialization) {
  v1::SignedMessage again;
  ASSERT_TRUE(again.ParseFromString(
      alice_.Sign(kTaskContext, std::string("\0\xff", 2)).SerializeAsString()));
  EXPECT_THAT(Verify(again), IsOk());
}

// The bytes that signature.proto says, put together here by hand.
TEST_F(SigningTest, SignsTheBytesThatTheSchemaSays) {
  const v1::SignedMessage message = alice_.Sign("task", "abc");
  std::string expected("mledge/v1/signed");
  expected.push_back('\0');
  expected += std::string("\0\0\0\0\0\0\0\x04", 8) + "task";
  expected += std::string("\0\0\0\0\0\0\0\x03", 8) + "abc";
  const Certificate leaf =
      Certificate::FromDer(message.certificates(0)).value();
  EXPECT_THAT(leaf.public_key().Verify(expected, message.signature()), IsOk());
}

TEST_F(SigningTest, OtherContextIsRefused) {
  EXPECT_THAT(
      Verify(alice_.Sign(kPackageContext, "a task")),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("\"package\"")));
}

TEST_F(SigningTest, RewrittenContextIsRefused) {
  v1::SignedMessage message = alice_.Sign(kPackageContext, "a task");
  message.set_context("task");
  EXPECT_THAT(Verify(message), StatusIs(absl::StatusCode::kPermissionDenied,
                                        HasSubstr("does not fit")));
}

TEST_F(SigningTest, BytesCannotMoveBetweenContextAndPayload) {
  v1::SignedMessage message = alice_.Sign("tas", "ka task");
  message.set_context("task");
  message.set_payload("a task");
  EXPECT_THAT(Verify(message), StatusIs(absl::StatusCode::kPermissionDenied,
                                        HasSubstr("does not fit")));
}

TEST_F(SigningTest, EveryAlteredByteOfPayloadAndSignatureIsRefused) {
  const v1::SignedMessage message = alice_.Sign(kTaskContext, "a task");
  for (size_t i = 0; i < message.payload().size(); ++i) {
    v1::SignedMessage altered = message;
    (*altered.mutable_payload())[i] ^= 0x01;
    EXPECT_FALSE(Verify(altered).ok()) << "payload byte " << i;
  }
  for (size_t i = 0; i < message.signature().size(); ++i) {
    v1::SignedMessage altered = message;
    (*altered.mutable_signature())[i] ^= 0x01;
    EXPECT_FALSE(Verify(altered).ok()) << "signature byte " << i;
  }
}

TEST_F(SigningTest, SignerOfAnotherPkiIsRefused) {
  const TestPki other(pki_.now(), "other");
  EXPECT_THAT(Verify(other.MakeSigner(Role::kOperator, "alice")
                         .Sign(kTaskContext, "a task")),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("does not lead to the trusted root")));
}

TEST_F(SigningTest, IdThatIsNotTrustedIsNamedWithTheRemedy) {
  EXPECT_THAT(
      Verify(pki_.MakeSigner(Role::kOperator, "mallory")
                 .Sign(kTaskContext, "a task")),
      StatusIs(absl::StatusCode::kPermissionDenied,
               AllOf(HasSubstr("operator mallory"), HasSubstr("alice, anna"),
                     HasSubstr("add the id to the configuration"))));
}

TEST_F(SigningTest, OtherRolesCannotSignTasksEvenUnderATrustedId) {
  for (const Role role : {Role::kDevice, Role::kCoordinator, Role::kModelSigner,
                          Role::kEvaluator}) {
    EXPECT_THAT(
        Verify(pki_.MakeSigner(role, "alice").Sign(kTaskContext, "a task")),
        StatusIs(absl::StatusCode::kPermissionDenied,
                 HasSubstr("must be signed by the role operator")))
        << ToString(role);
  }
}

TEST_F(SigningTest, CertificatesOfSomebodyElseAreRefused) {
  v1::SignedMessage message =
      pki_.MakeSigner(Role::kOperator, "mallory").Sign(kTaskContext, "a task");
  *message.mutable_certificates() =
      alice_.Sign(kTaskContext, "x").certificates();
  EXPECT_THAT(Verify(message), StatusIs(absl::StatusCode::kPermissionDenied,
                                        HasSubstr("does not fit")));
}

TEST_F(SigningTest, ExpiredCertificateIsNotBelievedAnyMore) {
  const TlsIdentity short_lived =
      pki_.Issue(Role::kOperator, "alice", absl::Hours(1));
  const v1::SignedMessage message =
      Signer::Create(short_lived)->Sign(kTaskContext, "a task");
  EXPECT_THAT(Verify(message), IsOk());
  EXPECT_THAT(verifier_.Verify(message, pki_.now() + absl::Hours(2)),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("operator alice expired")));
}

TEST_F(SigningTest, NoSignatureAndNoCertificateAreRefused) {
  v1::SignedMessage message = alice_.Sign(kTaskContext, "a task");
  v1::SignedMessage without = message;
  without.clear_signature();
  EXPECT_THAT(Verify(without), StatusIs(absl::StatusCode::kInvalidArgument));
  without = message;
  without.clear_certificates();
  EXPECT_THAT(Verify(without), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("no certificate")));
  without = message;
  without.set_certificates(0, "garbage");
  EXPECT_THAT(Verify(without), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("certificate 1")));
  for (int i = 0; i < 9; ++i) message.add_certificates("x");
  EXPECT_THAT(Verify(message), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("at most 8")));
}

TEST_F(SigningTest, AnyIdTrustsEverybodyWithTheRole) {
  const absl::StatusOr<SignatureVerifier> verifier = SignatureVerifier::Create(
      pki_.root_pem(),
      {.context = "task", .role = Role::kOperator, .any_id = true});
  ASSERT_THAT(verifier, IsOk());
  EXPECT_THAT(
      verifier->Verify(
          pki_.MakeSigner(Role::kOperator, "zoe").Sign(kTaskContext, "a task"),
          pki_.now()),
      IsOk());
  EXPECT_THAT(
      verifier->Verify(
          pki_.MakeSigner(Role::kDevice, "zoe").Sign(kTaskContext, "a task"),
          pki_.now()),
      StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(SigningTest, PolicyThatTrustsNobodyIsRefused) {
  EXPECT_THAT(
      SignatureVerifier::Create(pki_.root_pem(),
                                {.context = "task", .role = Role::kOperator}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least one")));
}

TEST_F(SigningTest, MalformedPoliciesAreRefused) {
  EXPECT_THAT(
      SignatureVerifier::Create(
          pki_.root_pem(), {.role = Role::kOperator, .trusted_ids = {"alice"}}),
      StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      SignatureVerifier::Create(
          pki_.root_pem(),
          {.context = "task", .role = Role::kOperator, .trusted_ids = {"a/b"}}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("trusted operator")));
  EXPECT_THAT(
      SignatureVerifier::Create("", {.context = "task", .any_id = true}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("root")));
}

TEST_F(SigningTest, SignerNeedsTheKeyOfItsCertificate) {
  TlsIdentity mixed = pki_.Issue(Role::kOperator, "alice");
  mixed.private_key_pem = PrivateKey::Generate().ToPem();
  EXPECT_THAT(Signer::Create(mixed),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("does not belong")));
}

}  // namespace
}  // namespace mledge
