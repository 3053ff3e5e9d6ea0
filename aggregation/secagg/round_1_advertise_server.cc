#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 1 on the server: leaves, each believed before it may stand in the
// directory, because one bad leaf there costs its neighbours the session.

namespace mledge::secagg {

absl::Status SecaggServer::OnAdvertise(absl::Time now, const DeviceId& device,
                                       const v1::SecaggAdvertise& message,
                                       ServerEffects& effects) {
  if (!connected_.contains(device)) {
    return absl::FailedPreconditionError("no offer was made to this device");
  }
  const auto known = advertised_.find(device.value());
  if (known != advertised_.end()) {
    // The same again is a repetition.
    return known->second.bytes == message.leaf()
               ? absl::OkStatus()
               : absl::AlreadyExistsError(
                     "another leaf of this device is here already");
  }
  if (state_ != State::kAdvertising) {
    return absl::FailedPreconditionError("advertising is closed");
  }
  MLEDGE_ASSIGN_OR_RETURN(Leaf leaf, Leaf::Parse(message.leaf(), offer_));
  MLEDGE_ASSIGN_OR_RETURN(
      const MemberIdentity identity,
      dependencies_.members->Identify(leaf.certificates, now));
  if (identity.id != device.value()) {
    return absl::PermissionDeniedError(
        StrCat("a leaf of device ", identity.id, " sent by ", device.value()));
  }
  MLEDGE_RETURN_IF_ERROR(dependencies_.members->CheckSignature(
      identity, leaf.signed_bytes, leaf.signature));
  advertised_.emplace(device.value(), std::move(leaf));
  lost_.erase(device.value());
  if (static_cast<int64_t>(advertised_.size()) == options_.maximum_devices) {
    CloseAdvertising(now, effects);
  }
  return absl::OkStatus();
}

void SecaggServer::CloseAdvertising(absl::Time now, ServerEffects& effects) {
  for (const DeviceId& device : connected_) {
    if (!advertised_.contains(device.value())) {
      lost_.insert({device.value(),
                    {device, Round::kAdvertise, "sent no leaf in time"}});
    }
  }
  if (advertised_.size() < offer_.least_devices) {
    AbortCohort(absl::FailedPreconditionError(StrCat(
                    advertised_.size(), " devices advertised, where at least ",
                    offer_.least_devices, " are needed")),
                effects);
    return;
  }
  const absl::StatusOr<v1::SecaggDirectory> message = MakeDirectory();
  if (!message.ok()) return AbortCohort(message.status(), effects);
  absl::StatusOr<Directory> directory = Directory::Make(*message);
  if (!directory.ok()) return AbortCohort(directory.status(), effects);
  directory_ = *std::move(directory);
  state_ = State::kWitnessing;
  deadline_ = now + options_.share_time;
  effects.push_back(RequestWitness{.task = offer_.task,
                                   .session_number = offer_.session_number,
                                   .directory = directory_->hash});
}

}  // namespace mledge::secagg
