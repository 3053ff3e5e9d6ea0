#ifndef MLEDGE_CLIENT_DEVICE_SESSION_H_
#define MLEDGE_CLIENT_DEVICE_SESSION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/client/assignment_check.h"
#include "mledge/client/package_cache.h"
#include "mledge/client/privacy_ledger.h"
#include "mledge/client/retry_policy.h"
#include "mledge/client/secure_effects.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/ids.h"
#include "mledge/v1/device_service.pb.h"
#include "mledge/v1/task.pb.h"

// A device's side of every round, without I/O: it takes the time and one event
// and returns what is to be done. It never blocks, sleeps, reads a clock or
// opens a socket. device_agent.h drives it on real time, the simulator on a
// virtual clock, a test one event at a time. Not thread-safe: one sequential
// driver per session. Sessions may share a PackageCache.

namespace mledge {

// Order of calls:
//   1. Restore, at most once, with what the journal of an earlier run holds.
//   2. Start.
//   3. On... for each answer and OnWake for each wake-up, in any order and at
//      any time. Early, late, repeated and unasked ones do no harm.
//   4. Stop; what comes afterwards is ignored.
//
// What it does with one assignment (each arrow waits for the event):
//
//   SendCheckIn → Persist(assignment) → FetchBlob task → FetchBlob package →
//   FetchBlob parameters → StartTraining → Persist(update) → Upload → Forget
//
// Where the task has secure aggregation, AggregateSecurely takes the place of
// Upload.
//
// Nothing is fetched for an assignment that is not persisted, nothing is
// uploaded that is not persisted, and everything is checked as soon as it has
// arrived. An assignment that is refused or fails ends in SendReport → Forget.
// Failures that may pass are retried: fetching and training until the
// assignment expires, uploading until the coordinator has answered, because
// only the coordinator knows whether a finished update comes too late.
class DeviceSession {
 public:
  struct Options {
    // Id in the device's certificate; keys the public randomness.
    DeviceId device;
    AssignmentPolicy policy;
    PrivacyPolicy privacy;
    // For people: program and library versions.
    std::string software;
    // Longest pause between two check-ins, whatever the coordinator says.
    absl::Duration maximum_check_in_interval = absl::Seconds(60);
    RetryBackoff::Options backoff;
    // An answer that has not come by then counts as lost. The coordinator
    // keeps a check-in waiting for a while; a transfer ends earlier when its
    // driver sees that nothing moves.
    absl::Duration check_in_timeout = absl::Minutes(3);
    absl::Duration transfer_timeout = absl::Minutes(30);
    absl::Duration report_timeout = absl::Minutes(1);
    // A report that failed so often is given up: the coordinator's deadline
    // does the rest.
    int maximum_report_attempts = 5;
  };

  enum class Phase {
    kNotStarted,
    kWaiting,  // for the next check-in
    kCheckingIn,
    kAccepting,  // assignment is being persisted
    kFetching,
    kTraining,
    kPersisting,  // update is being persisted
    kUploading,
    kAggregating,  // secure aggregation, in place of kUploading
    kReporting,
    kStopped,
  };

  struct Counters {
    int64_t accepted = 0;      // assignments taken on
    int64_t acknowledged = 0;  // updates that the coordinator has on disk
    int64_t too_late = 0;
    int64_t refused = 0;  // assignments refused here, updates refused there
    int64_t failed = 0;   // could not be carried out
    int64_t expired = 0;
    // Updates that left the device masked and are in no sum.
    int64_t lost = 0;
  };

  // `cache` may be shared; not null.
  DeviceSession(Options options, std::shared_ptr<PackageCache> cache);

  // Restored work is taken up by Start: an update is uploaded, an assignment is
  // trained (again, or from its snapshot).
  void Restore(JournalRecord record);
  // Before Start as well: what this device remembers of private tasks.
  void RestorePrivacy(PrivacyLedger ledger);
  Effects Start(absl::Time now);

