#include <algorithm>

#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/aggregation/secagg/share_box.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 3 on the server: boxes are collected and passed on unopened.

namespace mledge::secagg {

absl::Status ServerGroup::OnShareBoxes(uint32_t member,
                                       const v1::SecaggShareBoxes& message) {
  MLEDGE_RETURN_IF_ERROR(CheckSession(message.session()));
  Member& sender = members_[member];
  if (sender.shared) {
    return absl::AlreadyExistsError("this device's boxes are here already");
  }
  if (message.boxes().size() != sender.neighbors.size() * kShareBoxSize) {
    return absl::InvalidArgumentError(StrCat(
        message.boxes().size(), " bytes of boxes for ", sender.neighbors.size(),
        " neighbors; a box has ", kShareBoxSize));
  }
  sender.boxes = message.boxes();
  sender.shared = true;
  return absl::OkStatus();
}

void ServerGroup::WriteBoxes(uint32_t member,
                             v1::SecaggBoxesMessage& message) const {
  message.Clear();
  message.set_session(setup_.session.ToBytes());
  const std::vector<uint32_t>& neighbors = members_[member].neighbors;
  std::string& boxes = *message.mutable_boxes();
  boxes.reserve(neighbors.size() * kShareBoxSize);
  message.mutable_senders()->Reserve(static_cast<int>(neighbors.size()));
  for (const uint32_t from : neighbors) {
    const Member& sender = members_[from];
    if (!sender.shared) continue;
    const auto place =
        static_cast<size_t>(std::lower_bound(sender.neighbors.begin(),
                                             sender.neighbors.end(), member) -
                            sender.neighbors.begin());
    message.add_senders(from);
    boxes.append(sender.boxes, place * kShareBoxSize, kShareBoxSize);
  }
}

void ServerGroup::CloseSharing(absl::Time now, ServerEffects& effects) {
  for (uint32_t i = 0; i < members_.size(); ++i) {
    if (!members_[i].shared)
      Lose(i, Round::kShareKeys, "sent no shares in time");
  }
  // Who has too few neighbours left would refuse to go on, and takes its own
  // shares out of others' count.
  const uint32_t threshold = setup_.parameters.threshold;
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t i = 0; i < members_.size(); ++i) {
      if (!members_[i].shared) continue;
      const auto left = std::count_if(
          members_[i].neighbors.begin(), members_[i].neighbors.end(),
          [&](uint32_t neighbor) { return members_[neighbor].shared; });
      if (left < threshold) {
        Lose(i, Round::kShareKeys, "too few of its neighbors shared");
        changed = true;
      }
    }
  }
  uint32_t shared = 0;
  for (const Member& member : members_) shared += member.shared ? 1 : 0;
  if (shared < setup_.parameters.least_alive) {
    return Abort(absl::FailedPreconditionError(
                     StrCat(shared, " devices shared their keys, where ",
                            setup_.parameters.least_alive, " are needed")),
                 effects);
  }
  for (const OfferSection& section : setup_.offer->sections) {
    absl::StatusOr<ModularVector> sum =
        ModularVector::Create(section.modulus, section.length);
    if (!sum.ok()) return Abort(sum.status(), effects);
    sum_.push_back(*std::move(sum));
  }
  state_ = State::kMasking;
  deadline_ = now + setup_.options->masked_input_time;
  std::vector<DeviceId> devices;
  for (uint32_t i = 0; i < members_.size(); ++i) {
    if (members_[i].shared) devices.push_back(setup_.devices[i]);
  }
  effects.push_back(SendToDevices{std::move(devices), nullptr});
}

}  // namespace mledge::secagg
