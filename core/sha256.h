#ifndef MLEDGE_CORE_SHA256_H_
#define MLEDGE_CORE_SHA256_H_

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// SHA-256 (OpenSSL) and the digest by which blobs, layouts and tasks are named.
// A Digest is a value; a Sha256 is used by one thread at a time.

namespace mledge {

struct Digest {
  std::array<uint8_t, 32> bytes{};

  auto operator<=>(const Digest&) const = default;
  // 64 lower-case hexadecimal digits.
  std::string ToHex() const;
  // The 32 raw bytes, as they travel in messages.
  std::string ToBytes() const;
  // INVALID_ARGUMENT unless `hex` is 64 hexadecimal digits.
  static absl::StatusOr<Digest> FromHex(std::string_view hex);
  // INVALID_ARGUMENT unless `bytes` is 32 bytes long.
  static absl::StatusOr<Digest> FromBytes(std::string_view bytes);

  template <typename H>
  friend H AbslHashValue(H h, const Digest& digest) {
    return H::combine(std::move(h), digest.bytes);
  }
};

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  Sha256& Update(std::span<const uint8_t> bytes);
  Sha256& Update(std::string_view bytes);
  // Length-prefixed, so that neighbouring fields cannot run into each other.
  Sha256& UpdateField(std::string_view bytes);
  Sha256& UpdateU64(uint64_t value);
  // Ends the computation; the object must not be used afterwards.
  Digest Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest Sha256Of(std::string_view bytes);
Digest Sha256Of(std::span<const uint8_t> bytes);

}  // namespace mledge

#endif  // MLEDGE_CORE_SHA256_H_
