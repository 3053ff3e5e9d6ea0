#ifndef MLEDGE_IDENTITY_SIGNING_H_
#define MLEDGE_IDENTITY_SIGNING_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/certificate_authority.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/v1/signature.pb.h"

// Statements that somebody vouches for (proto/mledge/v1/signature.proto): tasks
// by operators, packages by model-signers, versions by the coordinator.
//
// A signer's certificate must be valid at the moment of *verifying*, for tasks
// and packages alike. The messages carry no time that could be trusted instead:
// whoever steals a key that has expired could date a statement back. So a
// package outlives its signer's certificate only by being signed anew, and
// signers' certificates are issued for longer than the tasks they serve.
// Values; const access from several threads is safe.

namespace mledge {

inline constexpr std::string_view kTaskContext = "task";
inline constexpr std::string_view kPackageContext = "package";
inline constexpr std::string_view kModelVersionContext = "model-version";
inline constexpr std::string_view kLedgerHeadContext = "ledger-head";
inline constexpr std::string_view kLedgerAdoptionContext = "ledger-adoption";

class Signer {
 public:
  // What LoadTlsIdentity returned. INVALID_ARGUMENT when key and certificate do
  // not belong together.
  static absl::StatusOr<Signer> Create(const TlsIdentity& identity);

  const Identity& identity() const { return identity_; }
  // `payload` is signed as it stands; forward it unchanged.
  v1::SignedMessage Sign(std::string_view context, std::string payload) const;

 private:
  Signer(std::vector<Certificate> chain, Identity identity, PrivateKey key);
  std::vector<Certificate> chain_;
  Identity identity_;
  PrivateKey key_;
};

// Whom to believe, and about what.
struct SignaturePolicy {
  std::string context;  // "task", "package", "model-version"
  Role role = Role::kOperator;
  // Ids of the signers that this process's configuration names; empty: nobody,
  // unless any_id is set.
  std::vector<std::string> trusted_ids;
  // Everybody who holds the role: for statements of the coordinator one is
  // connected to, and for looking at files by hand.
  bool any_id = false;
};

class SignatureVerifier {
 public:
  // INVALID_ARGUMENT: `root_pem` is not one certificate that may issue, the
  // context is empty, nobody is trusted, or an id is malformed.
  static absl::StatusOr<SignatureVerifier> Create(std::string_view root_pem,
                                                  SignaturePolicy policy);

  // Who signed. PERMISSION_DENIED: other context, untrusted chain (see
  // VerifyChain), other role, id that is not trusted, signature that does not
  // fit. INVALID_ARGUMENT: malformed. Messages say who signed and what to
  // change.
  absl::StatusOr<Identity> Verify(const v1::SignedMessage& message,
                                  absl::Time now) const;

  const SignaturePolicy& policy() const { return policy_; }

 private:
  SignatureVerifier(Certificate root, SignaturePolicy policy);
  Certificate root_;
  SignaturePolicy policy_;
};

// What a registrar vouches for with the key that issues certificates, which is
// no Signer's: it stands at the end of no connection.
v1::SignedMessage SignAsRegistrar(const CertificateAuthority& registrar,
                                  std::string_view context,
                                  std::string payload);
// The certificate of the registrar that signed. PERMISSION_DENIED: other
// context, a signer that is no registrar of this root (VerifyRegistrar),
// signature that does not fit. INVALID_ARGUMENT: malformed.
absl::StatusOr<Certificate> VerifyRegistrarMessage(
    const v1::SignedMessage& message, std::string_view context,
    const Certificate& root, absl::Time now);

// Who says to have signed, without believing it: for showing to people.
absl::StatusOr<Identity> ClaimedSigner(const v1::SignedMessage& message);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_SIGNING_H_
