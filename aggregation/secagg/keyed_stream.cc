#include "mledge/aggregation/secagg/keyed_stream.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "mledge/aggregation/secagg/hkdf.h"
#include "mledge/core/logging.h"

namespace mledge::secagg {
namespace {

constexpr size_t kBufferSize = 4096;

}  // namespace

struct KeyedStream::State {
  ~State() { EVP_CIPHER_CTX_free(context); }

  void Refill() {
    std::memset(buffer.data(), 0, buffer.size());
    int written = 0;
    CHECK(EVP_EncryptUpdate(context, buffer.data(), &written, buffer.data(),
                            static_cast<int>(buffer.size())) == 1)
        << "AES-128-CTR failed";
    used = 0;
  }

  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  std::array<uint8_t, kBufferSize> buffer;
  size_t used = kBufferSize;
};

KeyedStream::KeyedStream(std::span<const uint8_t, 32> seed,
                         std::string_view label)
    : state_(std::make_unique<State>()) {
  std::array<uint8_t, 32> key_and_counter;
  HkdfExpand(seed, HkdfInfo("public stream").AddBytes(label).view(),
             key_and_counter);
  CHECK(state_->context != nullptr &&
        EVP_EncryptInit_ex2(state_->context, EVP_aes_128_ctr(),
                            key_and_counter.data(), key_and_counter.data() + 16,
                            nullptr) == 1)
      << "AES-128-CTR is not to be had";
}

KeyedStream::~KeyedStream() = default;

void KeyedStream::Fill(std::span<uint8_t> out) {
  while (!out.empty()) {
    if (state_->used == kBufferSize) state_->Refill();
    const size_t count = std::min(out.size(), kBufferSize - state_->used);
    std::copy_n(state_->buffer.begin() + state_->used, count, out.begin());
    state_->used += count;
    out = out.subspan(count);
  }
}

uint32_t KeyedStream::NextU32() {
  std::array<uint8_t, 4> bytes;
  Fill(bytes);
  return uint32_t{bytes[0]} | uint32_t{bytes[1]} << 8 |
         uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
}

uint32_t KeyedStream::UniformBelow(uint32_t bound) {
  // The largest multiple of bound that fits, less one.
  const uint32_t last =
      static_cast<uint32_t>((uint64_t{1} << 32) / bound * bound - 1);
  uint32_t word = NextU32();
  while (word > last) word = NextU32();
  return word % bound;
}

}  // namespace mledge::secagg
