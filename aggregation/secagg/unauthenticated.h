#ifndef MLEDGE_AGGREGATION_SECAGG_UNAUTHENTICATED_H_
#define MLEDGE_AGGREGATION_SECAGG_UNAUTHENTICATED_H_

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mledge/aggregation/secagg/membership.h"

// Sessions without identities: everybody is believed. Protects against nobody
// but a coordinator that follows the protocol. Only for measuring what the
// protocol costs without signatures, beside systems that have none, and for
// simulations without cryptography; no configuration of a device or coordinator
// can ask for it, because only bench, simulator and tests include this file.

namespace mledge::secagg {

class UnauthenticatedMembers final : public MemberVerifier {
 public:
  absl::StatusOr<MemberIdentity> Identify(
      std::span<const std::string> certificates, absl::Time) override {
    if (certificates.size() != 1 || certificates[0].empty() ||
        certificates[0].size() > 128) {
      return absl::InvalidArgumentError("a leaf without a name");
    }
    return MemberIdentity{.id = certificates[0], .key = std::nullopt};
  }
  absl::Status CheckSignature(const MemberIdentity&, std::string_view,
                              std::string_view) override {
    return absl::OkStatus();
  }
};

// In place of certificates there is the bare name.
class UnauthenticatedSigner final : public MemberSigner {
 public:
  explicit UnauthenticatedSigner(std::string id)
      : id_(std::move(id)), certificates_({id_}) {}
  const std::string& id() const override { return id_; }
  const std::vector<std::string>& certificates() const override {
    return certificates_;
  }
  std::string Sign(std::string_view) const override { return ""; }

 private:
  const std::string id_;
  const std::vector<std::string> certificates_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_UNAUTHENTICATED_H_
