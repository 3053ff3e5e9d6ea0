#ifndef MLEDGE_CLIENT_MEMBER_REGISTRY_H_
#define MLEDGE_CLIENT_MEMBER_REGISTRY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/secagg/membership.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/certificate.h"
#include "mledge/v1/signature.pb.h"

// Whom a device believes to be another device: certificates of the registrar
// of its own root, as of the newest revocation list that it was shown. Lists
// reach it through the coordinator, which can withhold them and do nothing
// else: before there is one, and when it is stale, nobody is believed. Used by
// one thread at a time; one object may serve all sessions of a process (the
// simulator: of all its devices, since they trust the same root).

namespace mledge {

class MemberRegistry final : public secagg::MemberVerifier {
 public:
  // `issuers`: the registrar's certificates, which members need not send.
  // `least_number`: of the newest list that was seen before the last restart.
  MemberRegistry(Certificate root, std::vector<Certificate> issuers,
                 uint64_t least_number = 0);

  // Takes over a newer list; the one that is there already is a success.
  // PERMISSION_DENIED: not the registrar's, or older than one that was seen.
  // FAILED_PRECONDITION: stale. INVALID_ARGUMENT: malformed.
  absl::Status Update(const v1::SignedMessage& list, absl::Time now);
  // FAILED_PRECONDITION: there is no list, or it is stale.
  absl::Status CheckFresh(absl::Time now) const;
  // Of the newest list; to be kept across restarts.
  uint64_t list_number() const { return list_number_; }

  absl::StatusOr<secagg::MemberIdentity> Identify(
      std::span<const std::string> certificates, absl::Time now) override;
  absl::Status CheckSignature(const secagg::MemberIdentity& member,
                              std::string_view message,
                              std::string_view signature) override;

 private:
  const Certificate root_;
  const std::vector<Certificate> issuers_;
  uint64_t list_number_;
  absl::Time fresh_until_ = absl::InfinitePast();
  Digest list_digest_;  // of the newest list as it came
  std::optional<secagg::CertificateMembers> members_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_MEMBER_REGISTRY_H_
