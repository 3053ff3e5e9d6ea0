#ifndef MLEDGE_CLIENT_PRIVACY_LEDGER_H_
#define MLEDGE_CLIENT_PRIVACY_LEDGER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/ids.h"
#include "mledge/core/sha256.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/privacy/ledger/ledger.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/v1/device_ledger.pb.h"
#include "mledge/v1/privacy.pb.h"
#include "mledge/v1/signature.pb.h"

// The device's side of the guard of differential privacy: how often this device
// took part in each private task, and what the coordinator's ledger had come to
// by then. It believes neither coordinator nor task: limits are worked out from
// the signed task (privacy/plan/private_task.h) and compared with what the
// device's owner allows. A value; what changes is handed out as a record, which
// the driver makes durable (device_storage.h) before the update leaves.
// Not thread-safe.

namespace mledge {

// What a device's owner demands, whatever a task says (v1::PrivacyPolicy).
struct PrivacyPolicy {
  // Tasks must promise something against this observer; none: tasks without
  // privacy are taken as well.
  std::optional<Observer> require;
  // Of one private task, against the observer above (of none: model
  // recipients), at the task's delta.
  double epsilon_limit = 10;
  double delta_limit = 1e-5;
};

// What a task promises against an observer, for all of its participations.
using ClaimLookup =
    std::function<absl::StatusOr<v1::PrivacyClaim>(Observer observer)>;

// FAILED_PRECONDITION, saying what the task promises, what the policy demands
// and where that is configured. `task` null: not private. `claim` is asked only
// where the policy depends on it.
absl::Status CheckPrivacyPolicy(const PrivateTask* task,
                                const PrivacyPolicy& policy,
                                const ClaimLookup& claim);

// What the coordinator says of its ledger, with its signatures verified.
struct ShownLedger {
  v1::SignedMessage signed_head;
  v1::LedgerHead head;
  std::vector<Ledger::Link> links;
  // Of an operator; absent: none was ever needed.
  std::optional<v1::LedgerAdoptionStatement> adoption;
};

class PrivacyLedger {
 public:
  // Nothing yet.
  PrivacyLedger() = default;
  // From storage, by the SHA-256 of the task's signed payload. DATA_LOSS: a
  // record that cannot be read, or that a newer version wrote: says so, and
  // that the device must not forget it.
  static absl::StatusOr<PrivacyLedger> Restore(
      const std::map<Digest, std::string>& records);

  // Signed heads to show at check-in: of the tasks used last, at most 64.
  std::vector<v1::SignedMessage> Heads() const;

  // Whether the coordinator's ledger only grew since this device saw it.
  // FAILED_PRECONDITION: it has gone back or is another one, and no operator
  // adopted it. INVALID_ARGUMENT: it is of another task, or malformed.
  absl::Status CheckShown(const Digest& task, const ShownLedger& shown) const;

  // One participation, at `step`: rounds completed before it.
  struct Participation {
    Digest task;
    int64_t step = 0;
  };
  // FAILED_PRECONDITION: the device has had all its participations, or this one
  // comes too soon after the last, or the coordinator has gone back to an
  // earlier step. An assignment that was charged is not taken on again,
  // whatever its name: a second update would carry other noise.
  absl::Status MayParticipate(const PrivateTask& task,
                              const Participation& participation) const;
  // Counts it, and keeps what was shown. Returns the task's record. Codes of
  // MayParticipate.
  absl::StatusOr<std::string> Charge(const PrivateTask& task,
                                     const Participation& participation,
                                     const ShownLedger& shown);

  // So often this device took part in the task.
  int64_t participations(const Digest& task) const;

 private:
  std::map<Digest, v1::DevicePrivacyRecord> records_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_PRIVACY_LEDGER_H_
