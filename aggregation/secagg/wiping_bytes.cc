#include "mledge/aggregation/secagg/wiping_bytes.h"

#include <openssl/crypto.h>

namespace mledge::secagg {

void WipeMemory(std::span<uint8_t> bytes) {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

bool EqualConstantTime(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace mledge::secagg
