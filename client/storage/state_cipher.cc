#include "mledge/client/storage/state_cipher.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <array>
#include <limits>
#include <memory>

#include "mledge/aggregation/secagg/hkdf.h"
#include "mledge/client/storage/state_key.h"
#include "mledge/core/bytes.h"
#include "mledge/core/logging.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr size_t kKeySize = 32;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const {
    EVP_CIPHER_CTX_free(context);
  }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

Context NewContext() {
  Context context(EVP_CIPHER_CTX_new());
  CHECK(context != nullptr) << "no memory for a cipher";
  return context;
}

int IntSize(size_t size) {
  CHECK(size <= static_cast<size_t>(std::numeric_limits<int>::max()));
  return static_cast<int>(size);
}

}  // namespace

StateCipher::StateCipher(const SecretBytes& state_key, std::string_view salt) {
  CHECK(state_key.size() == StateKey::kSizeInBytes);
  const secagg::PseudorandomKey root =
      secagg::HkdfExtract(AsBytes(salt), state_key.bytes(RevealSecret()));
  root_ = SecretBytes::CopyFrom(root.bytes(RevealSecret()));
  record_key_ = Derive("records");
  file_key_ = Derive("files");
  name_key_ = Derive("names");
}

SecretBytes StateCipher::Derive(std::string_view purpose) const {
  SecretBytes key(kKeySize);
  secagg::HkdfExpand(root_.bytes(RevealSecret()),
                     StrCat("mledge/v1/device-state/", purpose),
                     key.mutable_bytes(RevealSecret()));
  return key;
}

std::string StateCipher::KeyCheck() const {
  const SecretBytes check = Derive("key-check");
  const auto bytes = check.bytes(RevealSecret());
  return {bytes.begin(), bytes.end()};
}

std::string StateCipher::NameOf(std::string_view kind,
                                const Digest& digest) const {
  Digest name;
  secagg::HkdfExpand(name_key_.bytes(RevealSecret()),
                     StrCat(kind, ":", digest.ToBytes()), name.bytes);
  return name.ToHex();
}

void StateCipher::Seal(Use use, std::string_view label,
                       std::span<const uint8_t> plain,
                       std::span<uint8_t> sealed) const {
  CHECK(sealed.size() == plain.size() + kOverhead);
  const SecretBytes& key = use == Use::kRecord ? record_key_ : file_key_;
  const std::span<uint8_t> nonce = sealed.first(kNonceSize);
  SystemSecretRandom().Fill(nonce);
  uint8_t* const text = sealed.data() + kNonceSize;
  uint8_t* const tag = text + plain.size();
  const Context context = NewContext();
  int count = 0;
  CHECK(EVP_EncryptInit_ex2(context.get(), EVP_aes_256_gcm(),
                            key.bytes(RevealSecret()).data(), nonce.data(),
                            nullptr) == 1 &&
        EVP_EncryptUpdate(context.get(), nullptr, &count, AsBytes(label).data(),
                          IntSize(label.size())) == 1 &&
        (plain.empty() ||
         EVP_EncryptUpdate(context.get(), text, &count, plain.data(),
                           IntSize(plain.size())) == 1) &&
        EVP_EncryptFinal_ex(context.get(), tag, &count) == 1 &&
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG,
                            IntSize(kTagSize), tag) == 1)
      << "sealing the device's state failed";
}

std::string StateCipher::SealRecord(std::string_view label,
                                    std::span<const uint8_t> plain) const {
  std::string sealed(plain.size() + kOverhead, '\0');
  Seal(Use::kRecord, label, plain,
       {reinterpret_cast<uint8_t*>(sealed.data()), sealed.size()});
  return sealed;
}

absl::Status StateCipher::Open(Use use, std::string_view label,
                               std::span<const uint8_t> sealed,
                               std::span<uint8_t> plain) const {
  CHECK(sealed.size() == plain.size() + kOverhead);
  const SecretBytes& key = use == Use::kRecord ? record_key_ : file_key_;
  const uint8_t* const text = sealed.data() + kNonceSize;
  std::array<uint8_t, kTagSize> tag;
  std::copy_n(text + plain.size(), tag.size(), tag.begin());
  const Context context = NewContext();
  int count = 0;
  std::array<uint8_t, 1> nothing;
  const bool opened =
      EVP_DecryptInit_ex2(context.get(), EVP_aes_256_gcm(),
                          key.bytes(RevealSecret()).data(), sealed.data(),
                          nullptr) == 1 &&
      EVP_DecryptUpdate(context.get(), nullptr, &count, AsBytes(label).data(),
                        IntSize(label.size())) == 1 &&
      (plain.empty() || EVP_DecryptUpdate(context.get(), plain.data(), &count,
                                          text, IntSize(plain.size())) == 1) &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG,
                          IntSize(tag.size()), tag.data()) == 1 &&
      EVP_DecryptFinal_ex(context.get(), nothing.data(), &count) == 1;
  if (opened) return absl::OkStatus();
  ERR_clear_error();
  if (!plain.empty()) OPENSSL_cleanse(plain.data(), plain.size());
  return absl::DataLossError("was altered, or belongs elsewhere");
}

}  // namespace mledge
