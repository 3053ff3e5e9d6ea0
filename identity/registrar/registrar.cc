#include "mledge/identity/registrar/registrar.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr size_t kTokenBytes = 32;
constexpr absl::Duration kLongestToken = absl::Hours(24 * 30);
// Renewals of what was just issued are a fault of the caller's; what a device
// is given is counted against this many.
constexpr int64_t kMostCertificates = 1000;

absl::Status CheckIds(std::string_view field,
                      const std::vector<std::string>& ids) {
  if (ids.empty()) {
    return absl::InvalidArgumentError(
        StrCat(field, " names nobody; name at least one id"));
  }
  for (const std::string& id : ids) {
    MLEDGE_RETURN_IF_ERROR(ValidateId(field, id));
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const Registrar::Options& options) {
  MLEDGE_RETURN_IF_ERROR(CheckIds("operators", options.operators));
  MLEDGE_RETURN_IF_ERROR(CheckIds("coordinators", options.coordinators));
  if (options.certificate_validity < absl::Hours(1)) {
    return absl::InvalidArgumentError(
        StrCat("certificate_validity is ",
               absl::FormatDuration(options.certificate_validity),
               "; at least 1h, so that devices can renew in time"));
  }
  if (options.revocation_list_validity < absl::Minutes(1) ||
      options.revocation_list_validity > absl::Hours(24 * 365)) {
    return absl::InvalidArgumentError(
        StrCat("revocation_list_validity is ",
               absl::FormatDuration(options.revocation_list_validity),
               "; between 1m and 8760h"));
  }
  if (options.sessions_per_day < 1) {
    return absl::InvalidArgumentError(
        StrCat("sessions_per_day is ", options.sessions_per_day,
               "; at least 1, or nothing could ever be aggregated"));
  }
  if (options.certificates_per_identity < 2 ||
      options.certificates_per_identity > kMostCertificates) {
    return absl::InvalidArgumentError(StrCat("certificates_per_identity is ",
                                             options.certificates_per_identity,
                                             "; between 2 (a device that "
                                             "renews has two for a while) and ",
                                             kMostCertificates));
  }
  return absl::OkStatus();
}

absl::Status CheckIssuable(Role role) {
  if (role == Role::kDevice || role == Role::kEvaluator) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      StrCat("certificates for the role ", ToString(role),
             " are not issued over the network, only those of devices and "
             "evaluators; make it with `mledge pki issue` where the "
             "registrar's key is"));
}

Digest HashOfToken(std::string_view token) {
  return Sha256()
      .Update("mledge/v1/enrollment-token")
      .UpdateField(token)
      .Finish();
}

}  // namespace

Registrar::Registrar(Options options, Dependencies dependencies)
    : options_(std::move(options)),
      authority_(std::move(dependencies.authority)),
      witness_key_(std::move(dependencies.witness_key)),
      random_(dependencies.random),
      storage_(dependencies.storage) {}

absl::StatusOr<std::unique_ptr<Registrar>> Registrar::Create(
    Options options, Dependencies dependencies) {
  MLEDGE_RETURN_IF_ERROR(CheckOptions(options));
  MLEDGE_ASSIGN_OR_RETURN(const Identity identity,
                          dependencies.authority.certificate().identity());
  if (identity.role != Role::kRegistrar) {
    return absl::InvalidArgumentError(
        StrCat("the certificate that issues is that of ", identity.ToString(),
               "; a registrar's is needed (registrar.crt)"));
  }
  return std::unique_ptr<Registrar>(
      new Registrar(std::move(options), std::move(dependencies)));
}

absl::Status Registrar::CheckNotRevoked(const RegistrarCaller& caller) {
  MLEDGE_ASSIGN_OR_RETURN(const bool revoked,
                          storage_->IsRevoked(caller.serial, caller.identity));
  if (!revoked) return absl::OkStatus();
  return absl::PermissionDeniedError(StrCat("certificate ", caller.serial,
                                            " of ", caller.identity.ToString(),
                                            " was revoked"));
}

absl::Status Registrar::CheckCaller(const RegistrarCaller& caller) {
  MutexLock lock(&mutex_);
  return CheckNotRevoked(caller);
}

absl::Status Registrar::CheckRole(const RegistrarCaller& caller, Role role,
                                  const std::vector<std::string>& named,
                                  std::string_view what) {
  if (caller.identity.role != role) {
    return absl::PermissionDeniedError(
        StrCat("your certificate is that of ", caller.identity.ToString(),
               "; only the role ", ToString(role), " may do this"));
  }
  if (std::find(named.begin(), named.end(), caller.identity.id) ==
      named.end()) {
    return absl::PermissionDeniedError(
        StrCat(caller.identity.ToString(), " is not named under ", what,
               " in the registrar's configuration; add the id there if that "
               "is intended"));
  }
  return CheckNotRevoked(caller);
}

