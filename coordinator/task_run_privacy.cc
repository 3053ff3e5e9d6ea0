// The part of TaskRun that private tasks need: who may still take part, what a
// sum costs, and a ledger that was restored from a copy.
#include <algorithm>
#include <utility>
#include <vector>

#include "mledge/coordinator/task_run.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {

bool TaskRun::MayEverTrain(const DeviceId& device) const {
  return !privacy_.has_value() || privacy_->EarliestStep(device).has_value();
}

void TaskRun::AddCandidate(absl::Time now, CandidatePool::Candidate device,
                           absl::Time last_assigned) {
  if (privacy_.has_value()) {
    const std::optional<int64_t> earliest =
        privacy_->EarliestStep(device.device);
    if (!earliest.has_value()) return;
    device.earliest_step = *earliest;
  }
  candidates_.Add(now, std::move(device), last_assigned);
}

std::string TaskRun::Hindrance() const {
  if (ended() || !privacy_.has_value()) return "";
  if (paused()) {
    return StrCat(
        "the task rests: devices know entry ", record_.lost_head.sequence,
        " of its privacy ledger, which ends here with entry ",
        record_.ledger.sequence,
        " or went another way: this state directory is an older copy. Restore "
        "the newest one, or let `mledge privacy adopt ",
        plan_.task.value(), "` count what was lost as spent");
  }
  if (awaited_entry_.has_value()) {
    return StrCat(
        "round ", round_->plan().round.value(),
        " was taken up at this start with updates, and its sum is not noised "
        "before a device shows that it knows no newer entry of the privacy "
        "ledger than ",
        *awaited_entry_,
        ": if this state directory were an older copy, another noise could "
        "have "
        "been added to the same sum. It goes on by itself when a device of "
        "this "
        "round checks in");
  }
  if (round_ != nullptr || RoundsAreDone() ||
      candidates_.size() >= plan_.minimum_waiting) {
    return "";
  }
  // Somebody rests, and comes by himself.
  if (candidates_.NextTime() != absl::InfiniteFuture()) return "";
  const int64_t early = candidates_.early();
  if (early == 0 && privacy_->used_up() == 0) return "";
  return StrCat("no round can start: ", candidates_.size(), " of ",
                plan_.minimum_waiting, " devices wait that may take part; ",
                early, " more wait whose last participation is fewer than ",
                privacy_->plan().limits().separation,
                " rounds ago (privacy.separation), and ", privacy_->used_up(),
                " devices have had all their participations "
                "(privacy.participations: ",
                privacy_->plan().limits().participations,
                "). The task needs other devices, or ends here: cancel it");
}

void TaskRun::Charge(absl::Time now, TaskPrivacy::Sum sum, Effects& effects) {
  sum.round = round_->plan().round;
  sum.step = round_->plan().base_version.value();
  privacy_->Charge(now, sum, &effects.persist);
  record_.ledger = privacy_->ledger().head();
  effects.persist.tasks.push_back(record_);
}

void TaskRun::CountParticipation(absl::Time now, const AssignmentId& id,
                                 bool first_of_round, Effects& effects) {
  if (!privacy_.has_value()) return;
  const RoundPlan& round = round_->plan();
  // Whoever was drawn may take part: nobody else has an assignment.
  const absl::Status counted =
      privacy_->Participate(std::span(&round_->Find(id)->record().device, 1),
                            round.base_version.value(), &effects.persist);
  CHECK(counted.ok()) << counted;
  if (!privacy_->plan().charged_with_version && first_of_round) {
    Charge(now, {.devices = round.target}, effects);
  }
}

absl::StatusOr<Effects> TaskRun::UnmaskingIsDue(
    absl::Time now, const SecureSessionJob& job, uint32_t group,
    std::span<const AssignmentId> members) {
  Effects effects;
  if (!privacy_.has_value()) return effects;
  if (paused() || round_ == nullptr || round_->plan().round != job.round) {
    return absl::FailedPreconditionError(
        paused() ? "the task rests until its privacy ledger is adopted"
                 : "the round is over");
  }
  std::vector<DeviceId> devices;
  for (const AssignmentId& id : members) {
    devices.push_back(round_->Find(id)->record().device);
  }
  MLEDGE_RETURN_IF_ERROR(privacy_->Participate(
      devices, round_->plan().base_version.value(), &effects.persist));
  if (!privacy_->plan().charged_with_version) {
    Charge(now,
           {.secure_session = job.session_number,
            .group = group,
            .devices = static_cast<int64_t>(devices.size())},
           effects);
  }
  return effects;
}

void TaskRun::AwaitLedgerHead() {
  if (!privacy_.has_value() || !privacy_->plan().charged_with_version) return;
  const bool holds_updates =
      std::any_of(round_->assignments().begin(), round_->assignments().end(),
                  [](const auto& assignment) {
                    return assignment.second.record().state ==
                           AssignmentState::kAcknowledged;
                  });
  if (!holds_updates) return;
  // The round's devices know the last entry before it; what this start has
  // appended, nobody does.
  for (const v1::LedgerEntry& entry : privacy_->ledger().entries()) {
    if (!entry.has_not_private()) awaited_entry_ = entry.sequence();
  }
}

bool TaskRun::Withholds(const AssignmentId& id) const {
  return awaited_entry_.has_value() && round_->Find(id) != nullptr;
}

Effects TaskRun::LedgerIsKnown(absl::Time now, const LedgerHead& known) {
  Effects effects;
  if (ended() || paused() || !awaited_entry_.has_value() ||
      known.sequence < *awaited_entry_) {
    return effects;
  }
  awaited_entry_.reset();
  Advance(now, effects);
  return effects;
}

Effects TaskRun::LedgerIsBehind(absl::Time now, const LedgerHead& lost) {
  Effects effects;
  CHECK(privacy_.has_value());
  if (ended() || lost.sequence <= record_.lost_head.sequence) return effects;
  record_.lost_head = lost;
  LOG(ERROR) << "task " << plan_.task << ": " << Hindrance();
  if (round_ != nullptr && !round_->ended()) {
    round_->Fail("the task's privacy ledger is older than what devices know")
        .IgnoreError();
  }
  effects.persist.tasks.push_back(record_);
  Advance(now, effects);
  return effects;
}

absl::StatusOr<Effects> TaskRun::AdoptLedger(absl::Time now,
                                             v1::LedgerAdoption adoption) {
  if (ended() || !paused()) {
    return absl::FailedPreconditionError(
        StrCat("task ", plan_.task.value(),
               ended() ? " has ended" : " lacks nothing that devices know",
               "; there is nothing to adopt"));
  }
  if (adoption.sequence() != record_.lost_head.sequence ||
      adoption.head() != record_.lost_head.hash.ToBytes()) {
    return absl::FailedPreconditionError(StrCat(
        "task ", plan_.task.value(), " waits for the adoption of entry ",
        record_.lost_head.sequence, " by now; look at its ledger again"));
  }
  Effects effects;
  MLEDGE_RETURN_IF_ERROR(
      privacy_->Adopt(now, std::move(adoption), &effects.persist));
  record_.lost_head = LedgerHead();
  record_.ledger = privacy_->ledger().head();
  effects.persist.tasks.push_back(record_);
  Advance(now, effects);
  return effects;
}

}  // namespace mledge
