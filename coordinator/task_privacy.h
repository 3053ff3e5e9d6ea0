#ifndef MLEDGE_COORDINATOR_TASK_PRIVACY_H_
#define MLEDGE_COORDINATOR_TASK_PRIVACY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/coordinator/storage.h"
#include "mledge/core/ids.h"
#include "mledge/privacy/ledger/ledger.h"
#include "mledge/privacy/matrix/participation.h"
#include "mledge/v1/privacy.pb.h"

// What a private task has spent and whom it may still ask: its ledger, and how
// often each device was in a sum. Part of the task's run (task_run.h),
// sans-I/O: whatever changes goes into the transaction of the event that
// changed it, so that nothing is learnt from a sum that is not paid for on
// disk. Not thread-safe.

namespace mledge {

// The numbers of a private task that the coordinator counts with, resolved once
// from the signed task. A value.
struct PrivacyPlan {
  // The first entry of the ledger; limits and budget are in it, and what every
  // sum exposes those who are in it to.
  v1::LedgerSchedule schedule;
  // Paid for together with the version: noise that the coordinator adds. Else
  // before it learns a sum: noise that is in it already.
  bool charged_with_version = true;
  // So often one device may be in a sum before the task overspends; the
  // schedule's participations where all of them stay within the limit.
  int64_t participations_within_budget = 0;
  // Why not oftener: what is spent then, against whom, what one more would
  // bring, and what to do. For the operator.
  std::string budget_reason;

  ParticipationLimits limits() const;
  // Of a sum at that step.
  v1::LedgerCharge ChargeAt(int64_t step) const;
};

class TaskPrivacy {
 public:
  // `ledger`: as it was restored, or empty; then the schedule is its first
  // entry, and goes into `transaction`. `not_private`: why no claim may be made
  // (for ever), or nothing.
  static absl::StatusOr<TaskPrivacy> Create(
      absl::Time now, PrivacyPlan plan, Ledger ledger,
      const std::optional<std::string>& not_private, const TaskId& task,
      Transaction* transaction);

  const PrivacyPlan& plan() const { return plan_; }
  const Ledger& ledger() const { return ledger_; }

  // Participations. Steps count completed rounds.

  // After a restart. DATA_LOSS: a record that no device can have.
  absl::Status Restore(const DeviceId& device,
                       const ParticipationRecord& record);
  // The first step at which the device may be in a sum; none: never again.
  std::optional<int64_t> EarliestStep(const DeviceId& device) const;
  // Devices that may never be in a sum again.
  int64_t used_up() const { return used_up_; }
  // The devices' updates may be in a sum from here on: all of them, or none.
  // FAILED_PRECONDITION: a device's may not, and why.
  absl::Status Participate(std::span<const DeviceId> devices, int64_t step,
                           Transaction* transaction);

  // Charges.

  struct Sum {
    RoundNumber round;
    int64_t step = 0;
    uint64_t secure_session = 0;  // 0: none
    uint32_t group = 0;
    int64_t devices = 0;
  };
  void Charge(absl::Time now, const Sum& sum, Transaction* transaction);
  // So many rounds are completed: asks whether the next would overspend. What
  // is spent of a ledger that is marked "not private" is more than any limit,
  // but for simulations, which claim nothing.
  void SetStep(int64_t completed);
  // Why no further round may run; nothing: one may.
  const std::optional<std::string>& overspent() const { return overspent_; }

  // An operator takes the task up again: it goes on above the head that this
  // ledger lacks. FAILED_PRECONDITION: correlated noise cannot go on, because
  // what it was is lost.
  absl::Status Adopt(absl::Time now, v1::LedgerAdoption adoption,
                     Transaction* transaction);

 private:
  TaskPrivacy(PrivacyPlan plan, Ledger ledger, TaskId task);
  // Appends an entry that was made here, so that it is valid.
  void Append(absl::Time now, v1::LedgerEntry entry, Transaction* transaction);

  PrivacyPlan plan_;
  Ledger ledger_;
  TaskId task_;
  // Of devices that were in a sum.
  absl::flat_hash_map<DeviceId, ParticipationRecord> participations_;
  int64_t used_up_ = 0;
  int64_t step_ = 0;
  // This process's noise is known to others as well: a simulation.
  bool simulated_ = false;
  std::optional<std::string> overspent_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_TASK_PRIVACY_H_
