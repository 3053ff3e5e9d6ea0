#ifndef MLEDGE_IDENTITY_CERTIFICATE_AUTHORITY_H_
#define MLEDGE_IDENTITY_CERTIFICATE_AUTHORITY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/public_key.h"

// Issuing certificates. Two steps deep and no deeper: the root signs the
// registrar, the registrar signs everybody else, and what the registrar signs
// cannot sign. What a certificate is good for follows from its role:
//
//   coordinator                   TLS server and client; carries host names
//   registrar-server              TLS server; carries host names
//   operator, evaluator, device   TLS client
//   model-signer                  no TLS at all (code signing), works offline
//
// Movable; const access from several threads is safe.

namespace mledge {

// Lifetimes when nobody says otherwise. Devices' are short, so that one that is
// lost ages out even where a revocation list does not arrive.
absl::Duration DefaultValidity(Role role);

struct IssueOptions {
  Identity identity;
  // DNS names and IP addresses under which a coordinator or a registrar's
  // server is reached; must be empty for other roles and not empty for these.
  std::vector<std::string> hosts;
  // The certificate starts five minutes earlier, because devices' clocks err,
  // and ends with its issuer's at the latest.
  absl::Time now;
  // Default: by role. At least one minute.
  absl::Duration validity = absl::ZeroDuration();
};

class CertificateAuthority {
 public:
  // INVALID_ARGUMENT when the key is not the certificate's, or the certificate
  // may not issue.
  static absl::StatusOr<CertificateAuthority> Create(Certificate certificate,
                                                     PrivateKey key);
  // A self-signed root and its key; `id` names it among other roots.
  static absl::StatusOr<CertificateAuthority> CreateRoot(
      const std::string& id, absl::Time now, absl::Duration validity);

  // A root issues registrars only, a registrar everything below. The serial
  // number is random. INVALID_ARGUMENT: bad id, role that this issuer may not
  // give, bad host, key not on P-256. FAILED_PRECONDITION: the issuer's own
  // certificate is not valid at `now`.
  absl::StatusOr<Certificate> Issue(const PublicKey& key,
                                    const IssueOptions& options) const;

  const Certificate& certificate() const { return certificate_; }
  const PrivateKey& key() const { return key_; }

 private:
  CertificateAuthority(Certificate certificate, Identity identity,
                       PrivateKey key);
  Certificate certificate_;
  Identity identity_;
  PrivateKey key_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_CERTIFICATE_AUTHORITY_H_
