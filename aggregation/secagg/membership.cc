#include "mledge/aggregation/secagg/membership.h"

#include <algorithm>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr size_t kMaximumCertificates = 3;
constexpr size_t kMaximumCertificateSize = 8192;
// A cache larger than any cohort is a leak.
constexpr size_t kMaximumVerified = 1 << 17;

Digest KeyOf(std::span<const std::string> certificates) {
  Sha256 hash;
  for (const std::string& certificate : certificates) {
    hash.UpdateField(certificate);
  }
  return hash.Finish();
}

}  // namespace

CertificateMembers::CertificateMembers(Certificate root,
                                       std::vector<Certificate> issuers,
                                       RevocationList list,
                                       absl::Duration list_maximum_age)
    : root_(std::move(root)),
      issuers_(std::move(issuers)),
      list_(std::move(list)),
      list_maximum_age_(list_maximum_age) {}

absl::Status CertificateMembers::SetRevocationList(RevocationList list) {
  if (list.number() < list_.number()) {
    return absl::PermissionDeniedError(
        StrCat("revocation list ", list.number(), " is older than list ",
               list_.number(), ", which is in use"));
  }
  list_ = std::move(list);
  return absl::OkStatus();
}

absl::StatusOr<MemberIdentity> CertificateMembers::Identify(
    std::span<const std::string> certificates, absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(list_.CheckFresh(now));
  if (now - list_.issued() > list_maximum_age_) {
    return absl::FailedPreconditionError(
        StrCat("the revocation list is of ",
               absl::FormatTime(list_.issued(), absl::UTCTimeZone()),
               ", older than the configured maximum of ",
               absl::FormatDuration(list_maximum_age_), "; fetch a newer one"));
  }
  if (certificates.empty() || certificates.size() > kMaximumCertificates) {
    return absl::InvalidArgumentError(StrCat(
        "a leaf with ", certificates.size(), " certificates, where 1 to ",
        kMaximumCertificates, " are expected"));
  }
  const Digest key = KeyOf(certificates);
  auto found = verified_.find(key);
  if (found == verified_.end()) {
    std::vector<Certificate> chain;
    for (const std::string& der : certificates) {
      if (der.size() > kMaximumCertificateSize) {
        return absl::InvalidArgumentError("a certificate is too large");
      }
      MLEDGE_ASSIGN_OR_RETURN(Certificate certificate,
                              Certificate::FromDer(der));
      chain.push_back(std::move(certificate));
    }
    chain.insert(chain.end(), issuers_.begin(), issuers_.end());
    MLEDGE_ASSIGN_OR_RETURN(const Identity identity,
                            VerifyChain(chain, root_, now));
    ++*signatures_verified_;
    if (identity.role != Role::kDevice) {
      return absl::PermissionDeniedError(
          StrCat(identity.ToString(), " is no device and may not take part"));
    }
    if (verified_.size() >= kMaximumVerified) verified_.clear();
    const PublicKey public_key = chain.front().public_key();
    // The issuers' validity counts as well; they outlive what they issue.
    absl::Time from = chain.front().not_before();
    absl::Time until = chain.front().not_after();
    found =
        verified_
            .emplace(
                key,
                Verified{chain.front(), {identity.id, public_key}, from, until})
            .first;
  }
  const Verified& verified = found->second;
  if (now < verified.valid_from || now > verified.valid_until) {
    return absl::PermissionDeniedError(
        StrCat("the certificate of device ", verified.member.id,
               " is not valid now; it has to be renewed"));
  }
  MLEDGE_RETURN_IF_ERROR(list_.Check(verified.certificate));
  return verified.member;
}

absl::Status CertificateMembers::CheckSignature(const MemberIdentity& member,
                                                std::string_view message,
                                                std::string_view signature) {
  if (!member.key.has_value()) {
    return absl::PermissionDeniedError(
        StrCat("device ", member.id, " has no key to verify with"));
  }
  ++*signatures_verified_;
  return Annotate(member.key->Verify(message, signature),
                  StrCat("signature of device ", member.id));
}

absl::StatusOr<std::unique_ptr<CertificateSigner>> CertificateSigner::Create(
    std::span<const Certificate> certificates, PrivateKey key) {
  if (certificates.empty() || certificates.size() > kMaximumCertificates) {
    return absl::InvalidArgumentError(
        StrCat("a device signs with 1 to ", kMaximumCertificates,
               " certificates, not with ", certificates.size()));
  }
  const Certificate& own = certificates.front();
  MLEDGE_ASSIGN_OR_RETURN(const Identity identity, own.identity());
  if (identity.role != Role::kDevice) {
    return absl::InvalidArgumentError(
        StrCat("the certificate is that of ", identity.ToString(),
               ", and only devices take part in secure aggregation"));
  }
  if (!(own.public_key() == key.public_key())) {
    return absl::InvalidArgumentError(StrCat(
        "the key does not belong to the certificate of ", identity.ToString()));
  }
  std::vector<std::string> encoded;
  for (const Certificate& certificate : certificates) {
    encoded.push_back(certificate.ToDer());
  }
  return std::unique_ptr<CertificateSigner>(
      new CertificateSigner(identity.id, std::move(encoded), std::move(key)));
}

}  // namespace mledge::secagg
