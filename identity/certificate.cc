#include "mledge/identity/certificate.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/internal/openssl.h"

namespace mledge {
namespace {

namespace internal = identity_internal;

constexpr std::string_view kPemBegin = "-----BEGIN ";

// A certificate without a usable key or with broken extensions would fail
// later, at less obvious places.
absl::StatusOr<Certificate> Checked(internal::X509Ptr handle) {
  const bool usable =
      X509_get0_pubkey(handle.get()) != nullptr &&
      X509_check_purpose(handle.get(), -1, 0) == 1 &&
      (X509_get_extension_flags(handle.get()) & EXFLAG_INVALID) == 0;
  ERR_clear_error();
  if (!usable) {
    return absl::InvalidArgumentError(
        "the certificate's key or extensions cannot be read");
  }
  return Certificate::Adopt(handle.release());
}

absl::Time FromAsn1(const ASN1_TIME* time, absl::Time when_unreadable) {
  std::tm broken_down{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &broken_down) != 1) {
    ERR_clear_error();
    return when_unreadable;
  }
  return absl::FromTM(broken_down, absl::UTCTimeZone());
}

internal::GeneralNamesPtr AlternativeNames(const X509* certificate) {
  return internal::GeneralNamesPtr(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
}

std::string Bytes(const ASN1_STRING* value) {
  return std::string(
      reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
      static_cast<size_t>(ASN1_STRING_length(value)));
}

}  // namespace

Certificate::Certificate(std::shared_ptr<X509> handle)
    : handle_(std::move(handle)) {}

Certificate Certificate::Adopt(X509* handle) {
  CHECK(handle != nullptr);
  return Certificate(std::shared_ptr<X509>(handle, X509_free));
}

absl::StatusOr<Certificate> Certificate::FromPem(std::string_view pem) {
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                          ParsePemChain(pem));
  if (chain.size() != 1) {
    return absl::InvalidArgumentError(
        StrCat("expected one certificate, found ", chain.size()));
  }
  return chain[0];
}

absl::StatusOr<Certificate> Certificate::FromDer(std::string_view der) {
  const auto* position = reinterpret_cast<const unsigned char*>(der.data());
  const auto* const end = position + der.size();
  if (der.size() > kMaximumPemBytes) {
    return absl::InvalidArgumentError("too large to be a certificate");
  }
  internal::X509Ptr handle(
      d2i_X509(nullptr, &position, static_cast<long>(der.size())));  // NOLINT
  const std::string reason = internal::TakeOpenSslError();
  if (handle == nullptr || position != end) {
    return absl::InvalidArgumentError(
        StrCat("not a DER certificate", reason.empty() ? "" : ": ", reason));
  }
  return Checked(std::move(handle));
}

std::string Certificate::ToPem() const {
  const internal::BioPtr bio(BIO_new(BIO_s_mem()));
  CHECK(bio != nullptr && PEM_write_bio_X509(bio.get(), handle_.get()) == 1)
      << internal::TakeOpenSslError();
  return internal::Contents(bio.get());
}

std::string Certificate::ToDer() const {
  unsigned char* der = nullptr;
  const int size = i2d_X509(handle_.get(), &der);
  CHECK(size > 0) << internal::TakeOpenSslError();
  std::string bytes(reinterpret_cast<const char*>(der),
                    static_cast<size_t>(size));
  OPENSSL_free(der);
  return bytes;
}

absl::StatusOr<Identity> Certificate::identity() const {
  const internal::GeneralNamesPtr names = AlternativeNames(handle_.get());
  ERR_clear_error();
  absl::StatusOr<std::string> uri = internal::OnlyUri(names.get());
  if (!uri.ok()) {
    return Annotate(uri.status(), StrCat("certificate ", subject()));
  }
  absl::StatusOr<Identity> identity = Identity::FromUri(*uri);
  if (!identity.ok()) {
    return Annotate(identity.status(), StrCat("certificate ", subject()));
  }
  return identity;
}

std::vector<std::string> Certificate::hosts() const {
  std::vector<std::string> hosts;
  const internal::GeneralNamesPtr names = AlternativeNames(handle_.get());
  ERR_clear_error();
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      hosts.push_back(absl::CHexEscape(Bytes(name->d.dNSName)));
    } else if (name->type == GEN_IPADD) {
      const std::string address = Bytes(name->d.iPAddress);
      char text[INET6_ADDRSTRLEN] = "?";
      const int family = address.size() == 4 ? AF_INET : AF_INET6;
      if (address.size() == 4 || address.size() == 16) {
        inet_ntop(family, address.data(), text, sizeof(text));
      }
      hosts.push_back(text);
    }
  }
  return hosts;
}

