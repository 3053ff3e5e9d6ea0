#ifndef MLEDGE_IDENTITY_WITNESS_KEY_H_
#define MLEDGE_IDENTITY_WITNESS_KEY_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/secret_random.h"

struct evp_pkey_st;  // OpenSSL's EVP_PKEY

// The registrar's Ed25519 key, with which it witnesses sessions and versions,
// and its public half, which devices pin. Ed25519, because its signatures are
// deterministic: a session's graph is drawn from the signature, and whoever
// signs must have no choice of it. Immutable values that share their data;
// const access from several threads is safe.

namespace mledge {

inline constexpr size_t kWitnessSignatureBytes = 64;

class WitnessPublicKey {
 public:
  // 64 hexadecimal digits, as configuration files have it. INVALID_ARGUMENT:
  // anything else.
  static absl::StatusOr<WitnessPublicKey> FromHex(std::string_view hex);
  // The same as 32 raw bytes.
  static absl::StatusOr<WitnessPublicKey> FromBytes(std::string_view bytes);

  std::string ToHex() const;
  std::string ToBytes() const { return bytes_; }
  bool operator==(const WitnessPublicKey& other) const {
    return bytes_ == other.bytes_;
  }

  // PERMISSION_DENIED when the signature is not of 64 bytes or does not fit.
  absl::Status Verify(std::string_view message,
                      std::string_view signature) const;

 private:
  WitnessPublicKey(std::string bytes, std::shared_ptr<evp_pkey_st> handle);
  std::string bytes_;
  std::shared_ptr<evp_pkey_st> handle_;
};

class WitnessKey {
 public:
  // The seed is 32 bytes of `random`; the simulator passes its own.
  static WitnessKey Generate(SecretRandom& random);
  // INVALID_ARGUMENT: no private key, one with a passphrase, or not Ed25519.
  static absl::StatusOr<WitnessKey> FromPem(const SecretBytes& pem);
  // Both steps of reading a file; every message names the path. Codes as
  // ReadPrivateKeyFile (private_key.h).
  static absl::StatusOr<WitnessKey> Load(const std::string& path);
  // Readable by the owner only. ALREADY_EXISTS: a key is never overwritten.
  absl::Status Write(const std::string& path) const;

  const WitnessPublicKey& public_key() const { return public_key_; }
  // 64 bytes; the same for the same message.
  std::string Sign(std::string_view message) const;

 private:
  WitnessKey(std::shared_ptr<evp_pkey_st> handle, WitnessPublicKey public_key);
  static absl::StatusOr<WitnessKey> Adopt(evp_pkey_st* handle);
  std::shared_ptr<evp_pkey_st> handle_;
  WitnessPublicKey public_key_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_WITNESS_KEY_H_
