#include "mledge/identity/private_key.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_format.h"
#include "mledge/core/file.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/internal/openssl.h"

namespace mledge {
namespace {

namespace internal = identity_internal;

constexpr int64_t kMaximumKeyFileBytes = 64 << 10;

std::string_view View(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Answers every request for a passphrase with "there is none".
int NoPassphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

}  // namespace

PrivateKey::PrivateKey(std::shared_ptr<EVP_PKEY> handle)
    : handle_(std::move(handle)) {}

PrivateKey PrivateKey::Generate() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  CHECK(key != nullptr) << internal::TakeOpenSslError();
  return PrivateKey(std::shared_ptr<EVP_PKEY>(key, EVP_PKEY_free));
}

absl::StatusOr<PrivateKey> PrivateKey::FromPem(const SecretBytes& pem) {
  const internal::BioPtr bio =
      internal::ReadOnly(View(pem.bytes(RevealSecret())));
  bool asked = false;
  internal::PkeyPtr key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, &asked));
  const std::string reason = internal::TakeOpenSslError();
  if (key == nullptr && asked) {
    return absl::InvalidArgumentError(
        "the private key is protected by a passphrase, which is not "
        "supported; store it without one (`openssl pkey -in KEY -out NEW`) "
        "and readable by its owner only");
  }
  if (key == nullptr) {
    return absl::InvalidArgumentError(StrCat(
        "it holds no PEM private key", reason.empty() ? "" : ": ", reason));
  }
  if (!internal::IsP256(key.get())) {
    return absl::InvalidArgumentError(
        "the private key is not on the curve P-256; make one with `mledge pki "
        "issue`");
  }
  return PrivateKey(std::shared_ptr<EVP_PKEY>(key.release(), EVP_PKEY_free));
}

SecretBytes PrivateKey::ToPem() const {
  return internal::PrivateKeyToPem(handle_.get());
}

PublicKey PrivateKey::public_key() const {
  // Through the public half's encoding, so that the copy holds no secret.
  const internal::BioPtr bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr && i2d_PUBKEY_bio(bio.get(), handle_.get()) == 1)
      << internal::TakeOpenSslError();
  return PublicKey::Adopt(d2i_PUBKEY_bio(bio.get(), nullptr));
}

std::string PrivateKey::Sign(std::string_view message) const {
  const internal::MdCtxPtr context(EVP_MD_CTX_new());
  CHECK(context != nullptr);
  CHECK(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr,
                           handle_.get()) == 1)
      << internal::TakeOpenSslError();
  const auto* data = reinterpret_cast<const unsigned char*>(message.data());
  size_t size = 0;
  CHECK(EVP_DigestSign(context.get(), nullptr, &size, data, message.size()) ==
        1)
      << internal::TakeOpenSslError();
  std::string signature(size, '\0');
  CHECK(EVP_DigestSign(context.get(),
                       reinterpret_cast<unsigned char*>(signature.data()),
                       &size, data, message.size()) == 1)
      << internal::TakeOpenSslError();
  signature.resize(size);
  return signature;
}

absl::StatusOr<SecretBytes> ReadPrivateKeyFile(const std::string& path) {
  struct stat file_status {};
  if (stat(path.c_str(), &file_status) != 0) {
    return ErrnoToStatus(errno, "read private key", path);
  }
  if ((file_status.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(absl::StrFormat(
        "private key %s is accessible by others (mode %04o); run `chmod 600 "
        "%s`, and replace the key if others may have read it",
        path, file_status.st_mode & 07777, path));
  }
  absl::StatusOr<std::string> text = ReadFile(path, kMaximumKeyFileBytes);
  if (!text.ok()) {
    if (absl::IsResourceExhausted(text.status())) {
      return absl::InvalidArgumentError(
          StrCat(path, " is too large to be a private key"));
    }
    return Annotate(text.status(), "private key");
  }
  SecretBytes secret = SecretBytes::CopyFrom(*text);
  OPENSSL_cleanse(text->data(), text->size());
  return secret;
}

absl::StatusOr<PrivateKey> LoadPrivateKey(const std::string& path) {
  MLEDGE_ASSIGN_OR_RETURN(const SecretBytes pem, ReadPrivateKeyFile(path));
  absl::StatusOr<PrivateKey> key = PrivateKey::FromPem(pem);
  if (!key.ok()) return Annotate(key.status(), path);
  return key;
}

absl::Status WritePrivateKey(const PrivateKey& key, const std::string& path) {
  return internal::WriteKeyFile(key.ToPem(), path);
}

}  // namespace mledge
