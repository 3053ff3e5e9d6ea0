#include "mledge/identity/public_key.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <utility>

#include "mledge/core/logging.h"
#include "mledge/identity/internal/openssl.h"

namespace mledge {

namespace internal = identity_internal;

PublicKey::PublicKey(std::shared_ptr<EVP_PKEY> handle)
    : handle_(std::move(handle)) {}

PublicKey PublicKey::Adopt(EVP_PKEY* handle) {
  CHECK(handle != nullptr);
  return PublicKey(std::shared_ptr<EVP_PKEY>(handle, EVP_PKEY_free));
}

absl::Status PublicKey::Verify(std::string_view message,
                               std::string_view signature) const {
  if (!is_p256()) {
    return absl::PermissionDeniedError(
        "the signer's key is not on the curve P-256");
  }
  internal::MdCtxPtr context(EVP_MD_CTX_new());
  CHECK(context != nullptr);
  CHECK(EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr,
                             handle_.get()) == 1)
      << internal::TakeOpenSslError();
  const int result = EVP_DigestVerify(
      context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
      signature.size(), reinterpret_cast<const unsigned char*>(message.data()),
      message.size());
  ERR_clear_error();
  if (result == 1) return absl::OkStatus();
  return absl::PermissionDeniedError("the signature does not fit");
}

bool PublicKey::is_p256() const { return internal::IsP256(handle_.get()); }

bool PublicKey::operator==(const PublicKey& other) const {
  const bool equal = EVP_PKEY_eq(handle_.get(), other.handle_.get()) == 1;
  ERR_clear_error();
  return equal;
}

}  // namespace mledge
