#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 6 on the device: one kind of share for each neighbour, decided once and
// on disk before it leaves.

namespace mledge::secagg {

absl::Status SecaggClient::ReleaseShares() {
  Session& session = *session_;
  session.unmask.set_session(session.id.ToBytes());
  for (Neighbor& neighbor : session.neighbors) {
    if (!neighbor.shares.has_value()) continue;
    const ShareValue& value = session.alive->Contains(neighbor.member)
                                  ? neighbor.shares->self_mask
                                  : neighbor.shares->mask_key;
    const auto bytes = value.bytes(RevealSecret());
    session.unmask.add_members(neighbor.member);
    session.unmask.mutable_shares()->append(
        reinterpret_cast<const char*>(bytes.data()), bytes.size());
    // The other kind is never needed and never leaves the device.
    neighbor.shares.reset();
  }
  state_ = State::kReleasing;
  Persist(PersistJournal::MaskedInput::kKeep);
  return absl::OkStatus();
}

absl::Status SecaggClient::OnOutcome(const v1::SecaggOutcome& message) {
  if (!message.session().empty()) {
    MLEDGE_RETURN_IF_ERROR(CheckSession(message.session()));
  }
  constexpr size_t kLongestReason = 1000;
  const std::string reason = message.reason().substr(0, kLongestReason);
  switch (message.outcome()) {
    case v1::SecaggOutcome::COUNTED:
      if (!update_spent_) {
        return absl::InvalidArgumentError(
            "the outcome counts an update that was never sent");
      }
      Finish(ClientFinished::Outcome::kCounted, absl::OkStatus());
      return absl::OkStatus();
    case v1::SecaggOutcome::NOT_COUNTED:
      Finish(ClientFinished::Outcome::kNotCounted, absl::AbortedError(reason));
      return absl::OkStatus();
    case v1::SecaggOutcome::ABORTED:
      Finish(ClientFinished::Outcome::kAborted, absl::AbortedError(reason));
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError("an outcome that is none");
  }
}

}  // namespace mledge::secagg
