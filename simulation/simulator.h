#ifndef MLEDGE_SIMULATION_SIMULATOR_H_
#define MLEDGE_SIMULATION_SIMULATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/client/example_store.h"
#include "mledge/client/local_trainer.h"
#include "mledge/core/parameters.h"
#include "mledge/core/sha256.h"
#include "mledge/model/package.h"
#include "mledge/simulation/partitioner.h"
#include "mledge/v1/admin_service.pb.h"
#include "mledge/v1/privacy.pb.h"
#include "mledge/v1/task.pb.h"

// A whole fleet in one process: the coordinator and the device sessions that
// ship, on a virtual clock, with storage in memory and throw-away keys. The
// result depends on task, package, data and seed alone, not on the number of
// workers, on `wire`, or on how fast anything really is.
//
// One thread runs the clock (the caller of Run); `workers` threads train.

namespace mledge {

// One round, or one line of metrics.jsonl.
struct RoundMetrics {
  int64_t round = 0;
  int64_t version = 0;  // that it published
  // On the virtual clock and on the wall, since the task was submitted.
  double virtual_seconds = 0;
  double wall_seconds = 0;
  int64_t assigned = 0;  // devices that got the work
  int64_t devices = 0;   // whose updates were counted
  int64_t failures = 0;  // devices that gave up or were refused
  int64_t attempts = 1;  // the round failed so often before, plus one
  int64_t examples = 0;
  // While training; absent in private tasks, which report no such numbers.
  std::optional<double> training_loss;
  std::optional<double> training_metric;
  std::optional<double> evaluation_loss;
  std::optional<double> evaluation_metric;
  // The version was to be evaluated and was not: too few devices answered.
  bool evaluation_skipped = false;
  // Canary audits: the bound after this round, taken by itself; absent while
  // too few canaries have taken part.
  std::optional<double> audit_epsilon_lower_bound;
  // As they would be on the wire, by all devices since the round before.
  uint64_t bytes_up = 0;
  uint64_t bytes_down = 0;
};

// What a canary audit came to (Options.audit_canaries).
struct CanaryAuditReport {
  int64_t canaries = 0;
  int64_t took_part = 0;  // in a round, at least
  // The guesses that gave the bound, and how many were right.
  int64_t guesses = 0;
  int64_t correct = 0;
  // Epsilon against model recipients is more than this, if delta is the
  // claim's, but for a probability of 1 − confidence. Below the claim it proves
  // nothing; above, the claim is false.
  double epsilon_lower_bound = 0;
  double confidence = 0;
  v1::PrivacyClaim claim;

  bool contradicts_claim() const {
    return epsilon_lower_bound > claim.epsilon();
  }
};

struct SimulationProgress {
  int64_t round = 0;
  int64_t rounds = 0;
  // Updates of this round.
  int64_t acknowledged = 0;
  int64_t wanted = 0;
};

struct SimulationResult {
  v1::TaskState state = v1::TASK_STATE_UNSPECIFIED;
  std::string reason;
  bool stopped = false;  // by Options.stop, before the task's end
  ParameterVector parameters;
  Digest parameters_sha256;
  int64_t version = 0;
  std::vector<RoundMetrics> rounds;
  absl::Duration virtual_time;
  absl::Duration wall_time;
  // Wall time that workers spent training, all together.
  absl::Duration training_time;
  int64_t vanished_devices = 0;
  std::optional<CanaryAuditReport> audit;
};

class Simulator {
 public:
  struct Options {
    // Validated (task/validation.h), with a `simulation` section whose data
    // sources are not read here.
    v1::Task task;
    ModelPackage package;
    std::shared_ptr<const ExampleStore> training_data;
    // Null: no evaluator.
    std::shared_ptr<const ExampleStore> test_data;
    // Null: as the task's partition says.
    std::shared_ptr<const Partition> partition;
    // Threads that train; 0: as many as the machine has cores.
    int workers = 0;
    // Every message through its real serialization; the result is the same.
    bool wire = false;
    // So many of the fleet's devices, the last ones, are canaries that audit
    // the task's privacy claim instead of training: the model is of no other
    // use. 0: none.
    int64_t audit_canaries = 0;
    // Runs first in each worker: LibTorch's per-thread settings.
    std::function<void()> on_worker_start;
    // Called on the thread of Run; may be null. on_round: in the order of the
    // rounds, when everything about a round is known.
    std::function<void(const RoundMetrics&)> on_round;
    std::function<void(const SimulationProgress&)> on_progress;
    std::function<void(const std::string&)> on_warning;
    // True ends the simulation with what is there; called from time to time.
    std::function<bool()> stop;
  };

  // INVALID_ARGUMENT: data that do not fit the model, a cohort larger than the
  // fleet, a partition that cannot be made, an audit of a task that claims
  // nothing or could not be refuted.
  static absl::StatusOr<std::unique_ptr<Simulator>> Create(
      Options options, TrainerFactory* factory);
  virtual ~Simulator() = default;

  virtual const Partition& partition() const = 0;
  virtual int workers() const = 0;
  // Once. FAILED_PRECONDITION: the task cannot go on (says why); other codes
  // are the coordinator's. A task that fails or is stopped is a result.
  virtual absl::StatusOr<SimulationResult> Run() = 0;
};

}  // namespace mledge

#endif  // MLEDGE_SIMULATION_SIMULATOR_H_
