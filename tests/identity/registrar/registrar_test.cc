#include "mledge/identity/registrar/registrar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/identity/revocation_list.h"
#include "mledge/tests/identity/registrar/registrar_fixture.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class RegistrarTest : public RegistrarFixture {
 protected:
  absl::StatusOr<Certificate> IssueTo(const std::string& id, absl::Time when) {
    return registrar_->Issue(Operator(), Csr(Role::kDevice, id), when);
  }
  absl::StatusOr<RevocationList> List(absl::Time when) {
    const auto message = registrar_->CurrentRevocationList(when);
    if (!message.ok()) return message.status();
    return RevocationList::Parse(*message, pki().root().certificate(), when, 0);
  }
};

TEST_F(RegistrarTest, BadOptionsAreRefused) {
  const Registrar::Options good = options();
  const auto refuses = [&](std::string_view name) {
    EXPECT_THAT(Start(&storage_), StatusIs(StatusCode::kInvalidArgument,
                                           HasSubstr(std::string(name))));
    options() = good;
  };
  options().operators = {};
  refuses("operators");
  options().operators = {"a b"};
  refuses("operators");
  options().coordinators = {};
  refuses("coordinators");
  options().certificate_validity = absl::Minutes(59);
  refuses("certificate_validity");
  options().revocation_list_validity = absl::Seconds(59);
  refuses("revocation_list_validity");
  options().revocation_list_validity = absl::InfiniteDuration();
  refuses("revocation_list_validity");
  options().sessions_per_day = 0;
  refuses("sessions_per_day");
  options().certificates_per_identity = 1;
  refuses("certificates_per_identity");
}

TEST_F(RegistrarTest, OperatorGetsADeviceItsCertificate) {
  const absl::StatusOr<Certificate> issued = IssueTo("one", now());
  ASSERT_THAT(issued, IsOk());
  EXPECT_THAT(
      VerifyChain(
          std::vector<Certificate>{*issued, pki().registrar().certificate()},
          pki().root().certificate(), now()),
      IsOkAndHolds(Identity{Role::kDevice, "one"}));
  const auto list = registrar_->ListIssued(Operator(), {});
  ASSERT_THAT(list, IsOkAndHolds(SizeIs(1)));
  EXPECT_EQ(list->front().serial, issued->serial());
  EXPECT_EQ(list->front().issued_by, "operator alice");
}

TEST_F(RegistrarTest, OnlyNamedOperatorsIssueToOthers) {
  const std::string csr = Csr(Role::kDevice, "one");
  for (const RegistrarCaller& caller :
       {Coordinator(), Caller(Role::kDevice, "two"),
        Caller(Role::kOperator, "mallory"), Caller(Role::kModelSigner, "one"),
        Caller(Role::kEvaluator, "one")}) {
    EXPECT_THAT(registrar_->Issue(caller, csr, now()),
                StatusIs(StatusCode::kPermissionDenied))
        << caller.identity;
  }
  EXPECT_THAT(registrar_->ListIssued(Operator(), {}), IsOkAndHolds(SizeIs(0)));
}

TEST_F(RegistrarTest, OtherRolesAreNotIssuedOverTheNetwork) {
  for (const Role role :
       {Role::kCoordinator, Role::kOperator, Role::kModelSigner,
        Role::kRegistrar, Role::kRegistrarServer, Role::kRoot}) {
    EXPECT_THAT(registrar_->Issue(Operator(), Csr(role, "x"), now()),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("not issued over the network")));
    // Nor to somebody who has it already.
    EXPECT_THAT(
        registrar_->Issue(Caller(role, "alice"), Csr(role, "alice"), now()),
        testing::Not(IsOk()));
  }
}

