#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "mledge/core/ids.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/registrar/registrar.h"
#include "mledge/identity/revocation_list.h"
#include "mledge/v1/witness.pb.h"

namespace mledge {
namespace {

constexpr size_t kSerialDigits = 32;
constexpr size_t kMostReasonBytes = 256;
// An entry stays for so long after its certificate expired, for peers whose
// clocks are behind.
constexpr absl::Duration kAfterExpiry = absl::Hours(24);

absl::Status CheckReason(const std::string& reason) {
  const bool printable =
      std::none_of(reason.begin(), reason.end(),
                   [](unsigned char c) { return absl::ascii_iscntrl(c); });
  if (reason.size() <= kMostReasonBytes && printable) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("the reason is one line of at most ", kMostReasonBytes,
             " bytes without control characters"));
}

}  // namespace

absl::StatusOr<StoredRevocationList> Registrar::MakeRevocationList(
    const std::vector<Revocation>& added, absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(std::vector<Revocation> all,
                          storage_->ListRevocations());
  all.insert(all.end(), added.begin(), added.end());
  std::set<std::string> serials, identities;
  for (const Revocation& revocation : all) {
    if (revocation.serial.empty()) {
      identities.insert(revocation.identity->ToUri());
    } else if (revocation.not_after + kAfterExpiry > now) {
      serials.insert(absl::HexStringToBytes(revocation.serial));
    }
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<StoredRevocationList> last,
                          storage_->FindRevocationList());
  StoredRevocationList made;
  made.number = last.has_value() ? last->number + 1 : 1;
  made.issued = now;
  v1::RevocationList list;
  list.set_number(made.number);
  list.set_issued_unix_milliseconds(absl::ToUnixMillis(now));
  list.set_fresh_until_unix_milliseconds(
      absl::ToUnixMillis(now + options_.revocation_list_validity));
  list.mutable_serials()->Assign(serials.begin(), serials.end());
  list.mutable_identities()->Assign(identities.begin(), identities.end());
  made.signed_message =
      RevocationList::Sign(list, authority_).SerializeAsString();
  return made;
}

absl::StatusOr<v1::SignedMessage> Registrar::CurrentRevocationList(
    absl::Time now) {
  MutexLock lock(&mutex_);
  MLEDGE_ASSIGN_OR_RETURN(std::optional<StoredRevocationList> list,
                          storage_->FindRevocationList());
  // Also when the clock was set back: a list from the future is believed by
  // nobody.
  if (!list.has_value() || now < list->issued ||
      now - list->issued >= options_.revocation_list_validity / 4) {
    MLEDGE_ASSIGN_OR_RETURN(list, MakeRevocationList({}, now));
    RegistrarTransaction transaction;
    transaction.revocation_list = list;
    MLEDGE_RETURN_IF_ERROR(storage_->Commit(transaction));
  }
  v1::SignedMessage message;
  if (!message.ParseFromString(list->signed_message)) {
    return absl::DataLossError(
        StrCat("the stored revocation list ", list->number,
               " is damaged: restore the state directory from a backup"));
  }
  return message;
}

absl::StatusOr<uint64_t> Registrar::Revoke(Revocation revocation,
                                           absl::Time now) {
  const Identity whose = revocation.identity.value_or(Identity{});
  MLEDGE_ASSIGN_OR_RETURN(const bool revoked,
                          storage_->IsRevoked(revocation.serial, whose));
  RegistrarTransaction transaction;
  if (!revoked) transaction.revocations.push_back(std::move(revocation));
  // A new list also for what was revoked before: the answer names a list that
  // certainly says so.
  MLEDGE_ASSIGN_OR_RETURN(transaction.revocation_list,
                          MakeRevocationList(transaction.revocations, now));
  MLEDGE_RETURN_IF_ERROR(storage_->Commit(transaction));
  return transaction.revocation_list->number;
}

absl::StatusOr<uint64_t> Registrar::RevokeSerial(const RegistrarCaller& caller,
                                                 const std::string& serial,
                                                 const std::string& reason,
                                                 absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(CheckReason(reason));
  const std::string lower = absl::AsciiStrToLower(serial);
  if (lower.size() != kSerialDigits ||
      !std::all_of(lower.begin(), lower.end(),
                   [](unsigned char c) { return absl::ascii_isxdigit(c); })) {
    return absl::InvalidArgumentError(
        StrCat("\"", serial,
               "\" is no serial number: 32 hexadecimal digits, "
               "as `mledge pki show` prints them"));
  }
  if (lower == authority_.certificate().serial()) {
    return absl::InvalidArgumentError(
        "that is the registrar's own serial number; a registrar is replaced "
        "with the root's key, not revoked");
  }
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(
      CheckRole(caller, Role::kOperator, options_.operators, "operators"));
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<IssuedCertificate> issued,
                          storage_->FindIssued(lower));
  Revocation revocation{.serial = lower,
                        .revoked_at = now,
                        .revoked_by = caller.identity.ToString(),
                        .reason = reason};
  // One that the registrar does not know of was issued with `mledge pki issue`.
  if (issued.has_value()) revocation.not_after = issued->not_after;
  return Revoke(std::move(revocation), now);
}

absl::StatusOr<uint64_t> Registrar::RevokeIdentity(
    const RegistrarCaller& caller, const Identity& identity,
    const std::string& reason, absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(CheckReason(reason));
  MLEDGE_RETURN_IF_ERROR(ValidateId("id", identity.id));
  if (identity.role == Role::kRoot || identity.role == Role::kRegistrar) {
    return absl::InvalidArgumentError(
        StrCat("a ", ToString(identity.role),
               " is replaced (with the root's key), not revoked"));
  }
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(
      CheckRole(caller, Role::kOperator, options_.operators, "operators"));
  return Revoke({.identity = identity,
                 .revoked_at = now,
                 .revoked_by = caller.identity.ToString(),
                 .reason = reason},
                now);
}

absl::StatusOr<std::vector<Revocation>> Registrar::ListRevocations(
    const RegistrarCaller& caller) {
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(
      CheckRole(caller, Role::kOperator, options_.operators, "operators"));
  return storage_->ListRevocations();
}

}  // namespace mledge
