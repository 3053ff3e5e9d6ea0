#include "mledge/identity/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/tests/identity/hand_made_certificate.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_pki.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CertificateTest : public ::testing::Test {
 protected:
  std::vector<Certificate> Chain(const TlsIdentity& identity) const {
    return ParsePemChain(identity.certificate_chain_pem).value();
  }
  const Certificate& root() const { return pki_.root().certificate(); }
  HandMade Usual() const {
    HandMade content;
    content.not_before = pki_.now();
    content.not_after = pki_.now() + absl::Hours(24);
    return content;
  }
  // A leaf by hand, signed by the registrar, with its chain.
  std::vector<Certificate> ByHand(const HandMade& content) const {
    const CertificateAuthority& registrar = pki_.registrar();
    return {MakeByHand(content, key_.public_key(), registrar.certificate(),
                       registrar.key()),
            registrar.certificate()};
  }
  absl::StatusOr<Identity> Verify(const std::vector<Certificate>& chain) const {
    return VerifyChain(chain, root(), pki_.now());
  }

  const TestPki pki_;
  const PrivateKey key_ = PrivateKey::Generate();
};

TEST_F(CertificateTest, PemAndDerRoundTrip) {
  const Certificate& certificate = pki_.registrar().certificate();
  const absl::StatusOr<Certificate> from_pem =
      Certificate::FromPem(certificate.ToPem());
  const absl::StatusOr<Certificate> from_der =
      Certificate::FromDer(certificate.ToDer());
  ASSERT_THAT(from_pem, IsOk());
  ASSERT_THAT(from_der, IsOk());
  EXPECT_EQ(from_pem->fingerprint(), certificate.fingerprint());
  EXPECT_EQ(from_der->fingerprint(), certificate.fingerprint());
}

