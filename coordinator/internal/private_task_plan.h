#ifndef MLEDGE_COORDINATOR_INTERNAL_PRIVATE_TASK_PLAN_H_
#define MLEDGE_COORDINATOR_INTERNAL_PRIVATE_TASK_PLAN_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/coordinator/task_privacy.h"
#include "mledge/core/sha256.h"
#include "mledge/privacy/ledger/ledger.h"
#include "mledge/privacy/ledger/spending.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/v1/admin_service.pb.h"

// From the numbers of a private task (privacy/plan/private_task.h) to what the
// coordinator counts with, and from its ledger back to claims. Pure functions.

namespace mledge {

// `ledger`: what was spent before this process began; empty for a new task.
// INVALID_ARGUMENT: a new task whose first round would overspend already.
absl::StatusOr<PrivacyPlan> ResolvePrivacyPlan(const PrivateTask& task,
                                               const Digest& task_sha256,
                                               const Ledger& ledger);

// What the ledger of `task` amounts to, with `next` after its entries if that
// is not null. Not as scheduled also where the ledger's schedule is not what
// this program makes of the task: another version may have made something else
// of the same signed task, and only the ledger's own entries count then.
absl::StatusOr<Spending> SpendingUnder(const PrivateTask& task,
                                       const Ledger& ledger,
                                       const v1::LedgerCharge* next = nullptr);

// What the ledger's entries amount to, against `observer`.
absl::StatusOr<v1::PrivacyClaim> SpentClaim(const PrivateTask& task,
                                            const Spending& spending,
                                            Observer observer);

// Everything of the response but heads and entries.
absl::Status AddAccounts(const PrivateTask& task, const Ledger& ledger,
                         v1::GetPrivacyLedgerResponse* response);

// Of every version a charge is there. DATA_LOSS, naming the round: one was
// published, or could have been, that was not paid for.
absl::Status CheckPaid(const Ledger& ledger, VersionNumber version);

// What a device that follows the task uploads in the clear: values on the grid,
// and where the coordinator adds the noise, a norm within the bound, in exact
// integers. INVALID_ARGUMENT, in words for the device's owner.
absl::Status CheckPrivateUpdate(const PrivateTask& task,
                                const UpdateView& update);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_PRIVATE_TASK_PLAN_H_
