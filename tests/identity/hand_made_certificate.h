#ifndef MLEDGE_TESTS_IDENTITY_HAND_MADE_CERTIFICATE_H_
#define MLEDGE_TESTS_IDENTITY_HAND_MADE_CERTIFICATE_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/certificate_authority.h"
#include "mledge/identity/private_key.h"

// Certificates and requests that CertificateAuthority refuses to make, as an
// attacker or another tool would.

namespace mledge {

struct HandMade {
  // In the syntax of OpenSSL's configuration files; empty: no such extension.
  std::string alternative_name = "URI:mledge://device/device-1";
  std::string basic_constraints = "critical,CA:FALSE";
  std::string key_usage = "critical,digitalSignature";
  absl::Time not_before;
  absl::Time not_after;
};

// Signed by `issuer_key` in the name of `issuer`, whether that may issue or
// not.
Certificate MakeByHand(const HandMade& content, const PublicKey& key,
                       const Certificate& issuer, const PrivateKey& issuer_key);

// PEM of a request with these alternative names, whose signature is by
// `signing_key` and whose public key is that of `named_key`.
std::string MakeRequestByHand(const std::string& alternative_name,
                              const PrivateKey& named_key,
                              const PrivateKey& signing_key);

// PEM of a key that is not on P-256: "RSA" with 2048 bits, or "P-384".
std::string OtherKindOfKeyPem(const std::string& kind);
PublicKey P384PublicKey();
// PEM of a P-256 key under the passphrase "secret".
std::string EncryptedKeyPem();

}  // namespace mledge

#endif  // MLEDGE_TESTS_IDENTITY_HAND_MADE_CERTIFICATE_H_
