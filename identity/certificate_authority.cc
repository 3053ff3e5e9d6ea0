#include "mledge/identity/certificate_authority.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "mledge/core/ids.h"
#include "mledge/core/logging.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/internal/openssl.h"

namespace mledge {
namespace {

namespace internal = identity_internal;

constexpr absl::Duration kBackdating = absl::Minutes(5);
constexpr absl::Duration kMinimumValidity = absl::Minutes(1);
constexpr absl::Duration kMaximumValidity = absl::Hours(24 * 36500);

// "DNS:name" or "IP:address".
absl::StatusOr<std::string> HostName(const std::string& host) {
  std::array<unsigned char, 16> address{};
  if (inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
      inet_pton(AF_INET6, host.c_str(), address.data()) == 1) {
    return StrCat("IP:", host);
  }
  const bool plain = !host.empty() && host.size() <= 253 &&
                     host.front() != '.' && host.front() != '-' &&
                     host.back() != '-' &&
                     std::all_of(host.begin(), host.end(), [](unsigned char c) {
                       return absl::ascii_isalnum(c) || c == '.' || c == '-';
                     });
  if (!plain) {
    return absl::InvalidArgumentError(StrCat(
        "\"", host,
        "\" is no host name or IP address (give it without port and scheme)"));
  }
  return StrCat("DNS:", host);
}

absl::StatusOr<std::string> AlternativeNames(const IssueOptions& options) {
  std::string names = StrCat("URI:", options.identity.ToUri());
  const Role role = options.identity.role;
  const bool is_called =
      role == Role::kCoordinator || role == Role::kRegistrarServer;
  if (!is_called && !options.hosts.empty()) {
    return absl::InvalidArgumentError(
        StrCat("a ", ToString(role),
               " has no host names; only a coordinator and the registrar are "
               "called"));
  }
  if (is_called && options.hosts.empty()) {
    return absl::InvalidArgumentError(
        StrCat("a ", ToString(role),
               " needs the host names under which devices reach it (--host)"));
  }
  for (const std::string& host : options.hosts) {
    MLEDGE_ASSIGN_OR_RETURN(const std::string name, HostName(host));
    StrAppend(&names, ",", name);
  }
  return names;
}

const char* ExtendedKeyUsage(Role role) {
  switch (role) {
    case Role::kRoot:
    case Role::kRegistrar:
      return nullptr;
    case Role::kCoordinator:
      return "serverAuth,clientAuth";
    case Role::kRegistrarServer:
      return "serverAuth";
    case Role::kModelSigner:
      return "codeSigning";
    case Role::kOperator:
    case Role::kEvaluator:
    case Role::kDevice:
      return "clientAuth";
  }
  return nullptr;
}

const char* BasicConstraints(Role role) {
  switch (role) {
    case Role::kRoot:
      return "critical,CA:TRUE,pathlen:1";
    case Role::kRegistrar:
      return "critical,CA:TRUE,pathlen:0";
    default:
      return "critical,CA:FALSE";
  }
}

void SetRandomSerial(X509* certificate) {
  std::array<uint8_t, 16> bytes{};
  SystemSecretRandom random;
  random.Fill(bytes);
  // Positive, and never shorter than sixteen bytes.
  bytes[0] = static_cast<uint8_t>((bytes[0] & 0x3f) | 0x40);
  BIGNUM* number = BN_bin2bn(bytes.data(), bytes.size(), nullptr);
  CHECK(number != nullptr &&
        BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) !=
            nullptr);
  BN_free(number);
}

// `issuer` null: self-signed.
absl::StatusOr<Certificate> Build(const PublicKey& key,
                                  const IssueOptions& options,
                                  const Certificate* issuer,
                                  const PrivateKey& issuer_key) {
  MLEDGE_RETURN_IF_ERROR(ValidateId("id", options.identity.id));
  MLEDGE_ASSIGN_OR_RETURN(const std::string names, AlternativeNames(options));
  const Role role = options.identity.role;
  const absl::Duration validity = options.validity == absl::ZeroDuration()
                                      ? DefaultValidity(role)
                                      : options.validity;
  if (validity < kMinimumValidity || validity > kMaximumValidity) {
    return absl::InvalidArgumentError(
        StrCat("a validity of ", absl::FormatDuration(validity),
               " is not between one minute and 36500 days"));
  }
  const bool issues = role == Role::kRoot || role == Role::kRegistrar;
  internal::X509Ptr built(X509_new());
  X509* const certificate = built.get();
  CHECK(certificate != nullptr);
  CHECK(X509_set_version(certificate, X509_VERSION_3) == 1);
  SetRandomSerial(certificate);
  const internal::X509NamePtr name =
      internal::MakeName(ToString(role), options.identity.id);
  CHECK(X509_set_subject_name(certificate, name.get()) == 1);
  CHECK(X509_set_issuer_name(
            certificate, issuer == nullptr
                             ? name.get()
                             : X509_get_subject_name(issuer->handle())) == 1);
  absl::Time end = options.now + validity;
  if (issuer != nullptr) end = std::min(end, issuer->not_after());
  CHECK(ASN1_TIME_set(X509_getm_notBefore(certificate),
                      absl::ToTimeT(options.now - kBackdating)) != nullptr);
  CHECK(ASN1_TIME_set(X509_getm_notAfter(certificate), absl::ToTimeT(end)) !=
        nullptr);
  CHECK(X509_set_pubkey(certificate, key.handle()) == 1);

  X509* const signer = issuer == nullptr ? certificate : issuer->handle();
  const auto add = [&](int nid, const std::string& value) {
    const internal::ExtensionPtr extension =
        internal::MakeExtension(nid, value, signer, certificate);
    CHECK(X509_add_ext(certificate, extension.get(), -1) == 1);
  };
  add(NID_basic_constraints, BasicConstraints(role));
  add(NID_key_usage,
      issues ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
  if (const char* usage = ExtendedKeyUsage(role)) add(NID_ext_key_usage, usage);
  add(NID_subject_key_identifier, "hash");
  if (issuer != nullptr) add(NID_authority_key_identifier, "keyid:always");
  add(NID_subject_alt_name, names);
  CHECK(X509_sign(certificate, issuer_key.handle(), EVP_sha256()) > 0)
      << internal::TakeOpenSslError();
  // Read back, so that nothing is remembered of how it was built.
  return Certificate::FromDer(Certificate::Adopt(built.release()).ToDer());
}

}  // namespace

absl::Duration DefaultValidity(Role role) {
  const absl::Duration day = absl::Hours(24);
  switch (role) {
    case Role::kRoot:
      return 3650 * day;
    case Role::kRegistrar:
      return 1825 * day;
    case Role::kModelSigner:
      return 730 * day;
    case Role::kCoordinator:
    case Role::kOperator:
    case Role::kEvaluator:
      return 365 * day;
    case Role::kRegistrarServer:
    case Role::kDevice:
      return 90 * day;
  }
  return 90 * day;
}

CertificateAuthority::CertificateAuthority(Certificate certificate,
                                           Identity identity, PrivateKey key)
    : certificate_(std::move(certificate)),
      identity_(std::move(identity)),
      key_(std::move(key)) {}

absl::StatusOr<CertificateAuthority> CertificateAuthority::Create(
    Certificate certificate, PrivateKey key) {
  MLEDGE_ASSIGN_OR_RETURN(Identity identity, certificate.identity());
  const bool role_issues =
      identity.role == Role::kRoot || identity.role == Role::kRegistrar;
  if (!role_issues || !certificate.can_issue()) {
    return absl::InvalidArgumentError(StrCat(
        "the certificate of ", identity.ToString(), " may not issue others"));
  }
  if (!(key.public_key() == certificate.public_key())) {
    return absl::InvalidArgumentError(
        StrCat("the private key does not belong to the certificate of ",
               identity.ToString()));
  }
  return CertificateAuthority(std::move(certificate), std::move(identity),
                              std::move(key));
}

absl::StatusOr<CertificateAuthority> CertificateAuthority::CreateRoot(
    const std::string& id, absl::Time now, absl::Duration validity) {
  PrivateKey key = PrivateKey::Generate();
  const IssueOptions options{
      .identity = {Role::kRoot, id}, .now = now, .validity = validity};
  MLEDGE_ASSIGN_OR_RETURN(
      Certificate certificate,
      Build(key.public_key(), options, /*issuer=*/nullptr, key));
  return Create(std::move(certificate), std::move(key));
}

absl::StatusOr<Certificate> CertificateAuthority::Issue(
    const PublicKey& key, const IssueOptions& options) const {
  const Role role = options.identity.role;
  const bool from_root = identity_.role == Role::kRoot;
  if (role == Role::kRoot || from_root != (role == Role::kRegistrar)) {
    return absl::InvalidArgumentError(StrCat(
        "a ", ToString(identity_.role), " issues no ", ToString(role),
        " certificates: the root issues registrars, a registrar the rest"));
  }
  if (!key.is_p256()) {
    return absl::InvalidArgumentError("the key is not on the curve P-256");
  }
  if (options.now < certificate_.not_before() ||
      options.now >= certificate_.not_after()) {
    return absl::FailedPreconditionError(StrCat(
        "the certificate of ", identity_.ToString(), " is not valid now (from ",
        absl::FormatTime(certificate_.not_before(), absl::UTCTimeZone()),
        " to ", absl::FormatTime(certificate_.not_after(), absl::UTCTimeZone()),
        "), so it can issue nothing"));
  }
  return Build(key, options, &certificate_, key_);
}

}  // namespace mledge
