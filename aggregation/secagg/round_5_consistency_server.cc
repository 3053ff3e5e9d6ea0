#include <algorithm>

#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 5 on the server: the registrar vouches that everybody is told the same
// sets, everybody signs them, and sees that its neighbours did.

namespace mledge::secagg {

void ServerGroup::WriteSets(v1::SecaggSetsMessage& message) const {
  message.set_session(setup_.session.ToBytes());
  message.set_alive(alive_.bytes());
  message.set_dead(dead_.bytes());
  *message.mutable_witness() = sets_witness_->ToProto();
}

void ServerGroup::OnSetsWitnessed(absl::Time now,
                                  absl::StatusOr<SetsStatement> statement,
                                  ServerEffects& effects) {
  if (state_ != State::kWitnessing) return;
  absl::Status status = statement.status();
  if (status.ok() &&
      (statement->task != setup_.offer->task ||
       statement->session_number != setup_.offer->session_number ||
       statement->group != setup_.group ||
       statement->session != setup_.session ||
       statement->sets != SetsHash(setup_.session, setup_.group, alive_.bytes(),
                                   dead_.bytes()))) {
    status = absl::InternalError("the registrar answered something else");
  }
  if (!status.ok()) return Abort(Annotate(status, "sets"), effects);
  sets_witness_ = *std::move(statement);
  state_ = State::kSigning;
  deadline_ = now + setup_.options->consistency_time;
  std::vector<DeviceId> devices;
  for (const uint32_t i : alive_.ToVector()) {
    if (!members_[i].lost) devices.push_back(setup_.devices[i]);
  }
  auto message = std::make_shared<v1::SecaggServerMessage>();
  WriteSets(*message->mutable_sets());
  effects.push_back(SendToDevices{std::move(devices), std::move(message)});
}

absl::Status ServerGroup::OnSignature(uint32_t member,
                                      const v1::SecaggSetsSignature& message) {
  MLEDGE_RETURN_IF_ERROR(CheckSession(message.session()));
  constexpr size_t kLongestSignature = 256;
  if (message.signature().size() > kLongestSignature) {
    return absl::InvalidArgumentError("a signature is too long");
  }
  if (!alive_.Contains(member)) {
    return absl::InvalidArgumentError("only those alive sign");
  }
  if (members_[member].signature.has_value()) {
    return absl::AlreadyExistsError("this device has signed already");
  }
  // Whoever releases shares verifies it; a wrong one only does not count there.
  members_[member].signature = message.signature();
  return absl::OkStatus();
}

// Whether every seed that has to be rebuilt still can be.
absl::Status ServerGroup::CheckRecoverable(bool signed_only) const {
  for (uint32_t i = 0; i < members_.size(); ++i) {
    if (!alive_.Contains(i) && !dead_.Contains(i)) continue;
    const auto left =
        std::count_if(members_[i].neighbors.begin(),
                      members_[i].neighbors.end(), [&](uint32_t neighbor) {
                        const Member& holder = members_[neighbor];
                        return alive_.Contains(neighbor) && !holder.lost &&
                               (!signed_only || holder.signature.has_value());
                      });
    if (left < setup_.parameters.threshold) {
      return absl::FailedPreconditionError(
          StrCat("of device ", setup_.devices[i].value(), " only ", left,
                 " neighbors are left, where ", setup_.parameters.threshold,
                 " are needed"));
    }
  }
  return absl::OkStatus();
}

void ServerGroup::CloseSigning(ServerEffects& effects) {
  for (const uint32_t i : alive_.ToVector()) {
    if (!members_[i].signature.has_value()) {
      Lose(i, Round::kConsistency, "did not sign the sets in time");
    }
  }
  if (const absl::Status status = CheckRecoverable(true); !status.ok()) {
    return Abort(status, effects);
  }
  state_ = State::kApproving;
  deadline_ = absl::InfiniteFuture();
  ApproveUnmask approve{.group = setup_.group};
  for (const uint32_t i : alive_.ToVector()) {
    approve.devices.push_back(setup_.devices[i]);
  }
  effects.push_back(std::move(approve));
}

void ServerGroup::WriteSignatures(uint32_t member,
                                  v1::SecaggSignaturesMessage& message) const {
  message.Clear();
  message.set_session(setup_.session.ToBytes());
  for (const uint32_t neighbor : members_[member].neighbors) {
    if (!members_[neighbor].signature.has_value()) continue;
    auto& entry = *message.add_signatures();
    entry.set_member(neighbor);
    entry.set_signature(*members_[neighbor].signature);
  }
}

void ServerGroup::OnUnmaskApproved(absl::Time now, const absl::Status& status,
                                   ServerEffects& effects) {
  if (state_ != State::kApproving) return;
  if (!status.ok()) {
    return Abort(Annotate(status, "before unmasking"), effects);
  }
  state_ = State::kUnmasking;
  deadline_ = now + setup_.options->unmask_time;
  std::vector<DeviceId> devices;
  for (const uint32_t i : alive_.ToVector()) {
    if (!members_[i].signature.has_value() || members_[i].lost) continue;
    devices.push_back(setup_.devices[i]);
  }
  effects.push_back(SendToDevices{std::move(devices), nullptr});
}

}  // namespace mledge::secagg