TEST_F(RegistrarTest, MalformedRequestIsRefused) {
  EXPECT_THAT(registrar_->Issue(Operator(), "no request", now()),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(RegistrarTest, DeviceRenewsItselfAndNobodyElse) {
  const RegistrarCaller device = Caller(Role::kDevice, "one");
  const auto renewed =
      registrar_->Issue(device, Csr(Role::kDevice, "one"), now());
  ASSERT_THAT(renewed, IsOk());
  EXPECT_THAT(renewed->identity(), IsOkAndHolds(device.identity));
  EXPECT_THAT(registrar_->Issue(device, Csr(Role::kDevice, "two"), now()),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("device two")));
  EXPECT_THAT(registrar_->Issue(device, Csr(Role::kEvaluator, "one"), now()),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(RegistrarTest, RevokedCertificateRenewsNothing) {
  const auto issued = IssueTo("one", now());
  ASSERT_THAT(issued, IsOk());
  ASSERT_THAT(
      registrar_->RevokeSerial(Operator(), issued->serial(), "lost", now()),
      IsOk());
  RegistrarCaller device = Caller(Role::kDevice, "one");
  device.serial = issued->serial();
  EXPECT_THAT(registrar_->Issue(device, Csr(Role::kDevice, "one"), now()),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("revoked")));
  EXPECT_THAT(registrar_->CheckCaller(device),
              StatusIs(StatusCode::kPermissionDenied));
  // The device itself may be given another one.
  EXPECT_THAT(IssueTo("one", now()), IsOk());
}

TEST_F(RegistrarTest, IdentityHoldsSoManyValidCertificatesAndNoMore) {
  options().certificates_per_identity = 3;
  Restart();
  std::string serial;
  for (int i = 0; i < 3; ++i) {
    const auto issued = IssueTo("one", now());
    ASSERT_THAT(issued, IsOk());
    serial = issued->serial();
  }
  EXPECT_THAT(IssueTo("one", now()), StatusIs(StatusCode::kResourceExhausted));
  ASSERT_THAT(registrar_->RevokeSerial(Operator(), serial, "", now()), IsOk());
  EXPECT_THAT(IssueTo("one", now()), IsOk());
  EXPECT_THAT(IssueTo("one", now()), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(IssueTo("two", now()), IsOk());
  EXPECT_THAT(IssueTo("one", now() + options().certificate_validity), IsOk());
}

TEST_F(RegistrarTest, ListNamesWhatIsRevoked) {
  const auto one = IssueTo("one", now());
  const auto two = IssueTo("two", now());
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(two, IsOk());
  EXPECT_THAT(List(now())->Check(*one), IsOk());
  const auto number =
      registrar_->RevokeSerial(Operator(), one->serial(), "", now());
  ASSERT_THAT(number, IsOk());
  const auto list = List(now());
  ASSERT_THAT(list, IsOk());
  EXPECT_GE(list->number(), *number);
  EXPECT_THAT(list->Check(*one), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(list->Check(*two), IsOk());
}

TEST_F(RegistrarTest, RevokedIdentityIsRevokedForEver) {
  const auto before = IssueTo("one", now());
  ASSERT_THAT(before, IsOk());
  ASSERT_THAT(registrar_->RevokeIdentity(Operator(), {Role::kDevice, "one"},
                                         "stolen", now()),
              IsOk());
  EXPECT_THAT(List(now())->Check(*before),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(IssueTo("one", now()),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("for ever")));
  // Years later it is still on the list.
  EXPECT_EQ(List(now() + absl::Hours(24 * 300))->identities().size(), 1u);
}

TEST_F(RegistrarTest, OperatorWhoIsRevokedMayDoNothing) {
  const RegistrarCaller alice = Operator();
  ASSERT_THAT(registrar_->RevokeIdentity(alice, alice.identity, "", now()),
              IsOk());
  EXPECT_THAT(IssueTo("one", now()), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(
      registrar_->RevokeIdentity(alice, {Role::kDevice, "x"}, "", now()),
      StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(RegistrarTest, OnlyOperatorsRevokeAndLook) {
  const std::string serial(32, 'a');
  for (const RegistrarCaller& caller :
       {Coordinator(), Caller(Role::kDevice, "d"),
        Caller(Role::kOperator, "mallory")}) {
    const auto denied = StatusIs(StatusCode::kPermissionDenied);
    EXPECT_THAT(registrar_->RevokeSerial(caller, serial, "", now()), denied);
    EXPECT_THAT(
        registrar_->RevokeIdentity(caller, {Role::kDevice, "x"}, "", now()),
        denied);
    EXPECT_THAT(registrar_->ListIssued(caller, {}), denied);
    EXPECT_THAT(registrar_->ListRevocations(caller), denied);
    EXPECT_THAT(registrar_->CreateToken(caller, {Role::kDevice, "x"},
                                        now() + absl::Hours(1), now()),
                denied);
  }
}

TEST_F(RegistrarTest, BadRevocationsAreRefused) {
  const auto bad = StatusIs(StatusCode::kInvalidArgument);
  for (const std::string& serial :
       {std::string(), std::string(31, 'a'), std::string(33, 'a'),
        std::string(31, 'a') + "g", pki().registrar().certificate().serial()}) {
    EXPECT_THAT(registrar_->RevokeSerial(Operator(), serial, "", now()), bad)
        << serial;
  }
  EXPECT_THAT(registrar_->RevokeIdentity(Operator(), {Role::kRegistrar, "test"},
                                         "", now()),
              bad);
  EXPECT_THAT(
      registrar_->RevokeIdentity(Operator(), {Role::kDevice, ""}, "", now()),
      bad);
  EXPECT_THAT(registrar_->RevokeSerial(Operator(), std::string(32, 'a'),
                                       std::string(257, 'r'), now()),
              bad);
  EXPECT_THAT(registrar_->RevokeSerial(Operator(), std::string(32, 'a'),
                                       "two\nlines", now()),
              bad);
}

TEST_F(RegistrarTest, ListIsMadeAnewInTimeAndItsNumberGoesUp) {
  const auto first = List(now());
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(List(now() + absl::Hours(5))->number(), first->number());
  const auto second = List(now() + absl::Hours(6));
  ASSERT_THAT(second, IsOk());
  EXPECT_GT(second->number(), first->number());
  EXPECT_EQ(second->fresh_until(), now() + absl::Hours(30));
  Restart();
  EXPECT_EQ(List(now() + absl::Hours(7))->number(), second->number());
  // A clock that was set back: a list that is believed, and a higher number.
  const auto earlier = List(now() + absl::Hours(1));
  ASSERT_THAT(earlier, IsOk());
  EXPECT_GT(earlier->number(), second->number());
}

TEST_F(RegistrarTest, ExpiredCertificateLeavesTheListADayLater) {
  const auto issued = IssueTo("one", now());
  ASSERT_THAT(issued, IsOk());
  ASSERT_THAT(registrar_->RevokeSerial(Operator(), issued->serial(), "", now()),
              IsOk());
  const absl::Time expiry = issued->not_after();
  EXPECT_EQ(List(expiry + absl::Hours(12))->serials().size(), 1u);
  EXPECT_EQ(List(expiry + absl::Hours(25))->serials().size(), 0u);
}

TEST_F(RegistrarTest, TokenEnrollsOnce) {
  const auto token = registrar_->CreateToken(Operator(), {Role::kDevice, "new"},
                                             now() + absl::Hours(1), now());
  ASSERT_THAT(token, IsOkAndHolds(SizeIs(43)));
  Restart();
  EXPECT_THAT(registrar_->Enroll(*token, Csr(Role::kDevice, "new"), now()),
              IsOk());
  EXPECT_THAT(registrar_->Enroll(*token, Csr(Role::kDevice, "new"), now()),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(RegistrarTest, BadTokensAreRefusedInTheSameWords) {
  const auto token = registrar_->CreateToken(Operator(), {Role::kDevice, "new"},
                                             now() + absl::Hours(1), now());
  ASSERT_THAT(token, IsOk());
  const auto unknown =
      registrar_->Enroll("x", Csr(Role::kDevice, "new"), now());
  const auto other_identity =
      registrar_->Enroll(*token, Csr(Role::kDevice, "other"), now());
  const auto late = registrar_->Enroll(*token, Csr(Role::kDevice, "new"),
                                       now() + absl::Hours(1));
  EXPECT_EQ(unknown.status().code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(other_identity.status(), unknown.status());
  EXPECT_EQ(late.status(), unknown.status());
}

TEST_F(RegistrarTest, BadWishesForTokensAreRefused) {
  const auto bad = StatusIs(StatusCode::kInvalidArgument);
  const absl::Time later = now() + absl::Hours(1);
  EXPECT_THAT(
      registrar_->CreateToken(Operator(), {Role::kOperator, "x"}, later, now()),
      bad);
  EXPECT_THAT(
      registrar_->CreateToken(Operator(), {Role::kDevice, "/"}, later, now()),
      bad);
  EXPECT_THAT(
      registrar_->CreateToken(Operator(), {Role::kDevice, "x"}, now(), now()),
      bad);
  EXPECT_THAT(registrar_->CreateToken(Operator(), {Role::kDevice, "x"},
                                      now() + absl::Hours(24 * 31), now()),
              bad);
}

}  // namespace
}  // namespace mledge
