#ifndef MLEDGE_CLIENT_LOCAL_TRAINER_H_
#define MLEDGE_CLIENT_LOCAL_TRAINER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/example_store.h"
#include "mledge/core/parameters.h"
#include "mledge/core/update.h"
#include "mledge/model/package.h"

// Step 2 of the way of the data: local training, in steps, so that a device can
// pause, survive a restart and keep to a budget. The interface is plain; the
// implementation on LibTorch is client/torch/torch_trainer.h. Next:
// update_pipeline.h.
//
// Order of calls: 1. Start or Restore; 2. Step until kDone, with Snapshot in
// between at will; 3. Finish. Start may then be called again. A trainer is used
// by one thread at a time; several trainers train side by side. Results depend
// on plan, parameters and examples alone: not on the split into Step calls, on
// threads, or on what the trainer did before.

namespace mledge {

struct SgdPlan {
  double momentum = 0;
  double weight_decay = 0;
};
struct AdamPlan {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
};

// An assignment's parameters, resolved.
struct TrainingPlan {
  enum class Kind { kTrain, kEvaluate };
  Kind kind = Kind::kTrain;

  // Key of the public randomness: order of examples, dropout.
  uint64_t task_seed = 0;
  std::string device;
  int64_t ordinal = 0;

  // Exactly one is > 0 for training: passes over the examples, or steps.
  int64_t epochs = 1;
  int64_t steps = 0;
  // 0: all examples in one batch. The last batch of an epoch may be smaller.
  int64_t batch_size = 10;
  // 0: all; else the first so many after shuffling.
  int64_t max_examples = 0;
  double learning_rate = 0;
  std::variant<SgdPlan, AdamPlan> optimizer;
  double proximal_coefficient = 0;
};

// Everything that a trainer needs to go on where it was, opaque.
struct TrainerSnapshot {
  std::string bytes;
};

class LocalTrainer {
 public:
  enum class Progress { kMore, kDone };

  virtual ~LocalTrainer() = default;

  // Begins. `parameters` has the package's layout. `examples` must outlive the
  // training. INVALID_ARGUMENT: layout, shapes or plan do not fit the model, a
  // store without examples.
  virtual absl::Status Start(const TrainingPlan& plan,
                             const ParameterVector& parameters,
                             const ExampleStore* examples) = 0;

  // Runs at most `max_steps` optimizer steps (evaluation: batches).
  // INVALID_ARGUMENT: a label out of range, NaN or infinity in an example,
  // naming its position. OUT_OF_RANGE: loss or parameters became NaN or
  // infinite, naming the step. FAILED_PRECONDITION: not started.
  virtual absl::StatusOr<Progress> Step(int64_t max_steps) = 0;

  // Between steps. FAILED_PRECONDITION: not started.
  virtual absl::StatusOr<TrainerSnapshot> Snapshot() const = 0;
  // Begins where a snapshot of the same plan, parameters and examples stood.
  // INVALID_ARGUMENT: a snapshot of something else, or a damaged one.
  virtual absl::Status Restore(const TrainingPlan& plan,
                               const ParameterVector& parameters,
                               const ExampleStore* examples,
                               const TrainerSnapshot& snapshot) = 0;

  // The update: section kDeltaSection (training only) over the layout's shared
  // prefix; scalars kExamplesScalar, kLossSumScalar and kMetricSumScalar; for
  // training the last two are those of the last epoch's batches (or of all
  // steps) before each step. weight: the number of examples.
  // FAILED_PRECONDITION unless Step said kDone.
  virtual absl::StatusOr<Update> Finish() = 0;
};

// Outputs of a model for inputs: inference on the device. One thread at a time.
class Predictor {
 public:
  virtual ~Predictor() = default;
  // Rows of `package.output` elements, one per example of the batch.
  virtual absl::StatusOr<std::vector<float>> Predict(
      const ParameterVector& parameters, const ExampleBatch& batch) = 0;
};

// Makes trainers for packages of its formats: the seam between the client and a
// training library. Thread-safe.
class TrainerFactory {
 public:
  virtual ~TrainerFactory() = default;
  // UNIMPLEMENTED for a format it does not know; INVALID_ARGUMENT for code that
  // does not load or whose parameters differ from the package's layout.
  virtual absl::StatusOr<std::unique_ptr<LocalTrainer>> CreateTrainer(
      const ModelPackage& package) = 0;
  virtual absl::StatusOr<std::unique_ptr<Predictor>> CreatePredictor(
      const ModelPackage& package) = 0;
  // Name and version of the library, for logs and manifests: "LibTorch 2.13.0".
  virtual std::string Description() const = 0;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_LOCAL_TRAINER_H_