// An unreadable date makes the certificate never valid.
absl::Time Certificate::not_before() const {
  return FromAsn1(X509_get0_notBefore(handle_.get()), absl::InfiniteFuture());
}

absl::Time Certificate::not_after() const {
  return FromAsn1(X509_get0_notAfter(handle_.get()), absl::InfinitePast());
}

std::string Certificate::subject() const {
  return internal::NameToString(X509_get_subject_name(handle_.get()));
}

std::string Certificate::issuer() const {
  return internal::NameToString(X509_get_issuer_name(handle_.get()));
}

std::string Certificate::serial() const {
  return absl::BytesToHexString(Bytes(X509_get0_serialNumber(handle_.get())));
}

bool Certificate::can_issue() const {
  return X509_check_ca(handle_.get()) == 1;
}

bool Certificate::names_issuer(const Certificate& issuer) const {
  const bool named =
      X509_check_issued(issuer.handle(), handle_.get()) == X509_V_OK;
  ERR_clear_error();
  return named;
}

Digest Certificate::fingerprint() const { return Sha256Of(ToDer()); }

PublicKey Certificate::public_key() const {
  return PublicKey::Adopt(X509_get_pubkey(handle_.get()));
}

absl::StatusOr<std::vector<Certificate>> ParsePemChain(std::string_view pem) {
  if (pem.size() > kMaximumPemBytes) {
    return absl::InvalidArgumentError("too large for a file of certificates");
  }
  if (pem.find("PRIVATE KEY-----") != std::string_view::npos) {
    return absl::InvalidArgumentError(
        "it holds a private key, where certificates are expected; keep the key "
        "in a file of its own");
  }
  size_t blocks = 0;
  for (size_t at = pem.find(kPemBegin); at != std::string_view::npos;
       at = pem.find(kPemBegin, at + 1)) {
    ++blocks;
  }
  if (blocks == 0) {
    return absl::InvalidArgumentError("it holds no PEM certificate");
  }
  if (blocks > kMaximumChainLength) {
    return absl::InvalidArgumentError(StrCat("it holds ", blocks,
                                             " certificates; at most ",
                                             kMaximumChainLength, " are read"));
  }
  const internal::BioPtr bio = internal::ReadOnly(pem);
  std::vector<Certificate> chain;
  for (size_t i = 0; i < blocks; ++i) {
    internal::X509Ptr handle(
        PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    const std::string reason = internal::TakeOpenSslError();
    if (handle == nullptr) {
      return absl::InvalidArgumentError(
          StrCat("PEM block ", i + 1, " is no certificate",
                 reason.empty() ? "" : ": ", reason));
    }
    MLEDGE_ASSIGN_OR_RETURN(Certificate certificate,
                            Checked(std::move(handle)));
    chain.push_back(std::move(certificate));
  }
  return chain;
}

absl::StatusOr<Certificate> ParseRoot(std::string_view pem) {
  MLEDGE_ASSIGN_OR_RETURN(Certificate root, Certificate::FromPem(pem));
  const bool self_signed = X509_self_signed(root.handle(), 1) == 1;
  ERR_clear_error();
  if (!self_signed || !root.can_issue()) {
    return absl::InvalidArgumentError(
        StrCat("certificate ", root.subject(),
               self_signed ? " may not issue others" : " is not self-signed",
               ", so it is no root; use the file root.pem or root.crt"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const Identity identity, root.identity());
  if (identity.role != Role::kRoot) {
    return absl::InvalidArgumentError(
        StrCat("certificate ", root.subject(), " is that of ",
               identity.ToString(), ", not of a root"));
  }
  return root;
}

absl::StatusOr<Identity> IdentityFromPem(std::string_view pem) {
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                          ParsePemChain(pem));
  MLEDGE_ASSIGN_OR_RETURN(Identity identity, chain[0].identity());
  if (identity.role == Role::kRoot || identity.role == Role::kRegistrar) {
    return absl::PermissionDeniedError(
        StrCat("the certificate of ", identity.ToString(),
               " is for issuing, not for connecting"));
  }
  return identity;
}

}  // namespace mledge
