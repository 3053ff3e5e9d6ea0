#include "mledge/aggregation/secagg/share_box.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr size_t kPairSize = 2 * kShareValueSize;
constexpr size_t kAddressSize = 32 + 4 + 4;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const {
    EVP_CIPHER_CTX_free(context);
  }
};

// One a thread: a member seals hundreds of boxes a session.
EVP_CIPHER_CTX* ThreadContext() {
  thread_local std::unique_ptr<EVP_CIPHER_CTX, FreeContext> context(
      EVP_CIPHER_CTX_new());
  CHECK(context != nullptr) << "no memory for a cipher";
  return context.get();
}

const EVP_CIPHER* AeadOf(CipherSuite suite) {
  return suite == CipherSuite::kAes128Ctr ? EVP_aes_256_gcm()
                                          : EVP_chacha20_poly1305();
}

std::array<uint8_t, kAddressSize> AssociatedData(
    const ShareBoxAddress& address) {
  std::array<uint8_t, kAddressSize> data;
  auto out = std::copy(address.session.bytes.begin(),
                       address.session.bytes.end(), data.begin());
  for (const uint32_t index : {address.from, address.to}) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      *out++ = static_cast<uint8_t>(index >> shift);
    }
  }
  return data;
}

uint8_t* AsBytes(std::string& text) {
  return reinterpret_cast<uint8_t*>(text.data());
}

}  // namespace

std::string SealShares(CipherSuite suite, const ShareBoxKey& key,
                       const ShareBoxAddress& address, const SharePair& shares,
                       SecretRandom& random) {
  WipingBytes<kPairSize> plain;
  const auto plain_bytes = plain.mutable_bytes(RevealSecret());
  const auto mask_key = shares.mask_key.bytes(RevealSecret());
  const auto self_mask = shares.self_mask.bytes(RevealSecret());
  std::copy(self_mask.begin(), self_mask.end(),
            std::copy(mask_key.begin(), mask_key.end(), plain_bytes.begin()));
  std::string box(kShareBoxSize, '\0');
  uint8_t* const nonce = AsBytes(box);
  uint8_t* const sealed = nonce + kShareBoxNonceSize;
  random.Fill({nonce, kShareBoxNonceSize});
  const auto associated = AssociatedData(address);
  EVP_CIPHER_CTX* context = ThreadContext();
  int count = 0;
  CHECK(EVP_EncryptInit_ex2(context, AeadOf(suite),
                            key.bytes(RevealSecret()).data(), nonce,
                            nullptr) == 1 &&
        EVP_EncryptUpdate(context, nullptr, &count, associated.data(),
                          static_cast<int>(associated.size())) == 1 &&
        EVP_EncryptUpdate(context, sealed, &count, plain_bytes.data(),
                          static_cast<int>(kPairSize)) == 1 &&
        EVP_EncryptFinal_ex(context, sealed + kPairSize, &count) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG,
                            static_cast<int>(kShareBoxTagSize),
                            sealed + kPairSize) == 1)
      << "sealing shares failed";
  EVP_CIPHER_CTX_reset(context);
  return box;
}

absl::StatusOr<SharePair> OpenShares(CipherSuite suite, const ShareBoxKey& key,
                                     const ShareBoxAddress& address,
                                     std::string_view box) {
  if (box.size() != kShareBoxSize) {
    return absl::InvalidArgumentError(
        StrCat("a share box of ", box.size(), " bytes from member ",
               address.from, "; it has ", kShareBoxSize));
  }
  const auto* nonce = reinterpret_cast<const uint8_t*>(box.data());
  const uint8_t* sealed = nonce + kShareBoxNonceSize;
  std::array<uint8_t, kShareBoxTagSize> tag;
  std::copy_n(sealed + kPairSize, tag.size(), tag.begin());
  const auto associated = AssociatedData(address);
  WipingBytes<kPairSize> plain;
  const auto plain_bytes = plain.mutable_bytes(RevealSecret());
  EVP_CIPHER_CTX* context = ThreadContext();
  int count = 0;
  std::array<uint8_t, 1> nothing;
  const bool opened =
      EVP_DecryptInit_ex2(context, AeadOf(suite),
                          key.bytes(RevealSecret()).data(), nonce,
                          nullptr) == 1 &&
      EVP_DecryptUpdate(context, nullptr, &count, associated.data(),
                        static_cast<int>(associated.size())) == 1 &&
      EVP_DecryptUpdate(context, plain_bytes.data(), &count, sealed,
                        static_cast<int>(kPairSize)) == 1 &&
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG,
                          static_cast<int>(tag.size()), tag.data()) == 1 &&
      EVP_DecryptFinal_ex(context, nothing.data(), &count) == 1;
  EVP_CIPHER_CTX_reset(context);
  if (!opened) {
    ERR_clear_error();
    return absl::UnauthenticatedError(StrCat(
        "the share box from member ", address.from, " to member ", address.to,
        " does not open: made with another key, for somebody else or "
        "another session, or changed on the way"));
  }
  SharePair shares;
  std::copy_n(plain_bytes.begin(), kShareValueSize,
              shares.mask_key.mutable_bytes(RevealSecret()).begin());
  std::copy_n(plain_bytes.begin() + kShareValueSize, kShareValueSize,
              shares.self_mask.mutable_bytes(RevealSecret()).begin());
  return shares;
}

}  // namespace mledge::secagg
