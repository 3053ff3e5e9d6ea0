#ifndef MLEDGE_CLIENT_TORCH_INTERNAL_TRAINER_SNAPSHOT_H_
#define MLEDGE_CLIENT_TORCH_INTERNAL_TRAINER_SNAPSHOT_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/client/local_trainer.h"
#include "mledge/core/parameters.h"
#include "mledge/core/sha256.h"

// A paused training as bytes: little-endian fields, then a SHA-256 over all
// before it, so that a damaged file is refused and never trained on. Plain C++.

namespace mledge {

struct TrainerState {
  // Of plan, starting parameters and examples; see TrainingFingerprint.
  Digest fingerprint;
  int64_t step = 0;
  int64_t epoch = 0;
  int64_t position = 0;
  // Sums of the window that Finish reports.
  int64_t examples = 0;
  double loss_sum = 0;
  double metric_sum = 0;
  // In the trainer's memory order.
  AlignedFloats parameters;
  AlignedFloats first_moment;
  AlignedFloats second_moment;
  std::string non_float_state;
};

std::string SerializeTrainerState(const TrainerState& state);
// INVALID_ARGUMENT: truncated, damaged, or of another version.
absl::StatusOr<TrainerState> ParseTrainerState(std::string_view bytes);

// What has to be the same for a snapshot to go on: everything in the plan, the
// model's code and memory format, the parameters that training began from (in
// the trainer's memory order) and the number of examples.
Digest TrainingFingerprint(const TrainingPlan& plan, const Digest& model,
                           std::span<const float> base, int64_t examples);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TORCH_INTERNAL_TRAINER_SNAPSHOT_H_
