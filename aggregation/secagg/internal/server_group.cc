#include "mledge/aggregation/secagg/internal/server_group.h"

#include <algorithm>
#include <utility>

#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {

ServerGroup::ServerGroup(Setup setup)
    : setup_(std::move(setup)),
      members_(setup_.devices.size()),
      alive_(setup_.parameters.devices),
      dead_(setup_.parameters.devices),
      liars_(setup_.devices.size()) {
  CHECK(setup_.devices.size() == setup_.parameters.devices);
  CHECK(setup_.leaves.size() == setup_.devices.size());
  for (uint32_t member = 0; member < members_.size(); ++member) {
    members_[member].neighbors = setup_.graph->Neighbors(member);
    member_of_[setup_.devices[member]] = member;
  }
}

absl::Status ServerGroup::CheckSession(std::string_view session) const {
  if (session != setup_.session.ToBytes()) {
    return absl::InvalidArgumentError("a message of another session");
  }
  return absl::OkStatus();
}

Round ServerGroup::CurrentRound() const {
  switch (state_) {
    case State::kSharing:
      return Round::kShareKeys;
    case State::kMasking:
      return Round::kMaskedInput;
    case State::kWitnessing:
    case State::kSigning:
    case State::kApproving:
      return Round::kConsistency;
    default:
      return Round::kUnmask;
  }
}

void ServerGroup::Lose(uint32_t member, Round round, std::string reason) {
  Member& lost = members_[member];
  if (lost.lost) return;
  lost.lost = true;
  if (state_ == State::kSharing) {
    // Its shares were given to nobody yet, so it costs nothing.
    lost.shared = false;
    lost.boxes.clear();
  }
  lost_.push_back({setup_.devices[member], round, std::move(reason)});
}

void ServerGroup::SendTo(uint32_t member, v1::SecaggServerMessage message,
                         ServerEffects& effects) const {
  effects.push_back(SendToDevices{
      {setup_.devices[member]},
      std::make_shared<const v1::SecaggServerMessage>(std::move(message))});
}

void ServerGroup::Start(absl::Time now, ServerEffects& effects) {
  deadline_ = now + setup_.options->share_time;
  if (setup_.one_directory_for_all) {
    effects.push_back(SendToDevices{setup_.devices, setup_.directory_for(0)});
    return;
  }
  for (uint32_t member = 0; member < members_.size(); ++member) {
    effects.push_back(
        SendToDevices{{setup_.devices[member]}, setup_.directory_for(member)});
  }
}

std::shared_ptr<const v1::SecaggServerMessage> ServerGroup::Pending(
    uint32_t member) const {
  const Member& waiting = members_[member];
  v1::SecaggServerMessage message;
  if (state_ == State::kAborted || state_ == State::kCheckpointed) {
    v1::SecaggOutcome& outcome = *message.mutable_outcome();
    outcome.set_session(setup_.session.ToBytes());
    outcome.set_outcome(state_ == State::kAborted ? v1::SecaggOutcome::ABORTED
                        : alive_.Contains(member)
                            ? v1::SecaggOutcome::COUNTED
                            : v1::SecaggOutcome::NOT_COUNTED);
  } else if (waiting.lost) {
    return nullptr;
  } else if (state_ == State::kSharing && !waiting.shared) {
    return setup_.directory_for(member);
  } else if (state_ == State::kMasking && waiting.shared &&
             !waiting.masked_input.has_value()) {
    message = BoxesFor(member);
  } else if (state_ == State::kSigning && alive_.Contains(member) &&
             !waiting.signature.has_value()) {
    message = SetsMessage();
  } else if (state_ == State::kUnmasking && waiting.signature.has_value() &&
             !waiting.unmasked) {
    message = SignaturesFor(member);
  } else {
    return nullptr;
  }
  return std::make_shared<const v1::SecaggServerMessage>(std::move(message));
}

void ServerGroup::OnConnected(const DeviceId& device, ServerEffects& effects) {
  const auto message = Pending(member_of_.at(device));
  if (message != nullptr) {
    effects.push_back(SendToDevices{{device}, message});
  }
}

