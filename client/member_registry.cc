#include "mledge/client/member_registry.h"

#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/revocation_list.h"

namespace mledge {

MemberRegistry::MemberRegistry(Certificate root,
                               std::vector<Certificate> issuers,
                               uint64_t least_number)
    : root_(std::move(root)),
      issuers_(std::move(issuers)),
      list_number_(least_number) {}

absl::Status MemberRegistry::Update(const v1::SignedMessage& list,
                                    absl::Time now) {
  // It comes with every stream; its signatures are verified once.
  const Digest digest = Sha256Of(list.SerializeAsString());
  if (members_.has_value() && digest == list_digest_) return CheckFresh(now);
  MLEDGE_ASSIGN_OR_RETURN(
      RevocationList parsed,
      RevocationList::Parse(list, root_, now, list_number_));
  MLEDGE_RETURN_IF_ERROR(parsed.CheckFresh(now));
  const uint64_t number = parsed.number();
  const absl::Time fresh_until = parsed.fresh_until();
  if (members_.has_value()) {
    MLEDGE_RETURN_IF_ERROR(members_->SetRevocationList(std::move(parsed)));
  } else {
    // How old a list may grow is the registrar's to say, in the list.
    members_.emplace(root_, issuers_, std::move(parsed),
                     absl::InfiniteDuration());
  }
  list_number_ = number;
  fresh_until_ = fresh_until;
  list_digest_ = digest;
  return absl::OkStatus();
}

absl::Status MemberRegistry::CheckFresh(absl::Time now) const {
  if (!members_.has_value()) {
    return absl::FailedPreconditionError(
        "the coordinator has shown no revocation list of the registrar's; "
        "without one nobody is believed to be a device");
  }
  if (now < fresh_until_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("revocation list ", list_number_, " counted until ",
             absl::FormatTime(fresh_until_, absl::UTCTimeZone()),
             "; nobody is believed to be a device without a newer one: see "
             "that the coordinator reaches the registrar, and that this "
             "device's clock is right"));
}

absl::StatusOr<secagg::MemberIdentity> MemberRegistry::Identify(
    std::span<const std::string> certificates, absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(CheckFresh(now));
  return members_->Identify(certificates, now);
}

absl::Status MemberRegistry::CheckSignature(
    const secagg::MemberIdentity& member, std::string_view message,
    std::string_view signature) {
  if (!members_.has_value()) {
    return absl::FailedPreconditionError("nobody is believed to be a device");
  }
  return members_->CheckSignature(member, message, signature);
}

}  // namespace mledge
