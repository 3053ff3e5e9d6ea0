#ifndef MLEDGE_CLIENT_TORCH_INTERNAL_TORCH_LOCAL_TRAINER_H_
#define MLEDGE_CLIENT_TORCH_INTERNAL_TORCH_LOCAL_TRAINER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/local_trainer.h"
#include "mledge/client/torch/internal/example_order.h"
#include "mledge/client/torch/internal/local_optimizer.h"
#include "mledge/client/torch/internal/loss.h"
#include "mledge/client/torch/internal/trainer_snapshot.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/core/training_random.h"
#include "mledge/model/torch/bound_model.h"

// LocalTrainer on a BoundModel. One step is: read a batch, check it, forward
// through the interpreter, loss and its gradient by hand, backward, one pass of
// the optimizer over each tensor's range of the flat buffer. Gradients are the
// tensors that autograd made and are let go at once: writing them into a buffer
// of ours first would cost two more passes over the model. Includes LibTorch.

namespace mledge {

class TorchLocalTrainer final : public LocalTrainer {
 public:
  TorchLocalTrainer(ModelPackage package, std::unique_ptr<BoundModel> model,
                    TorchTrainerOptions options);

  absl::Status Start(const TrainingPlan& plan,
                     const ParameterVector& parameters,
                     const ExampleStore* examples) override;
  absl::StatusOr<Progress> Step(int64_t max_steps) override;
  absl::StatusOr<TrainerSnapshot> Snapshot() const override;
  absl::Status Restore(const TrainingPlan& plan,
                       const ParameterVector& parameters,
                       const ExampleStore* examples,
                       const TrainerSnapshot& snapshot) override;
  absl::StatusOr<Update> Finish() override;

 private:
  enum class Phase { kIdle, kRunning, kDone };

  bool evaluates() const { return plan_.kind == TrainingPlan::Kind::kEvaluate; }
  absl::Status RunStep();
  absl::Status Train();
  absl::Status Evaluate();
  absl::Status AddSums(const LossSums& sums);
  void ApplyGradients();
  absl::Status Continue(const TrainerSnapshot& snapshot);
  bool AtEnd() const;
  absl::Status CheckResult() const;
  Digest Fingerprint() const;

  // Without code and initial parameters, which the model holds by now.
  const ModelPackage package_;
  const Digest model_digest_;
  const TorchTrainerOptions options_;
  const std::unique_ptr<BoundModel> model_;

  Phase phase_ = Phase::kIdle;
  TrainingPlan plan_;
  const ExampleStore* examples_ = nullptr;
  AlignedFloats base_;  // what training began from, in the model's order
  std::optional<TrainingRandom> dropout_;
  ExampleOrder order_;
  LocalOptimizer optimizer_;
  ExampleBatch batch_;
  int64_t step_ = 0;
  // The window that Finish reports.
  int64_t window_examples_ = 0;
  double loss_sum_ = 0;
  double metric_sum_ = 0;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TORCH_INTERNAL_TORCH_LOCAL_TRAINER_H_
