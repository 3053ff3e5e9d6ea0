#ifndef MLEDGE_IDENTITY_CERTIFICATE_H_
#define MLEDGE_IDENTITY_CERTIFICATE_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/public_key.h"

struct x509_st;  // OpenSSL's X509

// X.509 certificates: reading them, and deciding whether one is to be believed.
// Nothing here reads a clock: whoever asks says what time it is. Certificates
// are immutable values that share their data; const access from several threads
// is safe.

namespace mledge {

// More is not read: of a certificate or of a file with a chain; of a chain.
inline constexpr size_t kMaximumPemBytes = 256 << 10;
inline constexpr size_t kMaximumChainLength = 8;

class Certificate {
 public:
  // INVALID_ARGUMENT unless `pem` holds exactly one certificate.
  static absl::StatusOr<Certificate> FromPem(std::string_view pem);
  // INVALID_ARGUMENT unless `der` is exactly one certificate.
  static absl::StatusOr<Certificate> FromDer(std::string_view der);
  // Takes over the reference. Precondition: not null.
  static Certificate Adopt(x509_st* handle);

  std::string ToPem() const;
  std::string ToDer() const;

  // From the subject alternative name. INVALID_ARGUMENT when there is none
  // ("has no role"), more than one URI, or one that is not ours.
  absl::StatusOr<Identity> identity() const;
  // DNS names and IP addresses, for TLS.
  std::vector<std::string> hosts() const;
  absl::Time not_before() const;
  absl::Time not_after() const;
  std::string subject() const;  // "CN=device-7,OU=device,O=ML Edge"
  std::string issuer() const;
  std::string serial() const;  // hexadecimal
  // May sign other certificates (basic constraints and key usage).
  bool can_issue() const;
  // Whether `issuer` is who this certificate names as its issuer. Checks no
  // signature: VerifyChain does.
  bool names_issuer(const Certificate& issuer) const;
  // Of the DER form.
  Digest fingerprint() const;
  PublicKey public_key() const;

  x509_st* handle() const { return handle_.get(); }

 private:
  explicit Certificate(std::shared_ptr<x509_st> handle);
  std::shared_ptr<x509_st> handle_;
};

// The certificates of a PEM file, in its order. INVALID_ARGUMENT when there is
// none, more than eight, or anything that is no certificate (a private key in
// the wrong file is named as such).
absl::StatusOr<std::vector<Certificate>> ParsePemChain(std::string_view pem);

// A root certificate: exactly one, self-signed, may issue, with the role root.
// INVALID_ARGUMENT says which of these fails.
absl::StatusOr<Certificate> ParseRoot(std::string_view pem);

// Whether `chain` (leaf first, then its issuers, the root left out or not)
// leads to `root` at the time `now`; returns the leaf's identity.
//
// Demanded: every signature and validity period holds, issuers may issue, the
// direct issuer's role is registrar (and the root's is root), the leaf itself
// may not issue and has one identity, which is neither root nor registrar, and
// its key is on P-256.
//
// PERMISSION_DENIED: expired, not yet valid, foreign root, an issuer that may
// not issue, an altered certificate, wrong kind of key. INVALID_ARGUMENT: empty
// chain, no identity. Messages name the subject and what to do.
absl::StatusOr<Identity> VerifyChain(std::span<const Certificate> chain,
                                     const Certificate& root, absl::Time now);

// Whether `root` made `registrar` a registrar, as of `now`; for what a
// registrar signs itself, such as revocation lists. Codes as VerifyChain.
absl::StatusOr<Identity> VerifyRegistrar(const Certificate& registrar,
                                         const Certificate& root,
                                         absl::Time now);

// The identity in the first certificate of `pem`: for a peer whose chain TLS
// has already verified against our root (gRPC's "x509_pem_cert" property).
// INVALID_ARGUMENT as Certificate::identity(); PERMISSION_DENIED for root and
// registrar, which never stand at the end of a connection's chain.
absl::StatusOr<Identity> IdentityFromPem(std::string_view pem);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_CERTIFICATE_H_
