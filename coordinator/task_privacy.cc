#include "mledge/coordinator/task_privacy.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/ledger/spending.h"

namespace mledge {

ParticipationLimits PrivacyPlan::limits() const { return LimitsOf(schedule); }

v1::LedgerCharge PrivacyPlan::ChargeAt(int64_t step) const {
  v1::LedgerCharge charge;
  charge.set_step(step);
  if (schedule.has_participation()) {
    *charge.mutable_participation() = schedule.participation();
  }
  if (schedule.has_once()) *charge.mutable_once() = schedule.once();
  return charge;
}

TaskPrivacy::TaskPrivacy(PrivacyPlan plan, Ledger ledger, TaskId task)
    : plan_(std::move(plan)),
      ledger_(std::move(ledger)),
      task_(std::move(task)) {}

absl::StatusOr<TaskPrivacy> TaskPrivacy::Create(
    absl::Time now, PrivacyPlan plan, Ledger ledger,
    const std::optional<std::string>& not_private, const TaskId& task,
    Transaction* transaction) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(plan.limits()));
  TaskPrivacy privacy(std::move(plan), std::move(ledger), task);
  privacy.simulated_ = not_private.has_value();
  if (privacy.ledger_.empty()) {
    v1::LedgerEntry entry;
    *entry.mutable_schedule() = privacy.plan_.schedule;
    MLEDGE_ASSIGN_OR_RETURN(StoredLedgerEntry stored,
                            privacy.ledger_.Append(now, std::move(entry)));
    transaction->ledger.push_back({task, std::move(stored)});
  }
  if (not_private.has_value() && !privacy.ledger_.not_private()) {
    v1::LedgerEntry entry;
    entry.mutable_not_private()->set_reason(*not_private);
    privacy.Append(now, std::move(entry), transaction);
  }
  return privacy;
}

void TaskPrivacy::Append(absl::Time now, v1::LedgerEntry entry,
                         Transaction* transaction) {
  absl::StatusOr<StoredLedgerEntry> stored =
      ledger_.Append(now, std::move(entry));
  CHECK(stored.ok()) << stored.status();
  transaction->ledger.push_back({task_, *std::move(stored)});
}

// Participations.

absl::Status TaskPrivacy::Restore(const DeviceId& device,
                                  const ParticipationRecord& record) {
  const absl::StatusOr<std::optional<int64_t>> earliest =
      EarliestRound(plan_.limits(), record);
  if (!earliest.ok()) {
    return absl::DataLossError(
        StrCat("stored participations of device ", device.value(), ": ",
               earliest.status().message(),
               "; restore the state directory from a backup"));
  }
  if (!earliest->has_value()) ++used_up_;
  participations_[device] = record;
  return absl::OkStatus();
}

std::optional<int64_t> TaskPrivacy::EarliestStep(const DeviceId& device) const {
  const auto found = participations_.find(device);
  if (found == participations_.end()) return 0;
  const absl::StatusOr<std::optional<int64_t>> earliest =
      EarliestRound(plan_.limits(), found->second);
  CHECK(earliest.ok()) << earliest.status();
  return *earliest;
}

absl::Status TaskPrivacy::Participate(std::span<const DeviceId> devices,
                                      int64_t step, Transaction* transaction) {
  std::vector<ParticipationRecord> records;
  for (const DeviceId& device : devices) {
    const auto found = participations_.find(device);
    absl::StatusOr<ParticipationRecord> next = mledge::Participate(
        plan_.limits(),
        found == participations_.end() ? ParticipationRecord() : found->second,
        step);
    if (!next.ok()) {
      return Annotate(next.status(), StrCat("device ", device.value()));
    }
    records.push_back(*std::move(next));
  }
  for (size_t i = 0; i < devices.size(); ++i) {
    participations_[devices[i]] = records[i];
    transaction->participations.push_back({task_, devices[i], records[i]});
    if (!EarliestStep(devices[i]).has_value()) ++used_up_;
  }
  return absl::OkStatus();
}

// Charges.

void TaskPrivacy::Charge(absl::Time now, const Sum& sum,
                         Transaction* transaction) {
  v1::LedgerEntry entry;
  v1::LedgerCharge& charge = *entry.mutable_charge();
  charge = plan_.ChargeAt(sum.step);
  charge.set_round(sum.round.value());
  charge.set_secure_session(sum.secure_session);
  charge.set_group(sum.group);
  charge.set_devices(sum.devices);
  Append(now, std::move(entry), transaction);
}

void TaskPrivacy::SetStep(int64_t completed) {
  step_ = completed;
  overspent_.reset();
  if (completed < plan_.limits().rounds && ledger_.not_private() &&
      !simulated_ && plan_.schedule.has_epsilon_limit()) {
    overspent_ =
        "the task's privacy ledger is marked \"not private\": some of its "
        "noise "
        "was drawn from a seed that others may know, and privacy.epsilon_limit "
        "cannot be kept any more. Submit the task anew";
    return;
  }
  if (completed >= plan_.limits().rounds ||
      plan_.participations_within_budget >= plan_.limits().participations) {
    return;
  }
  const absl::StatusOr<Spending> spending =
      SpendingWith(ledger_, plan_.ChargeAt(completed));
  CHECK(spending.ok()) << spending.status();
  if (spending->participations > plan_.participations_within_budget) {
    overspent_ = plan_.budget_reason;
  }
}

absl::Status TaskPrivacy::Adopt(absl::Time now, v1::LedgerAdoption adoption,
                                Transaction* transaction) {
  // Where the two lines parted is not known: all but the schedule may be lost.
  adoption.set_lost_charges(std::max<int64_t>(1, adoption.sequence() - 1));
  if (plan_.schedule.has_once()) {
    return absl::FailedPreconditionError(
        StrCat("task ", task_.value(),
               " has correlated noise, and what it was in the rounds that "
               "were lost is not known any more: restore the newest backup of "
               "the state directory, or cancel the task and submit another "
               "that begins from its newest model"));
  }
  v1::LedgerEntry entry;
  *entry.mutable_adoption() = std::move(adoption);
  MLEDGE_ASSIGN_OR_RETURN(StoredLedgerEntry stored,
                          ledger_.Append(now, std::move(entry)));
  transaction->ledger.push_back({task_, std::move(stored)});
  SetStep(step_);
  return absl::OkStatus();
}

}  // namespace mledge
