#include <utility>

#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 3 on the device: both seeds in shares, one sealed box for each
// neighbour; then the neighbours' boxes.

namespace mledge::secagg {

absl::Status SecaggClient::ShareKeys(std::vector<NeighborKeys> neighbors) {
  Session& session = *session_;
  MLEDGE_ASSIGN_OR_RETURN(
      std::string boxes,
      session.secrets->SealShares(session.id, session.member,
                                  session.parameters().threshold,
                                  std::move(neighbors), *dependencies_.random));
  v1::SecaggDeviceMessage message;
  message.mutable_share_boxes()->set_session(session.id.ToBytes());
  message.mutable_share_boxes()->set_boxes(std::move(boxes));
  state_ = State::kShared;
  Send(std::move(message));
  return absl::OkStatus();
}

// A box that does not open is its sender's fault, or was meant for somebody
// else. Its sender's mask is applied all the same (it does not depend on the
// box); there is only nothing to release for it.
void SecaggClient::OpenBox(size_t neighbor, std::string_view box) {
  session_->neighbors[neighbor].masked = true;
  absl::StatusOr<SharePair> shares =
      session_->secrets->OpenShares(neighbor, box);
  if (shares.ok()) {
    session_->neighbors[neighbor].shares = *std::move(shares);
  } else {
    ++boxes_refused_;
  }
}

absl::Status SecaggClient::OnBoxes(const v1::SecaggBoxesMessage& message) {
  MLEDGE_RETURN_IF_ERROR(CheckSession(message.session()));
  Session& session = *session_;
  // With fewer neighbours its masks would be too few to hide behind, and its
  // seeds too few to be recovered.
  const auto& senders = message.senders();
  if (senders.size() < static_cast<int>(session.parameters().threshold)) {
    return absl::FailedPreconditionError(
        StrCat("boxes of ", senders.size(), " neighbors, where ",
               session.parameters().threshold, " are needed"));
  }
  if (message.boxes().size() != senders.size() * kShareBoxSize) {
    return absl::InvalidArgumentError(
        StrCat(message.boxes().size(), " bytes of boxes from ", senders.size(),
               " neighbors; a box has ", kShareBoxSize));
  }
  std::string_view boxes = message.boxes();
  int64_t previous = -1;
  for (const uint32_t sender : senders) {
    if (static_cast<int64_t>(sender) <= previous) {
      return absl::InvalidArgumentError(
          "boxes are not in the order of their senders");
    }
    previous = sender;
    Neighbor* const neighbor = session.FindNeighbor(sender);
    if (neighbor == nullptr) {
      return absl::InvalidArgumentError(
          StrCat("a box of member ", sender, ", who is no neighbor"));
    }
    OpenBox(session.NumberOf(*neighbor), boxes.substr(0, kShareBoxSize));
    boxes.remove_prefix(kShareBoxSize);
  }
  return MaskInput();
}

}  // namespace mledge::secagg
