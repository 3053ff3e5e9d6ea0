#ifndef MLEDGE_COORDINATOR_SUM_NOISE_H_
#define MLEDGE_COORDINATOR_SUM_NOISE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/core/executor.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"
#include "mledge/privacy/matrix/correlated_noise.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/v1/task.pb.h"

// From the exact sum of a private round to what may be seen of it, in integers:
//
//   sum on the aggregator's grid → steps of the task's grid (exact)
//   → rotated back (distributed noise, which is in the sum already)
//   → + discrete Gaussian noise (central), correlated with that of the rounds
//     before (correlated)
//   → divided by the fixed cohort and multiplied by the clip norm, by whoever
//     forms the mean
//
// and the clip norm of the next round from the noisy count of devices below it.
// A round is drawn once: whoever publishes keeps what came out until it is on
// disk (publisher.h). Not thread-safe.

namespace mledge {

class SumNoise {
 public:
  // `random` must outlive this. `state`: what the round before left, or nothing
  // before the first. DATA_LOSS: a damaged state.
  static absl::StatusOr<std::unique_ptr<SumNoise>> Create(
      const v1::Task& task, std::shared_ptr<const PrivateTask> plan,
      int64_t shared_size, SecretRandom* random,
      const std::optional<std::string>& state);

  struct Noised {
    AggregationSum sum;
    double next_clip_norm = 0;
  };
  // `step`: completed rounds before this one. `clip_norm`: of this round.
  // FAILED_PRECONDITION: a sum off the grid, or a step that was drawn before.
  absl::StatusOr<Noised> Apply(const AggregationSum& sum, int64_t step,
                               RoundNumber round, double clip_norm,
                               ThreadPool* pool);

  // What correlated noise must remember, secret; nothing for other noise.
  absl::StatusOr<std::optional<SecretBytes>> State() const;

 private:
  SumNoise(const v1::Task& task, std::shared_ptr<const PrivateTask> plan,
           int64_t shared_size, SecretRandom* random);
  absl::Status AddNoise(int64_t step, std::span<int64_t> integers,
                        ThreadPool* pool);
  // From the noisy count of devices below the clip norm, which replaces the
  // exact one.
  absl::StatusOr<double> MoveClipNorm(double clip_norm, AggregationSum* sum);

  const v1::Task task_;
  const std::shared_ptr<const PrivateTask> plan_;
  const int64_t shared_size_;
  SecretRandom* const random_;
  std::unique_ptr<CorrelatedNoise> correlated_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_SUM_NOISE_H_
