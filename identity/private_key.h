#ifndef MLEDGE_IDENTITY_PRIVATE_KEY_H_
#define MLEDGE_IDENTITY_PRIVATE_KEY_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/identity/public_key.h"

// ECDSA P-256 keys. A key is made where it is used and stays there: others get
// a certificate signing request (certificate_signing_request.h). OpenSSL wipes
// the key when the object dies; the PEM form exists in SecretBytes only.
// Movable; const access from several threads is safe.

namespace mledge {

class PrivateKey {
 public:
  // From the operating system's generator.
  static PrivateKey Generate();
  // INVALID_ARGUMENT: no private key, one with a passphrase, or not P-256.
  static absl::StatusOr<PrivateKey> FromPem(const SecretBytes& pem);

  // PKCS #8, not encrypted.
  SecretBytes ToPem() const;
  PublicKey public_key() const;
  // ECDSA with SHA-256, signature in DER.
  std::string Sign(std::string_view message) const;

  evp_pkey_st* handle() const { return handle_.get(); }

 private:
  explicit PrivateKey(std::shared_ptr<evp_pkey_st> handle);
  std::shared_ptr<evp_pkey_st> handle_;
};

// The PEM text of a key file. NOT_FOUND, PERMISSION_DENIED (unreadable, or
// readable by anybody but its owner: says which chmod mends it),
// INVALID_ARGUMENT (too large to be a key).
absl::StatusOr<SecretBytes> ReadPrivateKeyFile(const std::string& path);

// Both steps; every message names the path.
absl::StatusOr<PrivateKey> LoadPrivateKey(const std::string& path);

// Readable by the owner only. ALREADY_EXISTS: a key is never overwritten.
absl::Status WritePrivateKey(const PrivateKey& key, const std::string& path);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_PRIVATE_KEY_H_
