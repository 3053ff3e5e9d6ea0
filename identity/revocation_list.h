#ifndef MLEDGE_IDENTITY_REVOCATION_LIST_H_
#define MLEDGE_IDENTITY_REVOCATION_LIST_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/certificate_authority.h"
#include "mledge/v1/signature.pb.h"
#include "mledge/v1/witness.pb.h"

// The registrar's dated list of certificates that no longer hold. Whoever
// relies on certificates of others (a device on its neighbours', a server on
// its callers') keeps the newest list, and trusts nobody when it is stale.
// Immutable after parsing; const access from several threads is safe.

namespace mledge {

inline constexpr std::string_view kRevocationListContext = "revocation-list";

class RevocationList {
 public:
  // Reads and verifies a signed list: the signature is that of a registrar
  // whose certificate `root` issued and which holds at `now`. `least_number` is
  // that of the newest list seen so far, 0 if none.
  //
  // PERMISSION_DENIED: other context, signature that does not fit, signer that
  // is no registrar of this root, a number below `least_number` (somebody
  // replays an old list), a date in the future (a clock is wrong).
  // INVALID_ARGUMENT: malformed. A stale list parses: see CheckFresh.
  static absl::StatusOr<RevocationList> Parse(const v1::SignedMessage& message,
                                              const Certificate& root,
                                              absl::Time now,
                                              uint64_t least_number);

  // Signs what the fields say; what the registrar does.
  static v1::SignedMessage Sign(const v1::RevocationList& list,
                                const CertificateAuthority& registrar);

  // FAILED_PRECONDITION when the list no longer counts at `now`; the message
  // says since when and what to do.
  absl::Status CheckFresh(absl::Time now) const;
  // PERMISSION_DENIED when the certificate, or everything of its identity, is
  // revoked, or it was not issued by the registrar that signed this list.
  // INVALID_ARGUMENT: it has no identity. Freshness is a question of its own.
  absl::Status Check(const Certificate& certificate) const;

  uint64_t number() const { return number_; }
  absl::Time issued() const { return issued_; }
  absl::Time fresh_until() const { return fresh_until_; }
  // Serials as Certificate::serial() spells them, identities as URIs.
  const std::set<std::string, std::less<>>& serials() const { return serials_; }
  const std::set<std::string, std::less<>>& identities() const {
    return identities_;
  }

 private:
  explicit RevocationList(Certificate registrar);
  absl::Status Read(std::string_view payload);

  Certificate registrar_;
  uint64_t number_ = 0;
  absl::Time issued_;
  absl::Time fresh_until_;
  std::set<std::string, std::less<>> serials_;
  std::set<std::string, std::less<>> identities_;
};

// The newest list that a process has seen, and its answer for each certificate:
// fails closed when there is none or it is stale. Whoever restarts passes the
// number that it kept, so that an old list cannot come back meanwhile. Used by
// one thread at a time.
class NewestRevocationList {
 public:
  explicit NewestRevocationList(Certificate root, uint64_t least_number = 0)
      : root_(std::move(root)), least_number_(least_number) {}

  // Takes the list over unless it is refused (codes as RevocationList::Parse)
  // or stale (FAILED_PRECONDITION); then the one before stays.
  absl::Status Update(const v1::SignedMessage& message, absl::Time now);

  // FAILED_PRECONDITION: no list, or a stale one. Else as
  // RevocationList::Check.
  absl::Status Check(const Certificate& certificate, absl::Time now) const;

  // Of the newest list; to be kept across restarts.
  uint64_t number() const { return least_number_; }

 private:
  Certificate root_;
  uint64_t least_number_;
  std::optional<RevocationList> list_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_REVOCATION_LIST_H_