  // Also to be called when the clock was set back: pauses keep their lengths.
  Effects OnWake(absl::Time now);
  Effects OnCheckInAnswer(absl::Time now, CallId call,
                          absl::StatusOr<v1::CheckInResponse> answer);
  Effects OnFetched(absl::Time now, CallId call,
                    absl::StatusOr<std::shared_ptr<const std::string>> bytes);
  Effects OnPersisted(absl::Time now, CallId call, absl::Status status);
  Effects OnTrainingFinished(absl::Time now, CallId call,
                             absl::StatusOr<FinishedUpdate> update);
  Effects OnUploadAnswer(absl::Time now, CallId call,
                         absl::StatusOr<v1::UploadResult> answer);
  Effects OnAggregated(absl::Time now, CallId call,
                       absl::StatusOr<SecureOutcome> outcome);
  Effects OnReportAnswer(absl::Time now, CallId call, absl::Status status);
  Effects Stop(absl::Time now);

  Phase phase() const { return phase_; }
  const Counters& counters() const { return counters_; }
  // The assignment under way, or null.
  const v1::Assignment* assignment() const {
    return work_.has_value() ? &work_->record.assignment : nullptr;
  }

 private:
  enum class Blob { kTask, kPackage, kParameters };
  enum class Ending { kRefused, kFailed, kLost };

  // Everything about the assignment under way.
  struct Work {
    JournalRecord record;
    Blob fetching = Blob::kTask;
    std::shared_ptr<const v1::Task> task;
    std::shared_ptr<const ModelPackage> package;
    // Of a private task's training; null otherwise.
    std::shared_ptr<const PrivateTask> privacy;
    PrivacyLedger::Participation participation;
    ShownLedger ledger;
    std::string report;  // what kReporting says
    int report_attempts = 0;
  };

  // Collects the effects of one event.
  class Turn;

  // Steps of the way, in its order.
  void CheckIn(Turn& turn);
  void Accept(Turn& turn, v1::Assignment assignment);
  void Fetch(Turn& turn, Blob blob);
  absl::Status TakeBlob(Turn& turn, const std::string& bytes);
  absl::Status CheckPrivacy(Turn& turn, int64_t version);
  void Train(Turn& turn, std::shared_ptr<const ParameterVector> parameters);
  void SendUpdate(Turn& turn);
  void UpdateAcknowledged(Turn& turn);
  void UpdateTooLate(Turn& turn, std::string_view reason);
  void UpdateRefused(Turn& turn, std::string_view reason);
  // Forgets the assignment and checks in again: at once after a success, else
  // after a pause.
  void End(Turn& turn, bool success);

  // Ways off it.
  void Abandon(Turn& turn, Ending ending, std::string_view what,
               const absl::Status& why);
  void Report(Turn& turn);
  void Expire(Turn& turn);
  void CallFailed(Turn& turn, const absl::Status& status);
  void Retry(Turn& turn, std::string_view what, const absl::Status& status);
  void Resume(Turn& turn);  // makes the phase's call once more
  void Wait(Turn& turn, absl::Duration pause);

  bool running() const {
    return phase_ != Phase::kNotStarted && phase_ != Phase::kStopped;
  }
  bool Awaited(Phase phase, CallId call) const;
  CallId NextCall(absl::Time due);
  Effects Finish(Turn& turn);
  std::string Describe() const;  // "assignment A (task T, round 3)"
  std::string_view BlobName() const;

  const Options options_;
  const std::shared_ptr<PackageCache> cache_;

  Phase phase_ = Phase::kNotStarted;
  std::optional<Work> work_;
  PrivacyLedger privacy_ledger_;
  RetryBackoff call_backoff_;  // failures of one call in a row
  RetryBackoff work_backoff_;  // assignments that came to nothing in a row
  Counters counters_;

  CallId last_call_;
  bool awaiting_ = false;  // an answer to last_call_
  absl::Time last_turn_ = absl::InfinitePast();
  // Awaiting: when the answer counts as lost; else when to go on.
  absl::Time due_ = absl::InfiniteFuture();
  // The wake-up that the driver knows of.
  absl::Time wake_at_ = absl::InfiniteFuture();
};

// "checking-in": for logs.
std::string_view ToString(DeviceSession::Phase phase);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_DEVICE_SESSION_H_
