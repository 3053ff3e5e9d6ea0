#include "mledge/identity/certificate_authority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "mledge/identity/certificate_signing_request.h"
#include "mledge/tests/identity/hand_made_certificate.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_pki.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;

class CertificateAuthorityTest : public ::testing::Test {
 protected:
  absl::StatusOr<Certificate> Issue(Role role, const std::string& id,
                                    std::vector<std::string> hosts = {}) const {
    return pki_.registrar().Issue(
        key_.public_key(),
        {.identity = {role, id}, .hosts = hosts, .now = pki_.now()});
  }

  const TestPki pki_;
  const PrivateKey key_ = PrivateKey::Generate();
};

TEST_F(CertificateAuthorityTest, DevicesLiveNinetyDaysUnlessToldOtherwise) {
  const absl::StatusOr<Certificate> device = Issue(Role::kDevice, "one");
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ(device->not_after() - pki_.now(), absl::Hours(24 * 90));
}

TEST_F(CertificateAuthorityTest, NothingOutlivesItsIssuer) {
  const absl::StatusOr<Certificate> device = pki_.registrar().Issue(
      key_.public_key(), {.identity = {Role::kDevice, "one"},
                          .now = pki_.now(),
                          .validity = absl::Hours(24 * 9999)});
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ(device->not_after(), pki_.registrar().certificate().not_after());
}

TEST_F(CertificateAuthorityTest, SerialNumbersDiffer) {
  std::set<std::string> serials;
  for (int i = 0; i < 50; ++i) {
    serials.insert(Issue(Role::kDevice, "one")->serial());
  }
  EXPECT_EQ(serials.size(), 50u);
}

TEST_F(CertificateAuthorityTest, RegistrarMakesNeitherRootsNorRegistrars) {
  for (const Role role : {Role::kRoot, Role::kRegistrar}) {
    EXPECT_THAT(Issue(role, "x"), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("issues no")));
  }
}

TEST_F(CertificateAuthorityTest, RootMakesRegistrarsOnly) {
  for (const Role role : {Role::kRoot, Role::kDevice, Role::kCoordinator}) {
    EXPECT_THAT(
        pki_.root().Issue(key_.public_key(),
                          {.identity = {role, "x"}, .now = pki_.now()}),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("issues no")));
  }
}

TEST_F(CertificateAuthorityTest, CoordinatorNeedsHostNamesAndOthersHaveNone) {
  EXPECT_THAT(
      Issue(Role::kCoordinator, "main"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--host")));
  EXPECT_THAT(Issue(Role::kDevice, "one", {"example.org"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("has no host names")));
}

TEST_F(CertificateAuthorityTest, BadHostsAreRefused) {
  for (const char* host :
       {"", "https://example.org", "example.org:443", "a b", "*.example.org",
        "x,URI:mledge://operator/alice", "-x", ".x"}) {
    EXPECT_THAT(
        Issue(Role::kCoordinator, "main", {host}),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no host name")))
        << host;
  }
}

TEST_F(CertificateAuthorityTest, BadIdsAreRefused) {
  for (const std::string& id :
       {std::string(), std::string("a/b"), std::string(".."),
        std::string("a,URI:mledge://operator/alice"), std::string(129, 'a')}) {
    EXPECT_THAT(Issue(Role::kDevice, id),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << id;
  }
}

TEST_F(CertificateAuthorityTest, LongestIdIsCarriedInFull) {
  const std::string id(128, 'a');
  const absl::StatusOr<Certificate> certificate = Issue(Role::kDevice, id);
  ASSERT_THAT(certificate, IsOk());
  EXPECT_EQ(certificate->identity()->id, id);
}

TEST_F(CertificateAuthorityTest, BadValidityIsRefused) {
  for (const absl::Duration validity :
       {-absl::Hours(1), absl::Seconds(59), absl::Hours(24) * 40000,
        absl::InfiniteDuration()}) {
    EXPECT_THAT(
        pki_.registrar().Issue(key_.public_key(),
                               {.identity = {Role::kDevice, "one"},
                                .now = pki_.now(),
                                .validity = validity}),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("validity")));
  }
}

TEST_F(CertificateAuthorityTest, ExpiredIssuerIssuesNothing) {
  IssueOptions options;
  options.identity = {Role::kDevice, "one"};
  options.now = pki_.now() + TestPki::kValidity;
  EXPECT_THAT(pki_.registrar().Issue(key_.public_key(), options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("registrar test")));
}

TEST_F(CertificateAuthorityTest, ForeignKeyIsNotTakenAsTheIssuers) {
  EXPECT_THAT(CertificateAuthority::Create(pki_.registrar().certificate(),
                                           PrivateKey::Generate()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("does not belong")));
}

TEST_F(CertificateAuthorityTest, LeafIsNoAuthority) {
  PrivateKey key = PrivateKey::Generate();
  Certificate device =
      pki_.registrar()
          .Issue(key.public_key(),
                 {.identity = {Role::kDevice, "one"}, .now = pki_.now()})
          .value();
  EXPECT_THAT(
      CertificateAuthority::Create(device, std::move(key)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("may not issue")));
}

TEST_F(CertificateAuthorityTest, KeyOnAnotherCurveIsRefused) {
  EXPECT_THAT(pki_.registrar().Issue(
                  P384PublicKey(),
                  {.identity = {Role::kDevice, "one"}, .now = pki_.now()}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("P-256")));
}

TEST(CertificateSigningRequestTest, CarriesKeyAndIdentity) {
  const PrivateKey key = PrivateKey::Generate();
  const Identity identity{Role::kDevice, "device-1"};
  const std::string pem = CreateCertificateSigningRequest(key, identity);
  const absl::StatusOr<CertificateSigningRequest> request =
      ParseCertificateSigningRequest(pem);
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->identity, identity);
  EXPECT_TRUE(request->public_key == key.public_key());
}

TEST(CertificateSigningRequestTest, SignatureOfAnotherKeyIsRefused) {
  EXPECT_THAT(ParseCertificateSigningRequest(MakeRequestByHand(
                  "URI:mledge://device/device-1", PrivateKey::Generate(),
                  PrivateKey::Generate())),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("does not fit its key")));
}

TEST(CertificateSigningRequestTest, OneWithoutIdentityIsRefused) {
  const PrivateKey key = PrivateKey::Generate();
  EXPECT_THAT(
      ParseCertificateSigningRequest(MakeRequestByHand("", key, key)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no role")));
}

TEST(CertificateSigningRequestTest, OneWithTwoIdentitiesIsRefused) {
  const PrivateKey key = PrivateKey::Generate();
  EXPECT_THAT(
      ParseCertificateSigningRequest(MakeRequestByHand(
          "URI:mledge://device/a,URI:mledge://operator/b", key, key)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 URIs")));
}

TEST(CertificateSigningRequestTest, GarbageIsRefused) {
  for (const char* pem : {"", "hello",
                          "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"
                          "-----END CERTIFICATE REQUEST-----\n"}) {
    EXPECT_THAT(ParseCertificateSigningRequest(pem),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace mledge
