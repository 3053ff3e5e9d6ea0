#ifndef MLEDGE_COORDINATOR_PUBLISHER_H_
#define MLEDGE_COORDINATOR_PUBLISHER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/server_optimizer.h"
#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/sum_noise.h"
#include "mledge/core/executor.h"
#include "mledge/core/parameters.h"
#include "mledge/v1/model.pb.h"
#include "mledge/v1/signature.pb.h"
#include "mledge/v1/task.pb.h"

// From a round's complete sum to the next version of the model, in this order:
//
//   sum → noise (sum_noise.h; private tasks) → weighted mean
//   → server optimizer → new parameters                       (once a round)
//   → blobs of parameters and moments, synced → statement signed → record
//
// and only the record is handed back: the caller commits it together with the
// end of the round and with what it costs. A crash before that leaves blobs
// that nobody names; a failure (disk full) can be tried again, and neither is
// noise drawn nor the optimizer's step taken twice. Not thread-safe. What comes
// before: round.h. What comes next: devices fetch the version (coordinator.h).

namespace mledge {

class Publisher {
 public:
  struct Dependencies {
    CoordinatorStorage* storage = nullptr;
    ThreadPool* pool = nullptr;  // may be null
    std::function<absl::StatusOr<v1::SignedMessage>(
        const v1::VersionStatement&)>
        sign_version;
    SecretRandom* noise_random = nullptr;  // of private tasks
  };

  // Goes on from the newest version. Codes of the storage; DATA_LOSS when what
  // it holds does not fit the layout.
  // `private_task`: null where there is no differential privacy.
  static absl::StatusOr<std::unique_ptr<Publisher>> Create(
      Dependencies dependencies, const v1::Task& task,
      std::shared_ptr<const PrivateTask> private_task,
      std::shared_ptr<const ParameterLayout> layout, const TaskRecord& record,
      const VersionRecord& newest);

  // FAILED_PRECONDITION: the sum gives no usable parameters (diverged); do not
  // try again. Else the codes of storage and signer; try again.
  absl::StatusOr<VersionRecord> Publish(absl::Time now, RoundNumber round,
                                        const AggregationSum& sum);

 private:
  Publisher() = default;
  // Once a round: noise, mean and optimizer's step.
  absl::Status Advance(RoundNumber round, const AggregationSum& sum);

  Dependencies dependencies_;
  std::shared_ptr<const ParameterLayout> layout_;
  TaskId task_;
  Digest package_;
  std::unique_ptr<ServerOptimizer> optimizer_;
  bool optimizer_has_state_ = false;
  VersionNumber version_;  // of parameters_
  ParameterVector parameters_;
  RoundNumber applied_round_;        // that parameters_ hold
  std::unique_ptr<SumNoise> noise_;  // of private tasks
  double clip_norm_ = 0;             // likewise, of the round to come
  // A step failed halfway: neither moments nor parameters may be used.
  absl::Status broken_;
};

ServerOptimizerOptions ResolveServerOptimizer(
    const v1::Aggregation& aggregation);

// Stores `parameters` and signs what the coordinator says of the version.
absl::StatusOr<VersionRecord> StoreVersion(
    const Publisher::Dependencies& dependencies, absl::Time now,
    const TaskId& task, const Digest& package, RoundNumber round,
    VersionNumber version, const ParameterVector& parameters);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_PUBLISHER_H_
