#include "mledge/identity/revocation_list.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/internal/signed_bytes.h"
#include "mledge/identity/signing.h"

namespace mledge {
namespace {

constexpr std::string_view kWhat = "revocation list";
// Clocks err; certificates start as much earlier.
constexpr absl::Duration kClockTolerance = absl::Minutes(5);
constexpr size_t kMaximumSerialBytes = 20;

absl::Status Malformed(std::string_view why) {
  return absl::InvalidArgumentError(StrCat(kWhat, ": ", why));
}

std::string Show(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

// Each entry once, so that a list has one encoding.
template <typename Values>
bool Ascends(const Values& values) {
  return std::adjacent_find(values.begin(), values.end(),
                            [](const std::string& a, const std::string& b) {
                              return a >= b;
                            }) == values.end();
}

}  // namespace

RevocationList::RevocationList(Certificate registrar)
    : registrar_(std::move(registrar)) {}

v1::SignedMessage RevocationList::Sign(const v1::RevocationList& list,
                                       const CertificateAuthority& registrar) {
  return SignAsRegistrar(registrar, kRevocationListContext,
                         list.SerializeAsString());
}

absl::StatusOr<RevocationList> RevocationList::Parse(
    const v1::SignedMessage& message, const Certificate& root, absl::Time now,
    uint64_t least_number) {
  absl::StatusOr<Certificate> registrar =
      VerifyRegistrarMessage(message, kRevocationListContext, root, now);
  if (!registrar.ok()) return registrar.status();
  RevocationList list(*std::move(registrar));
  MLEDGE_RETURN_IF_ERROR(list.Read(message.payload()));
  if (list.number_ < least_number) {
    return absl::PermissionDeniedError(
        StrCat(kWhat, " ", list.number_, " is older than list ", least_number,
               ", which was seen before: somebody replays an old list, or the "
               "registrar lost its state and must be restored from a backup"));
  }
  if (list.issued_ > now + kClockTolerance) {
    return absl::PermissionDeniedError(
        StrCat(kWhat, " ", list.number_, " is dated ", Show(list.issued_),
               ", but it is ", Show(now),
               " here: check the clocks of this machine and of the registrar"));
  }
  return list;
}

absl::Status RevocationList::Read(std::string_view payload) {
  v1::RevocationList message;
  if (!message.ParseFromArray(payload.data(),
                              static_cast<int>(payload.size()))) {
    return Malformed("its payload is no list");
  }
  number_ = message.number();
  if (number_ == 0) return Malformed("its number is 0; they count from 1");
  const int64_t issued = message.issued_unix_milliseconds();
  const int64_t fresh_until = message.fresh_until_unix_milliseconds();
  if (issued < 0 || fresh_until <= issued ||
      fresh_until > identity_internal::kLatestMilliseconds) {
    return Malformed(StrCat("it counts from ", issued, " to ", fresh_until,
                            " ms, which is no span of time"));
  }
  issued_ = absl::FromUnixMillis(issued);
  fresh_until_ = absl::FromUnixMillis(fresh_until);
  if (!Ascends(message.serials()) || !Ascends(message.identities())) {
    return Malformed("its entries are not in ascending order");
  }
  for (const std::string& serial : message.serials()) {
    if (serial.empty() || serial.size() > kMaximumSerialBytes) {
      return Malformed(StrCat("a serial has ", serial.size(), " bytes"));
    }
    serials_.insert(serials_.end(), absl::BytesToHexString(serial));
  }
  for (const std::string& uri : message.identities()) {
    MLEDGE_RETURN_IF_ERROR(Annotate(Identity::FromUri(uri).status(), kWhat));
    identities_.insert(identities_.end(), uri);
  }
  return absl::OkStatus();
}

absl::Status RevocationList::CheckFresh(absl::Time now) const {
  if (now < fresh_until_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat(kWhat, " ", number_, " counted until ", Show(fresh_until_),
             " and it is ", Show(now),
             ": nobody's certificate is trusted without a newer one; see that "
             "the registrar runs and can be reached"));
}

absl::Status RevocationList::Check(const Certificate& certificate) const {
  MLEDGE_ASSIGN_OR_RETURN(const Identity identity, certificate.identity());
  const auto refused = [&](std::string_view why) {
    return absl::PermissionDeniedError(StrCat("certificate ",
                                              certificate.serial(), " of ",
                                              identity.ToString(), " ", why));
  };
  if (!certificate.names_issuer(registrar_)) {
    return refused(
        StrCat("was not issued by the registrar whose revocation list this is "
               "(",
               registrar_.subject(), "), so nothing is known of it"));
  }
  if (identities_.contains(identity.ToUri())) {
    return refused(
        StrCat("is worth nothing: all certificates of this identity were "
               "revoked (list ",
               number_, ")"));
  }
  if (serials_.contains(certificate.serial())) {
    return refused(StrCat("was revoked (list ", number_, ")"));
  }
  return absl::OkStatus();
}

absl::Status NewestRevocationList::Update(const v1::SignedMessage& message,
                                          absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(
      RevocationList list,
      RevocationList::Parse(message, root_, now, least_number_));
  MLEDGE_RETURN_IF_ERROR(list.CheckFresh(now));
  least_number_ = list.number();
  list_ = std::move(list);
  return absl::OkStatus();
}

absl::Status NewestRevocationList::Check(const Certificate& certificate,
                                         absl::Time now) const {
  if (!list_.has_value()) {
    return absl::FailedPreconditionError(
        "no revocation list has arrived yet, so nobody's certificate is "
        "trusted; see that the registrar runs and can be reached");
  }
  MLEDGE_RETURN_IF_ERROR(list_->CheckFresh(now));
  return list_->Check(certificate);
}

}  // namespace mledge
