#include <algorithm>

#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 3 on the device: both seeds in shares, one sealed box for each
// neighbour; then the neighbours' boxes.

namespace mledge::secagg {

absl::Status SecaggClient::ShareKeys() {
  Session& session = *session_;
  SecretRandom& random = *dependencies_.random;
  std::vector<ShareIndex> holders;
  for (const Neighbor& neighbor : session.neighbors) {
    holders.push_back(ShareIndex::OfMember(neighbor.member));
  }
  const int64_t threshold = session.parameters().threshold;
  MLEDGE_ASSIGN_OR_RETURN(
      std::vector<ShareValue> mask_key_shares,
      ShareSeed(session.secrets->mask_key_seed, threshold, holders, random));
  MLEDGE_ASSIGN_OR_RETURN(
      std::vector<ShareValue> self_mask_shares,
      ShareSeed(session.secrets->self_mask_seed, threshold, holders, random));

  v1::SecaggDeviceMessage message;
  v1::SecaggShareBoxes& boxes = *message.mutable_share_boxes();
  boxes.set_session(session.id.ToBytes());
  for (size_t i = 0; i < session.neighbors.size(); ++i) {
    Neighbor& neighbor = session.neighbors[i];
    MLEDGE_ASSIGN_OR_RETURN(
        const SharedSecret secret,
        session.secrets->transport_key.Agree(*neighbor.transport_key));
    neighbor.box_keys =
        secret.DeriveShareBoxKeys({.session = session.id,
                                   .own_index = session.member,
                                   .peer_index = neighbor.member});
    v1::SecaggBox& box = *boxes.add_boxes();
    box.set_member(neighbor.member);
    box.set_box(SealShares(
        session.offer.cipher, neighbor.box_keys->seal,
        {.session = session.id, .from = session.member, .to = neighbor.member},
        {.mask_key = std::move(mask_key_shares[i]),
         .self_mask = std::move(self_mask_shares[i])},
        random));
  }
  state_ = State::kShared;
  Send(std::move(message));
  return absl::OkStatus();
}

// A box that does not open is its sender's fault, or was meant for somebody
// else. Its sender's mask is applied all the same (it does not depend on the
// box); there is only nothing to release for it.
void SecaggClient::OpenBox(Neighbor& neighbor, const std::string& box) {
  neighbor.masked = true;
  absl::StatusOr<SharePair> shares =
      OpenShares(session_->offer.cipher, neighbor.box_keys->open,
                 {.session = session_->id,
                  .from = neighbor.member,
                  .to = session_->member},
                 box);
  if (shares.ok()) {
    neighbor.shares = *std::move(shares);
  } else {
    ++boxes_refused_;
  }
}

absl::Status SecaggClient::OnBoxes(const v1::SecaggBoxesMessage& message) {
  MLEDGE_RETURN_IF_ERROR(CheckSession(message.session()));
  Session& session = *session_;
  // With fewer neighbours its masks would be too few to hide behind, and its
  // seeds too few to be recovered.
  if (message.boxes_size() < static_cast<int>(session.parameters().threshold)) {
    return absl::FailedPreconditionError(
        StrCat("boxes of ", message.boxes_size(), " neighbors, where ",
               session.parameters().threshold, " are needed"));
  }
  int64_t previous = -1;
  for (const v1::SecaggBox& box : message.boxes()) {
    if (static_cast<int64_t>(box.member()) <= previous) {
      return absl::InvalidArgumentError(
          "boxes are not in the order of their senders");
    }
    previous = box.member();
    Neighbor* const neighbor = session.FindNeighbor(box.member());
    if (neighbor == nullptr) {
      return absl::InvalidArgumentError(
          StrCat("a box of member ", box.member(), ", who is no neighbor"));
    }
    OpenBox(*neighbor, box.box());
  }
  return MaskInput();
}

}  // namespace mledge::secagg
