#include "mledge/core/secret_random.h"

#include <openssl/rand.h>

#include <algorithm>
#include <climits>

#include "absl/strings/escaping.h"
#include "mledge/core/logging.h"

namespace mledge {

SecretBytes SecretRandom::Bytes(size_t size_in_bytes) {
  SecretBytes bytes(size_in_bytes);
  Fill(bytes.mutable_bytes(RevealSecret()));
  return bytes;
}

std::string SecretRandom::HexToken(size_t size_in_bytes) {
  std::string bytes(size_in_bytes, '\0');
  Fill({reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
  return absl::BytesToHexString(bytes);
}

void SystemSecretRandom::Fill(std::span<uint8_t> out) {
  while (!out.empty()) {
    const size_t count = std::min<size_t>(out.size(), INT_MAX);
    CHECK(RAND_priv_bytes(out.data(), static_cast<int>(count)) == 1)
        << "the system's random generator failed";
    out = out.subspan(count);
  }
}

}  // namespace mledge
