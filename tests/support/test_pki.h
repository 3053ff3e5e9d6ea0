#ifndef MLEDGE_TESTS_SUPPORT_TEST_PKI_H_
#define MLEDGE_TESTS_SUPPORT_TEST_PKI_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mledge/identity/certificate_authority.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/signing.h"
#include "mledge/identity/tls_identity.h"

// A PKI in memory. For tests that link mledge::identity; not where LibTorch is
// included. Keys are fresh in each run, so nothing about them is repeatable
// except who they belong to.
//
//   const TestPki pki;
//   const TlsIdentity device = pki.Issue(Role::kDevice, "device-1");
//   const Signer signer = pki.MakeSigner(Role::kOperator, "alice");

namespace mledge {

class TestPki {
 public:
  // Starts where FakeClock does unless told otherwise; certificates live for a
  // year. Tests that open real TLS connections pass the real time.
  explicit TestPki(absl::Time now = absl::FromUnixSeconds(1767225600),
                   const std::string& name = "test")
      : now_(now),
        root_(CertificateAuthority::CreateRoot(name, now, kValidity).value()),
        registrar_(MakeRegistrar(root_, name, now)) {}

  std::string root_pem() const { return root_.certificate().ToPem(); }
  const CertificateAuthority& root() const { return root_; }
  const CertificateAuthority& registrar() const { return registrar_; }
  absl::Time now() const { return now_; }

  TlsIdentity Issue(Role role, const std::string& id,
                    absl::Duration validity = kValidity) const {
    const PrivateKey key = PrivateKey::Generate();
    IssueOptions options{
        .identity = {role, id}, .now = now_, .validity = validity};
    if (role == Role::kCoordinator) options.hosts = {"localhost", "127.0.0.1"};
    const Certificate certificate =
        registrar_.Issue(key.public_key(), options).value();
    TlsIdentity identity;
    identity.certificate_chain_pem =
        certificate.ToPem() + registrar_.certificate().ToPem();
    identity.private_key_pem = key.ToPem();
    identity.root_pem = root_pem();
    identity.identity = options.identity;
    identity.not_after = certificate.not_after();
    return identity;
  }

  Signer MakeSigner(Role role, const std::string& id) const {
    return Signer::Create(Issue(role, id)).value();
  }

  // Trusts exactly `ids`.
  SignatureVerifier MakeVerifier(std::string_view context, Role role,
                                 std::vector<std::string> ids) const {
    return SignatureVerifier::Create(root_pem(),
                                     {.context = std::string(context),
                                      .role = role,
                                      .trusted_ids = std::move(ids)})
        .value();
  }

  static inline const absl::Duration kValidity = absl::Hours(24 * 365);

 private:
  static CertificateAuthority MakeRegistrar(const CertificateAuthority& root,
                                            const std::string& name,
                                            absl::Time now) {
    PrivateKey key = PrivateKey::Generate();
    Certificate certificate =
        root.Issue(key.public_key(), {.identity = {Role::kRegistrar, name},
                                      .now = now,
                                      .validity = kValidity})
            .value();
    return CertificateAuthority::Create(std::move(certificate), std::move(key))
        .value();
  }

  const absl::Time now_;
  const CertificateAuthority root_;
  const CertificateAuthority registrar_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_SUPPORT_TEST_PKI_H_
