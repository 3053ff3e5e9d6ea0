#ifndef MLEDGE_CLIENT_TORCH_INTERNAL_LOCAL_OPTIMIZER_H_
#define MLEDGE_CLIENT_TORCH_INTERNAL_LOCAL_OPTIMIZER_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "mledge/client/local_trainer.h"
#include "mledge/core/parameters.h"

// The device's optimizer, one pass over a range of the flat parameters. The
// formulas are PyTorch's (torch.optim.SGD without dampening, torch.optim.Adam
// with L2 weight decay), with the proximal term of FedProx (Li et al., 2020)
// added to the gradient. Plain C++. One thread at a time.

namespace mledge {

class LocalOptimizer {
 public:
  // Fresh state for parameters of `size` elements. `base`, the parameters that
  // training began from, is read while the plan has a proximal term and must
  // outlive the training.
  void Start(const TrainingPlan& plan, int64_t size,
             std::span<const float> base);

  // Once a step, before its updates.
  void BeginStep() { ++step_; }
  // Updates parameters[offset, offset + count). A null gradient is zero: the
  // range took no part in the step.
  void Update(std::span<float> parameters, int64_t offset, int64_t count,
              const float* gradient);

  // State for snapshots; as long as Start made them (or empty).
  int64_t step() const { return step_; }
  std::span<const float> first_moment() const { return first_.span(); }
  std::span<const float> second_moment() const { return second_.span(); }
  // INVALID_ARGUMENT: other lengths than this plan's.
  absl::Status Restore(int64_t step, std::span<const float> first,
                       std::span<const float> second);

 private:
  std::variant<SgdPlan, AdamPlan> kind_;
  double learning_rate_ = 0;
  float proximal_ = 0;
  std::span<const float> base_;
  int64_t step_ = 0;
  AlignedFloats first_;   // momentum, or Adam's mean; else empty
  AlignedFloats second_;  // Adam's mean of squares; else empty
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TORCH_INTERNAL_LOCAL_OPTIMIZER_H_
