#ifndef MLEDGE_CORE_SECRET_BYTES_H_
#define MLEDGE_CORE_SECRET_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

// Keys, seeds and passphrases. The memory is wiped when the object dies or is
// assigned to, never copied by accident, and read only by whoever holds the
// token below, so that a reviewer finds every reader by searching for one word.
// Not thread-safe.

namespace mledge {

// Named at each place that reads a secret.
class SecretAccessToken {
 private:
  SecretAccessToken() = default;
  friend SecretAccessToken RevealSecret();
};
inline SecretAccessToken RevealSecret() { return SecretAccessToken(); }

class SecretBytes {
 public:
  SecretBytes() = default;
  // `size_in_bytes` zero bytes, to be filled through `mutable_bytes`.
  explicit SecretBytes(size_t size_in_bytes);
  // Copies; the caller wipes its own original.
  static SecretBytes CopyFrom(std::span<const uint8_t> bytes);
  static SecretBytes CopyFrom(std::string_view bytes);
  // `size_in_bytes` bytes of the operating system's generator.
  static SecretBytes Random(size_t size_in_bytes);
  ~SecretBytes();

  SecretBytes(SecretBytes&& other) noexcept;
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const uint8_t> bytes(SecretAccessToken) const {
    return {data_, size_};
  }
  std::span<uint8_t> mutable_bytes(SecretAccessToken) { return {data_, size_}; }
  SecretBytes Clone(SecretAccessToken) const;
  // Constant-time in the contents; false at once when the sizes differ.
  bool EqualsConstantTime(const SecretBytes& other) const;

 private:
  void Wipe();
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace mledge

#endif  // MLEDGE_CORE_SECRET_BYTES_H_
