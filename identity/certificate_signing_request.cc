#include "mledge/identity/certificate_signing_request.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <utility>

#include "absl/status/status.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/internal/openssl.h"

namespace mledge {
namespace {

namespace internal = identity_internal;

constexpr size_t kMaximumRequestBytes = 64 << 10;
constexpr char kWhere[] = "certificate signing request";

internal::GeneralNamesPtr AlternativeNames(X509_REQ* request) {
  const internal::ExtensionsPtr extensions(X509_REQ_get_extensions(request));
  return internal::GeneralNamesPtr(static_cast<GENERAL_NAMES*>(X509V3_get_d2i(
      extensions.get(), NID_subject_alt_name, nullptr, nullptr)));
}

}  // namespace

std::string CreateCertificateSigningRequest(const PrivateKey& key,
                                            const Identity& identity) {
  const internal::X509ReqPtr request(X509_REQ_new());
  CHECK(request != nullptr);
  const internal::X509NamePtr name =
      internal::MakeName(ToString(identity.role), identity.id);
  CHECK(X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) == 1);
  CHECK(X509_REQ_set_subject_name(request.get(), name.get()) == 1);
  CHECK(X509_REQ_set_pubkey(request.get(), key.handle()) == 1);
  const internal::ExtensionsPtr extensions(sk_X509_EXTENSION_new_null());
  CHECK(extensions != nullptr);
  CHECK(sk_X509_EXTENSION_push(
            extensions.get(),
            internal::MakeExtension(NID_subject_alt_name,
                                    StrCat("URI:", identity.ToUri()), nullptr,
                                    nullptr)
                .release()) > 0);
  CHECK(X509_REQ_add_extensions(request.get(), extensions.get()) == 1);
  CHECK(X509_REQ_sign(request.get(), key.handle(), EVP_sha256()) > 0)
      << internal::TakeOpenSslError();
  const internal::BioPtr bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr && PEM_write_bio_X509_REQ(bio.get(), request.get()) == 1)
      << internal::TakeOpenSslError();
  return internal::Contents(bio.get());
}

absl::StatusOr<CertificateSigningRequest> ParseCertificateSigningRequest(
    std::string_view pem) {
  if (pem.size() > kMaximumRequestBytes) {
    return absl::InvalidArgumentError(StrCat(kWhere, ": too large"));
  }
  const internal::BioPtr bio = internal::ReadOnly(pem);
  const internal::X509ReqPtr request(
      PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  EVP_PKEY* const key =
      request == nullptr ? nullptr : X509_REQ_get0_pubkey(request.get());
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        StrCat(kWhere, ": it holds no PEM request with a readable key"));
  }
  if (!internal::IsP256(key)) {
    return absl::InvalidArgumentError(
        StrCat(kWhere, ": its key is not on the curve P-256"));
  }
  const bool proven = X509_REQ_verify(request.get(), key) == 1;
  ERR_clear_error();
  if (!proven) {
    return absl::PermissionDeniedError(StrCat(
        kWhere,
        ": its signature does not fit its key, so the sender has not shown to "
        "hold the private key"));
  }
  const internal::GeneralNamesPtr names = AlternativeNames(request.get());
  ERR_clear_error();
  const absl::StatusOr<std::string> uri = internal::OnlyUri(names.get());
  if (!uri.ok()) return Annotate(uri.status(), kWhere);
  absl::StatusOr<Identity> identity = Identity::FromUri(*uri);
  if (!identity.ok()) return Annotate(identity.status(), kWhere);
  EVP_PKEY_up_ref(key);
  return CertificateSigningRequest{PublicKey::Adopt(key), *std::move(identity)};
}

}  // namespace mledge
