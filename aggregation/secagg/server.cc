#include "mledge/aggregation/secagg/server.h"

#include <algorithm>
#include <utility>

#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {

std::string_view ToString(Round round) {
  switch (round) {
    case Round::kAdvertise:
      return "advertise";
    case Round::kDirectory:
      return "directory";
    case Round::kShareKeys:
      return "share keys";
    case Round::kMaskedInput:
      return "masked input";
    case Round::kConsistency:
      return "consistency";
    case Round::kUnmask:
      return "unmask";
  }
  return "unknown";
}

SecaggServer::SecaggServer(ServerOptions options, Offer offer,
                           Dependencies dependencies)
    : options_(std::move(options)),
      offer_(std::move(offer)),
      dependencies_(std::move(dependencies)) {}

SecaggServer::~SecaggServer() = default;

ServerGroup* SecaggServer::GroupOf(const DeviceId& device) const {
  const auto found = group_of_.find(device);
  return found == group_of_.end() || groups_.empty()
             ? nullptr
             : groups_[found->second].get();
}

const ServerGroup* SecaggServer::group(uint32_t group) const {
  return group < groups_.size() ? groups_[group].get() : nullptr;
}

bool SecaggServer::MessageFor(const SendToDevices& effect,
                              const DeviceId& device,
                              v1::SecaggServerMessage& message) const {
  if (effect.message != nullptr) {
    message = *effect.message;
    return true;
  }
  const ServerGroup* const group = GroupOf(device);
  return group != nullptr && group->MessageFor(device, message);
}

bool SecaggServer::finished() const {
  if (state_ == State::kAborted) return true;
  return !groups_.empty() &&
         std::all_of(groups_.begin(), groups_.end(),
                     [](const auto& group) { return group->ended(); });
}

void SecaggServer::Wake(ServerEffects& effects) const {
  absl::Time earliest = deadline_;
  for (const auto& group : groups_) {
    if (!group->ended()) earliest = std::min(earliest, group->deadline());
  }
  if (!finished() && earliest != absl::InfiniteFuture()) {
    effects.emplace_back(WakeServerAt{earliest});
  }
}

ServerEffects SecaggServer::Start(absl::Time now) {
  ServerEffects effects;
  deadline_ = now + options_.advertise_time;
  Wake(effects);
  return effects;
}

ServerReaction SecaggServer::OnMessage(absl::Time now, const DeviceId& device,
                                       const v1::SecaggDeviceMessage& message) {
  ServerReaction reaction;
  reaction.status = RefuseUnknownFields("message of a device", message);
  if (!reaction.status.ok()) return reaction;
  if (ServerGroup* const group = GroupOf(device); group != nullptr) {
    if (!message.has_advertise()) {
      reaction.status =
          group->OnMessage(now, device, message, reaction.effects);
    }
  } else if (message.has_advertise()) {
    reaction.status =
        OnAdvertise(now, device, message.advertise(), reaction.effects);
  } else if (message.has_leave()) {
    const bool was_connected = connected_.erase(device) > 0;
    if (was_connected && state_ == State::kAdvertising) {
      advertised_.erase(device.value());
      std::erase_if(unverified_, [&](const MemberIdentity& member) {
        return member.id == device.value();
      });
      constexpr size_t kLongestReason = 200;
      lost_.insert_or_assign(
          device.value(),
          LostDevice{device, Round::kAdvertise,
                     message.leave().reason().substr(0, kLongestReason)});
    }
  } else {
    reaction.status = absl::FailedPreconditionError(
        "a message of a device that is in no group");
  }
  Wake(reaction.effects);
  return reaction;
}

ServerReaction SecaggServer::OnMaskedInput(absl::Time now,
                                           const DeviceId& device,
                                           const Digest& session,
                                           const Digest& content_sha256,
                                           std::string_view bytes) {
  ServerReaction reaction;
  ServerGroup* const group = GroupOf(device);
  if (group == nullptr || group->session() != session) {
    reaction.status = absl::FailedPreconditionError(
        "a masked input for a session in which the device is not");
    return reaction;
  }
  reaction.status = group->OnMaskedInput(now, device, content_sha256, bytes,
                                         reaction.effects);
  Wake(reaction.effects);
  return reaction;
}

ServerEffects SecaggServer::OnSetsWitnessed(
    absl::Time now, uint32_t group, absl::StatusOr<SetsStatement> statement) {
  ServerEffects effects;
  if (group < groups_.size()) {
    groups_[group]->OnSetsWitnessed(now, std::move(statement), effects);
  }
  Wake(effects);
  return effects;
}

ServerEffects SecaggServer::OnUnmaskApproved(absl::Time now, uint32_t group,
                                             absl::Status status) {
  ServerEffects effects;
  if (group < groups_.size()) {
    groups_[group]->OnUnmaskApproved(now, status, effects);
  }
  Wake(effects);
  return effects;
}

ServerEffects SecaggServer::OnCheckpointed(absl::Time, uint32_t group) {
  ServerEffects effects;
  if (group < groups_.size()) groups_[group]->OnCheckpointed(effects);
  return effects;
}

ServerEffects SecaggServer::OnTimer(absl::Time now) {
  ServerEffects effects;
  if (state_ == State::kAdvertising && now >= deadline_) {
    CloseAdvertising(now, effects);
  } else if (state_ == State::kWitnessing && now >= deadline_) {
    AbortCohort(absl::DeadlineExceededError(
                    "the registrar did not witness the directory in time"),
                effects);
  }
  for (const auto& group : groups_) group->OnTimer(now, effects);
  Wake(effects);
  return effects;
}

ServerEffects SecaggServer::Abort(absl::Time, absl::Status reason) {
  ServerEffects effects;
  if (state_ == State::kRunning) {
    for (const auto& group : groups_) group->Abort(reason, effects);
  } else if (state_ != State::kAborted) {
    AbortCohort(std::move(reason), effects);
  }
  return effects;
}

void SecaggServer::AbortCohort(absl::Status reason, ServerEffects& effects) {
  state_ = State::kAborted;
  deadline_ = absl::InfiniteFuture();
  groups_.clear();
  group_of_.clear();
  auto message = std::make_shared<v1::SecaggServerMessage>();
  message->mutable_outcome()->set_outcome(v1::SecaggOutcome::ABORTED);
  message->mutable_outcome()->set_reason(std::string(reason.message()));
  std::vector<DeviceId> devices(connected_.begin(), connected_.end());
  if (!devices.empty()) {
    effects.emplace_back(SendToDevices{std::move(devices), std::move(message)});
  }
  std::vector<LostDevice> lost;
  for (auto& [id, device] : lost_) lost.push_back(std::move(device));
  lost_.clear();
  effects.emplace_back(GroupAborted{0, std::move(reason), std::move(lost)});
}

}  // namespace mledge::secagg
