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

void ServerGroup::Start(absl::Time now, ServerEffects& effects) {
  deadline_ = now + setup_.options->share_time;
  effects.push_back(SendToDevices{setup_.devices, setup_.directory});
}

v1::SecaggServerMessage::MessageCase ServerGroup::Pending(
    uint32_t member) const {
  if (ended()) return v1::SecaggServerMessage::kOutcome;
  if (!WaitsFor(member)) return v1::SecaggServerMessage::MESSAGE_NOT_SET;
  switch (state_) {
    case State::kSharing:
      return v1::SecaggServerMessage::kDirectory;
    case State::kMasking:
      return v1::SecaggServerMessage::kBoxes;
    case State::kSigning:
      return v1::SecaggServerMessage::kSets;
    default:
      return v1::SecaggServerMessage::kSignatures;
  }
}

bool ServerGroup::MessageFor(const DeviceId& device,
                             v1::SecaggServerMessage& message) const {
  const uint32_t member = member_of_.at(device);
  switch (Pending(member)) {
    case v1::SecaggServerMessage::kDirectory:
      if (setup_.directory != nullptr) {
        message = *setup_.directory;
      } else {
        setup_.show_directory(member, members_[member].neighbors,
                              *message.mutable_directory());
      }
      return true;
    case v1::SecaggServerMessage::kBoxes:
      WriteBoxes(member, *message.mutable_boxes());
      return true;
    case v1::SecaggServerMessage::kSets:
      WriteSets(*message.mutable_sets());
      return true;
    case v1::SecaggServerMessage::kSignatures:
      WriteSignatures(member, *message.mutable_signatures());
      return true;
    case v1::SecaggServerMessage::kOutcome:
      WriteOutcome(member, *message.mutable_outcome());
      return true;
    default:
      return false;
  }
}

void ServerGroup::WriteOutcome(uint32_t member,
                               v1::SecaggOutcome& message) const {
  message.Clear();
  message.set_session(setup_.session.ToBytes());
  message.set_outcome(state_ == State::kAborted ? v1::SecaggOutcome::ABORTED
                      : alive_.Contains(member)
                          ? v1::SecaggOutcome::COUNTED
                          : v1::SecaggOutcome::NOT_COUNTED);
}

void ServerGroup::OnConnected(const DeviceId& device, ServerEffects& effects) {
  if (Pending(member_of_.at(device)) !=
      v1::SecaggServerMessage::MESSAGE_NOT_SET) {
    effects.push_back(SendToDevices{{device}, nullptr});
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

bool ServerGroup::WaitsFor(uint32_t index) const {
  const Member& member = members_[index];
  if (member.lost) return false;
  switch (state_) {
    case State::kSharing:
      return !member.shared;
    case State::kMasking:
      return member.shared && !member.masked_input.has_value();
    case State::kSigning:
      return alive_.Contains(index) && !member.signature.has_value();
    case State::kUnmasking:
      return member.signature.has_value() && !member.unmasked;
    default:
      return false;
  }
}

// Who has answered or is lost is not waited for again in the same state, so
// that a round looks at each member once and not at all of them with each
// message.
bool ServerGroup::Waiting() {
  if (asked_state_ != state_) {
    asked_state_ = state_;
    answered_ = 0;
  }
  while (answered_ < members_.size() && !WaitsFor(answered_)) ++answered_;
  return answered_ < members_.size();
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
  effects.push_back(SendToDevices{setup_.devices, nullptr});
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
