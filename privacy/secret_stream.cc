#include "mledge/privacy/secret_stream.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "mledge/core/logging.h"
#include "mledge/core/secret_bytes.h"

namespace mledge {
namespace {

constexpr size_t kKeySizeInBytes = 32;
// Zeroed and encrypted in place while it is in the first cache.
constexpr size_t kPiece = 16384;

}  // namespace

struct SecretStream::State {
  ~State() { EVP_CIPHER_CTX_free(context); }
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
};

SecretStream::SecretStream(SecretRandom& random)
    : state_(std::make_unique<State>()) {
  const SecretBytes key = random.Bytes(kKeySizeInBytes);
  // A key is used for one stream only, so the counter starts at zero.
  const uint8_t counter[16] = {};
  CHECK(state_->context != nullptr &&
        EVP_EncryptInit_ex2(state_->context, EVP_aes_256_ctr(),
                            key.bytes(RevealSecret()).data(), counter,
                            nullptr) == 1)
      << "AES-256-CTR is not to be had";
}

SecretStream::~SecretStream() = default;

void SecretStream::Fill(std::span<uint8_t> out) {
  while (!out.empty()) {
    const size_t count = std::min(out.size(), kPiece);
    std::memset(out.data(), 0, count);
    int written = 0;
    CHECK(EVP_EncryptUpdate(state_->context, out.data(), &written, out.data(),
                            static_cast<int>(count)) == 1)
        << "AES-256-CTR failed";
    out = out.subspan(count);
  }
}

}  // namespace mledge
