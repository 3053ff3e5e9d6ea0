#include "mledge/aggregation/secagg/hkdf.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>

#include "mledge/aggregation/secagg/suite.h"
#include "mledge/core/bytes.h"
#include "mledge/core/logging.h"

namespace mledge::secagg {
namespace {

constexpr size_t kHashSize = 32;
constexpr size_t kHashBlockSize = 64;

// HMAC-SHA256 whose two half-finished digests of the key are kept, so that a
// message costs no hashing of the key again. One a thread.
class HmacSha256 {
 public:
  HmacSha256()
      : sha256_(EVP_MD_fetch(nullptr, "SHA256", nullptr)),
        inner_(EVP_MD_CTX_new()),
        outer_(EVP_MD_CTX_new()),
        work_(EVP_MD_CTX_new()),
        empty_inner_(EVP_MD_CTX_new()),
        empty_outer_(EVP_MD_CTX_new()) {
    CHECK(sha256_ && inner_ && outer_ && work_ && empty_inner_ && empty_outer_)
        << "no memory for HMAC";
    SetKey(std::array<uint8_t, 1>{});  // HMAC fills keys up with zeros
    Copy(inner_, empty_inner_);
    Copy(outer_, empty_outer_);
  }
  ~HmacSha256() {
    for (EVP_MD_CTX* context :
         {inner_, outer_, work_, empty_inner_, empty_outer_}) {
      EVP_MD_CTX_free(context);
    }
    EVP_MD_free(sha256_);
  }
  HmacSha256(const HmacSha256&) = delete;
  HmacSha256& operator=(const HmacSha256&) = delete;

  void SetKey(std::span<const uint8_t> key) {
    if (key.empty()) {
      Copy(empty_inner_, inner_);
      Copy(empty_outer_, outer_);
      return;
    }
    std::array<uint8_t, kHashBlockSize> block{};
    if (key.size() > kHashBlockSize) {
      Start(work_);
      Update(work_, key);
      Finish(std::span(block).first<kHashSize>());
    } else {
      std::copy(key.begin(), key.end(), block.begin());
    }
    for (uint8_t& byte : block) byte ^= 0x36;
    Start(inner_);
    Update(inner_, block);
    for (uint8_t& byte : block) byte ^= 0x36 ^ 0x5c;
    Start(outer_);
    Update(outer_, block);
    WipeMemory(block);
  }
  void StartMessage() { Copy(inner_, work_); }
  void Add(std::span<const uint8_t> bytes) { Update(work_, bytes); }
  void FinishMessage(std::span<uint8_t, kHashSize> out) {
    std::array<uint8_t, kHashSize> inner;
    Finish(inner);
    Copy(outer_, work_);
    Update(work_, inner);
    Finish(out);
    WipeMemory(inner);
  }
  // Leaves nothing of the key behind.
  void Forget() {
    SetKey({});
    StartMessage();
  }

 private:
  static void Copy(const EVP_MD_CTX* from, EVP_MD_CTX* to) {
    CHECK(EVP_MD_CTX_copy_ex(to, from) == 1) << "SHA-256 failed";
  }
  void Start(EVP_MD_CTX* context) {
    CHECK(EVP_DigestInit_ex2(context, sha256_, nullptr) == 1)
        << "SHA-256 failed";
  }
  void Update(EVP_MD_CTX* context, std::span<const uint8_t> bytes) {
    CHECK(EVP_DigestUpdate(context, bytes.data(), bytes.size()) == 1)
        << "SHA-256 failed";
  }
  void Finish(std::span<uint8_t, kHashSize> out) {
    CHECK(EVP_DigestFinal_ex(work_, out.data(), nullptr) == 1)
        << "SHA-256 failed";
  }

  EVP_MD* sha256_;
  EVP_MD_CTX* inner_;
  EVP_MD_CTX* outer_;
  EVP_MD_CTX* work_;
  // Of the key without bytes.
  EVP_MD_CTX* empty_inner_;
  EVP_MD_CTX* empty_outer_;
};

HmacSha256& ThreadHmac() {
  thread_local HmacSha256 hmac;
  return hmac;
}

}  // namespace

PseudorandomKey HkdfExtract(std::span<const uint8_t> salt,
                            std::span<const uint8_t> input_key) {
  HmacSha256& hmac = ThreadHmac();
  PseudorandomKey key;
  hmac.SetKey(salt);
  hmac.StartMessage();
  hmac.Add(input_key);
  hmac.FinishMessage(key.mutable_bytes(RevealSecret()));
  hmac.Forget();
  return key;
}

void HkdfExpand(std::span<const uint8_t> pseudorandom_key,
                std::string_view info, std::span<uint8_t> out) {
  CHECK(out.size() <= 255 * kHashSize) << "HKDF gives at most 8160 bytes";
  HmacSha256& hmac = ThreadHmac();
  hmac.SetKey(pseudorandom_key);
  std::array<uint8_t, kHashSize> block;
  for (uint8_t counter = 1; !out.empty(); ++counter) {
    hmac.StartMessage();
    if (counter > 1) hmac.Add(block);
    hmac.Add(AsBytes(info));
    hmac.Add({&counter, 1});
    hmac.FinishMessage(block);
    const size_t count = std::min(out.size(), kHashSize);
    std::copy_n(block.begin(), count, out.begin());
    out = out.subspan(count);
  }
  WipeMemory(block);
  hmac.Forget();
}

HkdfInfo::HkdfInfo(std::string_view label) {
  info_.reserve(128);
  AddBytes("mledge secagg");
  AddNumber(kProtocolVersion);
  AddBytes(label);
}

HkdfInfo& HkdfInfo::AddBytes(std::string_view bytes) {
  AddNumber(bytes.size());
  info_.append(bytes);
  return *this;
}

HkdfInfo& HkdfInfo::AddNumber(uint64_t number) {
  std::array<char, 8> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(number >> (56 - 8 * i));
  }
  info_.append(bytes.data(), bytes.size());
  return *this;
}

}  // namespace mledge::secagg
