#ifndef MLEDGE_AGGREGATION_SECAGG_WIPING_BYTES_H_
#define MLEDGE_AGGREGATION_SECAGG_WIPING_BYTES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "mledge/core/secret_bytes.h"

// A secret of fixed size, held in place: what SecretBytes is, without an
// allocation, for the thousands of seeds and shares of a session. Wiped when it
// dies, is moved from or assigned to; never copied by accident. Not
// thread-safe.

namespace mledge::secagg {

// OPENSSL_cleanse.
void WipeMemory(std::span<uint8_t> bytes);
// Constant-time in the contents. Precondition: equal sizes.
bool EqualConstantTime(std::span<const uint8_t> a, std::span<const uint8_t> b);

template <size_t kSize>
class WipingBytes {
 public:
  static constexpr size_t kSizeInBytes = kSize;

  WipingBytes() = default;
  ~WipingBytes() { WipeMemory(bytes_); }
  WipingBytes(WipingBytes&& other) noexcept : bytes_(other.bytes_) {
    WipeMemory(other.bytes_);
  }
  WipingBytes& operator=(WipingBytes&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      WipeMemory(other.bytes_);
    }
    return *this;
  }
  WipingBytes(const WipingBytes&) = delete;
  WipingBytes& operator=(const WipingBytes&) = delete;

  std::span<const uint8_t, kSize> bytes(SecretAccessToken) const {
    return bytes_;
  }
  std::span<uint8_t, kSize> mutable_bytes(SecretAccessToken) { return bytes_; }
  WipingBytes Clone(SecretAccessToken) const {
    WipingBytes copy;
    copy.bytes_ = bytes_;
    return copy;
  }
  bool EqualsConstantTime(const WipingBytes& other) const {
    return EqualConstantTime(bytes_, other.bytes_);
  }

 private:
  std::array<uint8_t, kSize> bytes_{};
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_WIPING_BYTES_H_
