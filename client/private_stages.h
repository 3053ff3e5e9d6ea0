#ifndef MLEDGE_CLIENT_PRIVATE_STAGES_H_
#define MLEDGE_CLIENT_PRIVATE_STAGES_H_

#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/sha256.h"
#include "mledge/core/update.h"
#include "mledge/privacy/plan/private_task.h"

// The stages that a private task adds to a device's update pipeline
// (update_pipeline.h), after clipping. What a value means on the way:
// privacy/plan/private_task.h. Pure functions of their arguments, thread-safe.
// All take an update with the one section "delta".

namespace mledge {

// The values of the one section.
absl::StatusOr<std::span<float>> PrivateValues(Update* update);

// Divides all values by the round's clip norm.
absl::Status DivideByClipNorm(double clip_norm, Update* update);

// Spreads the values evenly over task.dimension coordinates, by a rotation that
// all devices of the round share.
absl::Status RotateUpdate(const PrivateTask& task, const Digest& seed,
                          Update* update);

// Rounds at random to multiples of the grid's step, so that the norm stays
// within the sensitivity, and adds this device's noise, if the task has any. In
// integers; the results are exact in float32, or OUT_OF_RANGE.
// INVALID_ARGUMENT: another number of values than task.dimension, a norm above
// 1.
absl::Status RoundAndAddNoise(const PrivateTask& task, SecretRandom& random,
                              Update* update);

// Every number beside the update would be a release of its own: examples, loss
// and metric become 0. With adaptive clipping the clip bit is added, which the
// coordinator's noise on the count covers.
void HideNumbers(const PrivateTask& task, bool clipped, Update* update);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_PRIVATE_STAGES_H_
