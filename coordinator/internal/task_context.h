#ifndef MLEDGE_COORDINATOR_INTERNAL_TASK_CONTEXT_H_
#define MLEDGE_COORDINATOR_INTERNAL_TASK_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/coordinator/internal/secure_sessions.h"
#include "mledge/coordinator/publisher.h"
#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/task_run.h"
#include "mledge/core/parameters.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/v1/device_service.pb.h"
#include "mledge/v1/task.pb.h"

// One task as the driver holds it: the sans-I/O run, what was read of task and
// package, and the sum and publisher that its jobs work on.

namespace mledge {

struct TaskContext {
  // Set once, before anybody else sees the context. Null layout and sums where
  // the task had ended before this process began.
  v1::Task task;
  uint64_t signed_task_size_in_bytes = 0;
  uint64_t package_size_in_bytes = 0;
  std::shared_ptr<const ParameterLayout> layout;
  // Empty sums: what updates are validated against, by any thread.
  std::unique_ptr<const Aggregator> training_validator;
  std::unique_ptr<const Aggregator> evaluation_validator;
  // Of tasks with secure aggregation.
  std::optional<SecureSessions::Options> secure_options;
  // SHA-256 of the signed task's payload.
  Digest task_sha256;
  // Null: not a private task, or one that had ended when it was taken up.
  std::shared_ptr<const PrivateTask> private_task;
  // Shared with the readers that devices hold.
  std::shared_ptr<std::atomic<uint64_t>> bytes_sent =
      std::make_shared<std::atomic<uint64_t>>(0);

  // Guarded by the coordinator's lock.
  std::unique_ptr<TaskRun> run;
  std::map<VersionNumber, VersionRecord> versions;
  // The newest version that is on disk; newer ones are shown to nobody.
  VersionNumber served;
  // Of the newest head of the privacy ledger that was shown to a device.
  v1::SignedMessage signed_ledger_head;
  uint64_t last_served = 0;  // by which tasks take turns

  // Used by the task's one job at a time.
  RoundNumber sum_round;
  std::unique_ptr<Aggregator> sum;
  std::unique_ptr<Publisher> publisher;
  // What was last worked out: after so many participations, so much.
  std::pair<int64_t, double> epsilon_after;

  // Null where updates are taken in the clear. Guarded by the coordinator's
  // lock are who is connected (the newest stream of each assignment), and a
  // sum that could not be saved yet.
  std::shared_ptr<SecureSessions> secure;
  std::map<AssignmentId, uint64_t> secure_streams;
  std::function<void()> save_again;

  const TaskId& id() const { return run->plan().task; }
};

// A context without records or rounds, from a task and its package file, whose
// signatures were verified. INVALID_ARGUMENT: package unreadable, bounds that
// the sum cannot hold. FAILED_PRECONDITION: secure aggregation that is not
// feasible for the cohort.
struct LoadedTask {
  std::unique_ptr<TaskContext> context;
  TaskPlan plan;
  ParameterVector initial_parameters;
};
struct LoadOptions {
  AggregationSession::Options session;
  int64_t registrar_sessions_per_day = 1000;
  // PrivateTaskOptions.
  int64_t noise_cohort = 0;
  // What a private task has spent before; null: nothing.
  const Ledger* ledger = nullptr;
  // The task has ended: of a private one only what its ledger says is loaded,
  // and `private_task` stays null; its numbers are worked out when somebody
  // asks.
  bool ended = false;
};
// The numbers of a private task over that model; codes of ResolvePrivateTask.
// The search for its noise takes a moment.
absl::StatusOr<PrivateTask> ResolveNumbers(const v1::Task& task,
                                           const ParameterLayout& layout,
                                           int64_t noise_cohort);
// `signed_task`: the serialized SignedMessage around `task`.
absl::StatusOr<LoadedTask> LoadTask(v1::Task task,
                                    const std::string& signed_task,
                                    std::string_view package_file,
                                    const LoadOptions& options);

absl::StatusOr<std::unique_ptr<Aggregator>> MakeTrainingSum(
    const TaskContext& context);

// INVALID_ARGUMENT, in words for the device's owner and the operator: an update
// of another assignment or layout, with other sections or scalars, or a value
// that is no number or out of bounds, named by section, parameter entry and
// position.
absl::Status ValidateUpdate(const TaskContext& context,
                            const AssignmentRecord& assignment,
                            const UpdateView& update);

// Largest update file that an assignment can have.
uint64_t MaximumUpdateBytes(const TaskContext& context, AssignmentKind kind);

// What the device is told. Precondition: the base version is in `versions`.
v1::Assignment MakeAssignmentMessage(const TaskContext& context,
                                     const AssignmentRecord& record);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_TASK_CONTEXT_H_
