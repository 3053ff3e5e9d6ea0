#ifndef MLEDGE_CLIENT_STORAGE_STATE_CIPHER_H_
#define MLEDGE_CLIENT_STORAGE_STATE_CIPHER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/sha256.h"

// AES-256-GCM over the state of one device. Its keys, one for each use, come
// from the state key by HKDF-SHA256, salted by a random value of the state
// directory: directories that share a state key share nothing else. Nonces are
// random; one key would have to seal 2^32 records or pieces before two were
// likely (2^-32) to be equal. What is sealed is bound to a label, which says
// what and where it is, so that it cannot stand in another's place. An older
// value in place of a newer one is not detected. Thread-safe.

namespace mledge {

class StateCipher {
 public:
  enum class Use { kRecord, kFilePiece };
  static constexpr size_t kSaltSizeInBytes = 32;
  // nonce ‖ ciphertext, as long as the plaintext ‖ tag
  static constexpr size_t kNonceSize = 12;
  static constexpr size_t kTagSize = 16;
  static constexpr size_t kOverhead = kNonceSize + kTagSize;

  // Precondition: `state_key` has StateKey::kSizeInBytes bytes.
  StateCipher(const SecretBytes& state_key, std::string_view salt);

  // Tells whether a key is the one of this state, and nothing else of it.
  std::string KeyCheck() const;
  // Name of the thing of this digest, for whoever lacks the key without
  // meaning: 64 hexadecimal digits.
  std::string NameOf(std::string_view kind, const Digest& digest) const;

  // Precondition: sealed.size() == plain.size() + kOverhead.
  void Seal(Use use, std::string_view label, std::span<const uint8_t> plain,
            std::span<uint8_t> sealed) const;
  std::string SealRecord(std::string_view label,
                         std::span<const uint8_t> plain) const;
  // DATA_LOSS: altered, of another label or another key; `plain` is zero then.
  // Precondition: sealed.size() == plain.size() + kOverhead.
  absl::Status Open(Use use, std::string_view label,
                    std::span<const uint8_t> sealed,
                    std::span<uint8_t> plain) const;

 private:
  SecretBytes Derive(std::string_view purpose) const;

  SecretBytes root_;
  SecretBytes record_key_;
  SecretBytes file_key_;
  SecretBytes name_key_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_STATE_CIPHER_H_
