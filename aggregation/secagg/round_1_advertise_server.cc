#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 1 on the server: leaves, each believed before it may stand in the
// directory, because one bad leaf there costs its neighbours the session.

namespace mledge::secagg {
namespace {

// How many signatures are verified together: enough to keep all threads busy,
// few enough that a device with a wrong one hears of it soon.
int64_t LeavesAtOnce(const ThreadPool* pool) {
  return pool == nullptr ? 1 : 16 * (pool->size() + 1);
}

}  // namespace

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
  advertised_.emplace(device.value(), std::move(leaf));
  lost_.erase(device.value());
  unverified_.push_back(identity);
  const bool is_full =
      static_cast<int64_t>(advertised_.size()) == options_.maximum_devices;
  if (is_full || static_cast<int64_t>(unverified_.size()) >=
                     LeavesAtOnce(dependencies_.pool)) {
    VerifyLeaves();
  }
  const auto lost = lost_.find(device.value());
  if (lost != lost_.end()) {
    return absl::PermissionDeniedError(lost->second.reason);
  }
  if (static_cast<int64_t>(advertised_.size()) == options_.maximum_devices) {
    CloseAdvertising(now, effects);
  }
  return absl::OkStatus();
}

void SecaggServer::VerifyLeaves() {
  std::vector<absl::Status> found(unverified_.size());
  ParallelFor(dependencies_.pool, static_cast<int64_t>(found.size()),
              /*grain=*/1, [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) {
                  const MemberIdentity& member = unverified_[i];
                  const Leaf& leaf = advertised_.at(member.id);
                  found[i] = dependencies_.members->CheckSignature(
                      member, leaf.signed_bytes, leaf.signature);
                }
              });
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i].ok()) continue;
    const std::string& id = unverified_[i].id;
    advertised_.erase(id);
    lost_.insert_or_assign(id, LostDevice{DeviceId(id), Round::kAdvertise,
                                          std::string(found[i].message())});
  }
  unverified_.clear();
}

void SecaggServer::CloseAdvertising(absl::Time now, ServerEffects& effects) {
  // Those that a deadline caught before there were enough of them.
  VerifyLeaves();
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
