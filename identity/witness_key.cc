#include "mledge/identity/witness_key.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "mledge/core/logging.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/internal/openssl.h"
#include "mledge/identity/private_key.h"

namespace mledge {
namespace {

namespace internal = identity_internal;

constexpr size_t kKeyBytes = 32;

const unsigned char* Unsigned(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

std::shared_ptr<EVP_PKEY> Share(EVP_PKEY* handle) {
  return std::shared_ptr<EVP_PKEY>(handle, EVP_PKEY_free);
}

}  // namespace

WitnessPublicKey::WitnessPublicKey(std::string bytes,
                                   std::shared_ptr<EVP_PKEY> handle)
    : bytes_(std::move(bytes)), handle_(std::move(handle)) {}

absl::StatusOr<WitnessPublicKey> WitnessPublicKey::FromHex(
    std::string_view hex) {
  const absl::StatusOr<Digest> bytes = Digest::FromHex(hex);
  if (!bytes.ok()) {
    return absl::InvalidArgumentError(
        StrCat("a witness key is 64 hexadecimal digits, as witness.pub has "
               "them; this is ",
               hex.size(), " characters",
               hex.size() == 2 * kKeyBytes ? " with others among them" : ""));
  }
  return FromBytes(bytes->ToBytes());
}

absl::StatusOr<WitnessPublicKey> WitnessPublicKey::FromBytes(
    std::string_view bytes) {
  if (bytes.size() != kKeyBytes) {
    return absl::InvalidArgumentError(
        StrCat("a witness key has 32 bytes, this one has ", bytes.size()));
  }
  EVP_PKEY* handle = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr,
                                                 Unsigned(bytes), bytes.size());
  const std::string reason = internal::TakeOpenSslError();
  if (handle == nullptr) {
    return absl::InvalidArgumentError(
        StrCat("not an Ed25519 public key: ", reason));
  }
  return WitnessPublicKey(std::string(bytes), Share(handle));
}

std::string WitnessPublicKey::ToHex() const {
  return absl::BytesToHexString(bytes_);
}

absl::Status WitnessPublicKey::Verify(std::string_view message,
                                      std::string_view signature) const {
  int result = 0;
  if (signature.size() == kWitnessSignatureBytes) {
    const internal::MdCtxPtr context(EVP_MD_CTX_new());
    CHECK(context != nullptr &&
          EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr,
                               handle_.get()) == 1)
        << internal::TakeOpenSslError();
    result =
        EVP_DigestVerify(context.get(), Unsigned(signature), signature.size(),
                         Unsigned(message), message.size());
    ERR_clear_error();
  }
  if (result == 1) return absl::OkStatus();
  return absl::PermissionDeniedError(
      StrCat("the signature does not fit the witness key ",
             ToHex().substr(0, 16), "…"));
}

WitnessKey::WitnessKey(std::shared_ptr<EVP_PKEY> handle,
                       WitnessPublicKey public_key)
    : handle_(std::move(handle)), public_key_(std::move(public_key)) {}

absl::StatusOr<WitnessKey> WitnessKey::Adopt(EVP_PKEY* handle) {
  std::shared_ptr<EVP_PKEY> shared = Share(handle);
  std::array<char, kKeyBytes> bytes{};
  size_t size = bytes.size();
  CHECK(EVP_PKEY_get_raw_public_key(
            handle, reinterpret_cast<unsigned char*>(bytes.data()), &size) == 1)
      << internal::TakeOpenSslError();
  MLEDGE_ASSIGN_OR_RETURN(
      WitnessPublicKey public_key,
      WitnessPublicKey::FromBytes({bytes.data(), bytes.size()}));
  return WitnessKey(std::move(shared), std::move(public_key));
}

WitnessKey WitnessKey::Generate(SecretRandom& random) {
  const SecretBytes seed = random.Bytes(kKeyBytes);
  EVP_PKEY* handle = EVP_PKEY_new_raw_private_key(
      EVP_PKEY_ED25519, nullptr, seed.bytes(RevealSecret()).data(), kKeyBytes);
  CHECK(handle != nullptr) << internal::TakeOpenSslError();
  return Adopt(handle).value();
}

absl::StatusOr<WitnessKey> WitnessKey::FromPem(const SecretBytes& pem) {
  const std::span<const uint8_t> bytes = pem.bytes(RevealSecret());
  const internal::BioPtr bio = internal::ReadOnly(
      {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  // No passphrase is ever asked for.
  const auto none = [](char*, int, int, void*) { return -1; };
  internal::PkeyPtr key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, none, nullptr));
  const std::string reason = internal::TakeOpenSslError();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        StrCat("it holds no PEM private key, or one with a passphrase",
               reason.empty() ? "" : ": ", reason));
  }
  if (EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519) {
    return absl::InvalidArgumentError(
        "the key is not Ed25519; a witness key is made by `mledge pki init`");
  }
  return Adopt(key.release());
}

absl::StatusOr<WitnessKey> WitnessKey::Load(const std::string& path) {
  MLEDGE_ASSIGN_OR_RETURN(const SecretBytes pem, ReadPrivateKeyFile(path));
  absl::StatusOr<WitnessKey> key = FromPem(pem);
  if (!key.ok()) return Annotate(key.status(), path);
  return key;
}

absl::Status WitnessKey::Write(const std::string& path) const {
  return internal::WriteKeyFile(internal::PrivateKeyToPem(handle_.get()), path);
}

std::string WitnessKey::Sign(std::string_view message) const {
  const internal::MdCtxPtr context(EVP_MD_CTX_new());
  CHECK(context != nullptr &&
        EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr,
                           handle_.get()) == 1)
      << internal::TakeOpenSslError();
  std::string signature(kWitnessSignatureBytes, '\0');
  size_t size = signature.size();
  CHECK(EVP_DigestSign(context.get(),
                       reinterpret_cast<unsigned char*>(signature.data()),
                       &size, Unsigned(message), message.size()) == 1 &&
        size == kWitnessSignatureBytes)
      << internal::TakeOpenSslError();
  return signature;
}

}  // namespace mledge