absl::Status ServerGroup::OnMessage(absl::Time now, const DeviceId& device,
                                    const v1::SecaggDeviceMessage& message,
                                    ServerEffects& effects) {
  const uint32_t member = member_of_.at(device);
  if (message.has_leave()) {
    constexpr size_t kLongestReason = 200;
    Lose(member, CurrentRound(),
         StrCat("left: ", message.leave().reason().substr(0, kLongestReason)));
    Advance(now, /*deadline_passed=*/false, effects);
    return absl::OkStatus();
  }
  if (members_[member].lost) {
    return absl::FailedPreconditionError(
        "this device was lost earlier in the session");
  }
  absl::Status status;
  bool in_time = false;
  if (message.has_share_boxes()) {
    in_time = state_ == State::kSharing;
    if (in_time) status = OnShareBoxes(member, message.share_boxes());
  } else if (message.has_sets_signature()) {
    in_time = state_ == State::kSigning;
    if (in_time) status = OnSignature(member, message.sets_signature());
  } else if (message.has_unmask()) {
    in_time = state_ == State::kUnmasking;
    if (in_time) status = OnUnmask(member, message.unmask());
  } else {
    return absl::InvalidArgumentError("a message without contents");
  }
  if (!in_time) {
    return absl::FailedPreconditionError(
        StrCat("out of order or too late; the session is at ",
               ToString(CurrentRound())));
  }
  // Who sends what cannot be used is treated like who sends nothing. A message
  // that repeats or contradicts an earlier one changes nothing.
  if (!status.ok() && !absl::IsAlreadyExists(status)) {
    Lose(member, CurrentRound(), std::string(status.message()));
  }
  Advance(now, /*deadline_passed=*/false, effects);
  return status;
}

bool ServerGroup::Waiting() const {
  for (uint32_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (member.lost) continue;
    if (state_ == State::kSharing && !member.shared) return true;
    if (state_ == State::kMasking && member.shared &&
        !member.masked_input.has_value()) {
      return true;
    }
    if (state_ == State::kSigning && alive_.Contains(i) &&
        !member.signature.has_value()) {
      return true;
    }
    if (state_ == State::kUnmasking && member.signature.has_value() &&
        !member.unmasked) {
      return true;
    }
  }
  return false;
}

void ServerGroup::Advance(absl::Time now, bool deadline_passed,
                          ServerEffects& effects) {
  if (ended() || (!deadline_passed && Waiting())) return;
  switch (state_) {
    case State::kSharing:
      return CloseSharing(now, effects);
    case State::kMasking:
      return CloseMasking(now, effects);
    case State::kSigning:
      return CloseSigning(effects);
    case State::kUnmasking:
      return CloseUnmasking(effects);
    default:
      return;
  }
}

void ServerGroup::OnTimer(absl::Time now, ServerEffects& effects) {
  if (now < deadline_) return;
  if (state_ == State::kWitnessing) {
    return Abort(absl::DeadlineExceededError(
                     "the registrar did not witness the sets in time"),
                 effects);
  }
  Advance(now, /*deadline_passed=*/true, effects);
}

void ServerGroup::OnCheckpointed(ServerEffects& effects) {
  if (state_ != State::kFinished) return;
  state_ = State::kCheckpointed;
  for (uint32_t member = 0; member < members_.size(); ++member) {
    effects.push_back(SendToDevices{{setup_.devices[member]}, Pending(member)});
  }
}

void ServerGroup::Abort(absl::Status reason, ServerEffects& effects) {
  if (ended() || state_ == State::kFinished) return;
  state_ = State::kAborted;
  deadline_ = absl::InfiniteFuture();
  v1::SecaggServerMessage message;
  v1::SecaggOutcome& outcome = *message.mutable_outcome();
  outcome.set_session(setup_.session.ToBytes());
  outcome.set_outcome(v1::SecaggOutcome::ABORTED);
  outcome.set_reason(std::string(reason.message()));
  effects.push_back(SendToDevices{
      setup_.devices,
      std::make_shared<const v1::SecaggServerMessage>(std::move(message))});
  // Nothing of the session is of use any more.
  sum_.clear();
  for (Member& member : members_) {
    member.boxes.clear();
    member.shares.clear();
  }
  effects.push_back(GroupAborted{setup_.group, std::move(reason), lost_});
}

}  // namespace mledge::secagg