TEST_F(CertificateTest, GarbageIsRefused) {
  EXPECT_THAT(
      ParsePemChain("hello"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no PEM")));
  EXPECT_THAT(ParsePemChain(""), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParsePemChain("-----BEGIN CERTIFICATE-----\nAAAA\n"
                            "-----END CERTIFICATE-----\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("block 1 is no certificate")));
  EXPECT_THAT(Certificate::FromDer(""),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Certificate::FromDer(root().ToDer() + "x"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(CertificateTest, EveryTruncationOfTheDerFormIsRefused) {
  const std::string der = root().ToDer();
  for (size_t size = 0; size < der.size(); ++size) {
    EXPECT_THAT(Certificate::FromDer(der.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << size;
  }
}

TEST_F(CertificateTest, PrivateKeyInAFileOfCertificatesIsNamedAsSuch) {
  const SecretBytes pem = key_.ToPem();
  const auto bytes = pem.bytes(RevealSecret());
  EXPECT_THAT(ParsePemChain(std::string(bytes.begin(), bytes.end())),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("holds a private key")));
}

TEST_F(CertificateTest, TooManyCertificatesAreRefused) {
  std::string pem;
  for (int i = 0; i < 9; ++i) pem += root().ToPem();
  EXPECT_THAT(ParsePemChain(pem), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("at most 8")));
}

TEST_F(CertificateTest, IssuedChainLeadsToItsRoot) {
  for (const Role role :
       {Role::kCoordinator, Role::kOperator, Role::kModelSigner,
        Role::kEvaluator, Role::kDevice}) {
    const Identity identity{role, "one"};
    EXPECT_THAT(Verify(Chain(pki_.Issue(role, "one"))), IsOkAndHolds(identity));
  }
}

TEST_F(CertificateTest, RootInTheChainDoesNoHarm) {
  std::vector<Certificate> chain = Chain(pki_.Issue(Role::kDevice, "one"));
  chain.push_back(root());
  EXPECT_THAT(Verify(chain), IsOk());
}

TEST_F(CertificateTest, ExpiredOneIsNamedWithItsDate) {
  const std::vector<Certificate> chain =
      Chain(pki_.Issue(Role::kDevice, "old", absl::Hours(1)));
  EXPECT_THAT(VerifyChain(chain, root(), pki_.now() + absl::Minutes(59)),
              IsOk());
  EXPECT_THAT(
      VerifyChain(chain, root(), pki_.now() + absl::Minutes(61)),
      StatusIs(absl::StatusCode::kPermissionDenied,
               AllOf(HasSubstr("device old expired on 2026-01-01 01:00"),
                     HasSubstr("issue a new one"))));
}

TEST_F(CertificateTest, OneThatIsNotYetValidIsNamedWithItsDate) {
  const std::vector<Certificate> chain =
      Chain(pki_.Issue(Role::kDevice, "new"));
  EXPECT_THAT(VerifyChain(chain, root(), pki_.now() - absl::Minutes(4)), IsOk())
      << "certificates start five minutes early, because clocks err";
  EXPECT_THAT(VerifyChain(chain, root(), pki_.now() - absl::Minutes(6)),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("not yet valid"), HasSubstr("clocks"))));
}

TEST_F(CertificateTest, ExpiredRegistrarIsNamed) {
  const PrivateKey registrar_key = PrivateKey::Generate();
  const Certificate registrar = pki_.root()
                                    .Issue(registrar_key.public_key(),
                                           {.identity = {Role::kRegistrar, "r"},
                                            .now = pki_.now(),
                                            .validity = absl::Hours(1)})
                                    .value();
  HandMade content = Usual();
  const Certificate leaf =
      MakeByHand(content, key_.public_key(), registrar, registrar_key);
  EXPECT_THAT(VerifyChain(std::vector<Certificate>{leaf, registrar}, root(),
                          pki_.now() + absl::Hours(2)),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("registrar r expired")));
}

TEST_F(CertificateTest, ForeignRootIsRefused) {
  const TestPki other(pki_.now(), "other");
  EXPECT_THAT(Verify(Chain(other.Issue(Role::kDevice, "device-1"))),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("device device-1"),
                             HasSubstr("does not lead to the trusted root"))));
}

TEST_F(CertificateTest, ForeignRootOfTheSameNameIsRefused) {
  const TestPki twin(pki_.now());
  EXPECT_THAT(Verify(Chain(twin.Issue(Role::kDevice, "device-1"))),
              StatusIs(absl::StatusCode::kPermissionDenied));
  std::vector<Certificate> mixed = Chain(twin.Issue(Role::kDevice, "device-1"));
  mixed[1] = pki_.registrar().certificate();
  EXPECT_THAT(Verify(mixed), StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(CertificateTest, MissingRegistrarIsRefused) {
  std::vector<Certificate> chain = Chain(pki_.Issue(Role::kDevice, "one"));
  chain.pop_back();
  EXPECT_THAT(Verify(chain), StatusIs(absl::StatusCode::kPermissionDenied,
                                      HasSubstr("lacks the registrar's")));
}

TEST_F(CertificateTest, EmptyChainIsRefused) {
  EXPECT_THAT(Verify({}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(CertificateTest, LeafCannotIssue) {
  // A device that signs a certificate for an operator with its own key.
  const PrivateKey device_key = PrivateKey::Generate();
  const Certificate device =
      pki_.registrar()
          .Issue(device_key.public_key(),
                 {.identity = {Role::kDevice, "device-1"}, .now = pki_.now()})
          .value();
  HandMade content = Usual();
  content.alternative_name = "URI:mledge://operator/alice";
  const Certificate forged =
      MakeByHand(content, key_.public_key(), device, device_key);
  EXPECT_THAT(Verify({forged, device, pki_.registrar().certificate()}),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("device device-1"),
                             HasSubstr("may not issue"))));
}

TEST_F(CertificateTest, RegistrarCannotMakeAnotherRegistrar) {
  const PrivateKey deputy_key = PrivateKey::Generate();
  HandMade content = Usual();
  content.alternative_name = "URI:mledge://registrar/deputy";
  content.basic_constraints = "critical,CA:TRUE,pathlen:0";
  content.key_usage = "critical,keyCertSign";
  const Certificate deputy =
      MakeByHand(content, deputy_key.public_key(),
                 pki_.registrar().certificate(), pki_.registrar().key());
  const Certificate leaf =
      MakeByHand(Usual(), key_.public_key(), deputy, deputy_key);
  EXPECT_THAT(Verify({leaf, deputy, pki_.registrar().certificate()}),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(CertificateTest, RootMustNotIssueLeavesItself) {
  const Certificate leaf =
      MakeByHand(Usual(), key_.public_key(), root(), pki_.root().key());
  EXPECT_THAT(Verify({leaf}), StatusIs(absl::StatusCode::kPermissionDenied,
                                       HasSubstr("leaf, registrar and root")));
}

TEST_F(CertificateTest, IssuerWithTheWrongRoleIsRefused) {
  HandMade content = Usual();
  content.alternative_name = "URI:mledge://coordinator/main";
  content.basic_constraints = "critical,CA:TRUE,pathlen:0";
  content.key_usage = "critical,keyCertSign";
  const PrivateKey issuer_key = PrivateKey::Generate();
  const Certificate issuer =
      MakeByHand(content, issuer_key.public_key(), root(), pki_.root().key());
  const Certificate leaf =
      MakeByHand(Usual(), key_.public_key(), issuer, issuer_key);
  EXPECT_THAT(Verify({leaf, issuer}),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("coordinator main"),
                             HasSubstr("a registrar is expected"))));
}

TEST_F(CertificateTest, RegistrarIsNoLeaf) {
  EXPECT_THAT(
      Verify({pki_.registrar().certificate()}),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("for issuing")));
}

TEST_F(CertificateTest, LeafThatMayIssueIsRefused) {
  HandMade content = Usual();
  content.basic_constraints = "critical,CA:TRUE";
  content.key_usage = "critical,keyCertSign,digitalSignature";
  EXPECT_FALSE(Verify(ByHand(content)).ok());
}

TEST_F(CertificateTest, RoleLessCertificateIsNamed) {
  HandMade content = Usual();
  content.alternative_name = "DNS:device-1.example.org";
  EXPECT_THAT(
      Verify(ByHand(content)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("CN=by hand"), HasSubstr("has no role"))));
  content.alternative_name = "";
  EXPECT_THAT(
      Verify(ByHand(content)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no role")));
}

TEST_F(CertificateTest, TwoUrisAreRefused) {
  HandMade content = Usual();
  content.alternative_name =
      "URI:mledge://device/device-1,URI:mledge://operator/alice";
  EXPECT_THAT(
      Verify(ByHand(content)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 URIs")));
  content.alternative_name =
      "URI:https://example.org,URI:mledge://device/device-1";
  EXPECT_THAT(
      Verify(ByHand(content)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 URIs")));
}

TEST_F(CertificateTest, UnknownRoleIsRefused) {
  HandMade content = Usual();
  content.alternative_name = "URI:mledge://admin/alice";
  EXPECT_THAT(Verify(ByHand(content)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("unknown role \"admin\"")));
}

TEST_F(CertificateTest, KeyOnAnotherCurveIsRefused) {
  // The registrar's front door refuses it as well; this one came by the back.
  const PublicKey other = P384PublicKey();
  const Certificate leaf = MakeByHand(
      Usual(), other, pki_.registrar().certificate(), pki_.registrar().key());
  EXPECT_THAT(
      Verify({leaf, pki_.registrar().certificate()}),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("P-256")));
}

TEST_F(CertificateTest, EveryAlteredByteOfTheLeafIsRefused) {
  const std::vector<Certificate> chain =
      Chain(pki_.Issue(Role::kDevice, "device-1"));
  const std::string der = chain[0].ToDer();
  for (size_t i = 0; i < der.size(); ++i) {
    std::string altered = der;
    altered[i] = static_cast<char>(altered[i] ^ 0x01);
    const absl::StatusOr<Certificate> leaf = Certificate::FromDer(altered);
    if (!leaf.ok()) continue;
    EXPECT_FALSE(Verify({*leaf, chain[1]}).ok()) << "byte " << i;
  }
}

TEST_F(CertificateTest, ReadsBackWhatWasIssued) {
  IssueOptions options;
  options.identity = {Role::kCoordinator, "main"};
  options.hosts = {"example.org", "10.1.2.3", "::1"};
  options.now = pki_.now();
  options.validity = absl::Hours(48);
  const Certificate certificate =
      pki_.registrar().Issue(key_.public_key(), options).value();
  EXPECT_EQ(certificate.subject(), "CN=main,OU=coordinator,O=ML Edge");
  EXPECT_EQ(certificate.issuer(), "CN=test,OU=registrar,O=ML Edge");
  EXPECT_THAT(certificate.hosts(),
              ElementsAre("example.org", "10.1.2.3", "::1"));
  EXPECT_EQ(certificate.not_after(), pki_.now() + absl::Hours(48));
  EXPECT_EQ(certificate.serial().size(), 32u);
  EXPECT_FALSE(certificate.can_issue());
  EXPECT_TRUE(pki_.registrar().certificate().can_issue());
  EXPECT_TRUE(certificate.public_key() == key_.public_key());
}

TEST_F(CertificateTest, IdentityFromPemReadsTheLeaf) {
  const Identity expected{Role::kDevice, "device-1"};
  EXPECT_THAT(IdentityFromPem(
                  pki_.Issue(Role::kDevice, "device-1").certificate_chain_pem),
              IsOkAndHolds(expected));
  EXPECT_THAT(IdentityFromPem(pki_.registrar().certificate().ToPem()),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(IdentityFromPem(""),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(CertificateTest, ParseRootTakesRootsOnly) {
  EXPECT_THAT(ParseRoot(root().ToPem()), IsOk());
  EXPECT_THAT(ParseRoot(pki_.registrar().certificate().ToPem()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not self-signed")));
  EXPECT_THAT(ParseRoot(root().ToPem() + root().ToPem()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected one certificate, found 2")));
}

}  // namespace
}  // namespace mledge