absl::StatusOr<Certificate> Registrar::Issue(const RegistrarCaller& caller,
                                             std::string_view csr_pem,
                                             absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(const CertificateSigningRequest request,
                          ParseCertificateSigningRequest(csr_pem));
  MutexLock lock(&mutex_);
  if (caller.identity.role == Role::kOperator) {
    MLEDGE_RETURN_IF_ERROR(
        CheckRole(caller, Role::kOperator, options_.operators, "operators"));
  } else {
    // A renewal.
    if (request.identity != caller.identity) {
      return absl::PermissionDeniedError(
          StrCat("the signing request is from ", request.identity.ToString(),
                 ", but you are ", caller.identity.ToString(),
                 ": only an operator asks for others"));
    }
    MLEDGE_RETURN_IF_ERROR(CheckNotRevoked(caller));
  }
  return IssueFor(request, caller.identity.ToString(), now, {});
}

absl::Status Registrar::CheckHoldsFewEnough(const Identity& identity,
                                            absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(
      const std::vector<IssuedCertificate> valid,
      storage_->ListIssued(
          {.identity = identity, .valid_at = now, .limit = INT64_MAX}));
  int64_t held = 0;
  for (const IssuedCertificate& each : valid) {
    MLEDGE_ASSIGN_OR_RETURN(const bool revoked,
                            storage_->IsRevoked(each.serial, identity));
    held += revoked ? 0 : 1;
  }
  if (held < options_.certificates_per_identity) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      StrCat(identity.ToString(), " holds ", held,
             " valid certificates, as many as certificates_per_identity "
             "allows; the first expires on ",
             absl::FormatTime(valid.front().not_after, absl::UTCTimeZone()),
             ", and an operator can revoke those that are not in use"));
}

absl::StatusOr<Certificate> Registrar::IssueFor(
    const CertificateSigningRequest& request, std::string issued_by,
    absl::Time now, RegistrarTransaction transaction) {
  const Identity& identity = request.identity;
  MLEDGE_RETURN_IF_ERROR(CheckIssuable(identity.role));
  MLEDGE_ASSIGN_OR_RETURN(const bool revoked,
                          storage_->IsRevoked("", identity));
  if (revoked) {
    return absl::PermissionDeniedError(
        StrCat(identity.ToString(),
               " was revoked as a whole, for ever: enroll the device under "
               "another id"));
  }
  MLEDGE_RETURN_IF_ERROR(CheckHoldsFewEnough(identity, now));
  MLEDGE_ASSIGN_OR_RETURN(
      Certificate certificate,
      authority_.Issue(request.public_key,
                       {.identity = identity,
                        .now = now,
                        .validity = options_.certificate_validity}));
  transaction.issued =
      IssuedCertificate{.serial = certificate.serial(),
                        .identity = identity,
                        .issued_at = now,
                        .not_after = certificate.not_after(),
                        .issued_by = std::move(issued_by),
                        .certificate_der = certificate.ToDer()};
  MLEDGE_RETURN_IF_ERROR(storage_->Commit(transaction));
  return certificate;
}

absl::StatusOr<std::string> Registrar::CreateToken(
    const RegistrarCaller& caller, const Identity& identity,
    absl::Time expires_at, absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(CheckIssuable(identity.role));
  MLEDGE_RETURN_IF_ERROR(ValidateId("id", identity.id));
  if (expires_at <= now || expires_at > now + kLongestToken) {
    return absl::InvalidArgumentError(
        StrCat("a token must expire between now and 30 days from now, not at ",
               absl::FormatTime(expires_at, absl::UTCTimeZone())));
  }
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(
      CheckRole(caller, Role::kOperator, options_.operators, "operators"));
  const SecretBytes bytes = random_->Bytes(kTokenBytes);
  const std::span<const uint8_t> view = bytes.bytes(RevealSecret());
  std::string token;
  absl::WebSafeBase64Escape(
      absl::string_view(reinterpret_cast<const char*>(view.data()),
                        view.size()),
      &token);
  RegistrarTransaction transaction;
  transaction.token = EnrollmentToken{.token_sha256 = HashOfToken(token),
                                      .identity = identity,
                                      .expires_at = expires_at,
                                      .made_by = caller.identity.ToString()};
  MLEDGE_RETURN_IF_ERROR(storage_->Commit(transaction));
  return token;
}

absl::StatusOr<Certificate> Registrar::Enroll(std::string_view token,
                                              std::string_view csr_pem,
                                              absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(const CertificateSigningRequest request,
                          ParseCertificateSigningRequest(csr_pem));
  MutexLock lock(&mutex_);
  MLEDGE_ASSIGN_OR_RETURN(std::optional<EnrollmentToken> stored,
                          storage_->FindToken(HashOfToken(token)));
  if (!stored.has_value() || stored->used || now >= stored->expires_at ||
      stored->identity != request.identity) {
    return absl::PermissionDeniedError(
        "the token is not known, was used, has expired, or is for another "
        "identity than the signing request; ask an operator for a new one "
        "(mledge pki token)");
  }
  stored->used = true;
  RegistrarTransaction transaction;
  transaction.token = *stored;
  return IssueFor(request, StrCat("token of ", stored->made_by), now,
                  std::move(transaction));
}

absl::StatusOr<std::vector<IssuedCertificate>> Registrar::ListIssued(
    const RegistrarCaller& caller, const RegistrarStorage::IssuedQuery& query) {
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(
      CheckRole(caller, Role::kOperator, options_.operators, "operators"));
  return storage_->ListIssued(query);
}

}  // namespace mledge
