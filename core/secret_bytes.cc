#include "mledge/core/secret_bytes.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <utility>

#include "mledge/core/secret_random.h"

namespace mledge {

SecretBytes::SecretBytes(size_t size_in_bytes)
    : data_(size_in_bytes == 0 ? nullptr : new uint8_t[size_in_bytes]()),
      size_(size_in_bytes) {}

SecretBytes SecretBytes::CopyFrom(std::span<const uint8_t> bytes) {
  SecretBytes copy(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.data_);
  return copy;
}

SecretBytes SecretBytes::CopyFrom(std::string_view bytes) {
  SecretBytes copy(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.data_);
  return copy;
}

SecretBytes SecretBytes::Random(size_t size_in_bytes) {
  return SystemSecretRandom().Bytes(size_in_bytes);
}

SecretBytes::~SecretBytes() { Wipe(); }

SecretBytes::SecretBytes(SecretBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this != &other) {
    Wipe();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

SecretBytes SecretBytes::Clone(SecretAccessToken token) const {
  return CopyFrom(bytes(token));
}

bool SecretBytes::EqualsConstantTime(const SecretBytes& other) const {
  if (size_ != other.size_) return false;
  return size_ == 0 || CRYPTO_memcmp(data_, other.data_, size_) == 0;
}

void SecretBytes::Wipe() {
  if (data_ == nullptr) return;
  OPENSSL_cleanse(data_, size_);
  delete[] data_;
  data_ = nullptr;
  size_ = 0;
}

}  // namespace mledge
