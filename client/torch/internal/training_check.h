#ifndef MLEDGE_CLIENT_TORCH_INTERNAL_TRAINING_CHECK_H_
#define MLEDGE_CLIENT_TORCH_INTERNAL_TRAINING_CHECK_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "mledge/client/example_store.h"
#include "mledge/client/local_trainer.h"
#include "mledge/model/package.h"

// What is refused before LibTorch sees it. All return INVALID_ARGUMENT with the
// thing, the place and the remedy. Plain C++.

namespace mledge {

// Loss, metric and output of the package fit together.
absl::Status CheckPackage(const ModelPackage& package);

absl::Status CheckPlan(const TrainingPlan& plan);

// The store's inputs and labels are of the model's shape.
absl::Status CheckStore(const ModelPackage& package,
                        const ExampleStore& examples);

// The batch holds what the model needs, all of it finite, class labels in
// range. `positions` are those of the batch's examples in the store. INTERNAL
// when a vector is shorter than the batch: a fault of the store.
absl::Status CheckBatch(const ModelPackage& package,
                        std::span<const int64_t> positions,
                        const ExampleBatch& batch);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TORCH_INTERNAL_TRAINING_CHECK_H_
