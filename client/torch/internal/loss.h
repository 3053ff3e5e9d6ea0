#ifndef MLEDGE_CLIENT_TORCH_INTERNAL_LOSS_H_
#define MLEDGE_CLIENT_TORCH_INTERNAL_LOSS_H_

#include <cstdint>
#include <span>

#include "mledge/client/example_store.h"
#include "mledge/model/package.h"

// Losses, metrics and the loss's gradient, by hand on the model's raw outputs:
// a batch has a few hundred numbers, for which LibTorch's operators cost more
// in bookkeeping (a tenth of a step of a small model) than in arithmetic.

namespace mledge {

struct LossSums {
  double loss = 0;
  double metric = 0;
};

// Sums over the batch's examples, each in double and in the batch's order; the
// metric is the loss's own (correct predictions, squared error).
// `outputs` holds one row an example. Unless it is empty, `gradient` gets the
// derivative of the batch's mean loss by the outputs. Preconditions: labels lie
// in range and are present as the loss asks; `gradient` is empty or as long as
// `outputs`.
LossSums ComputeLoss(Loss loss, const ExampleBatch& batch,
                     std::span<const float> outputs, std::span<float> gradient);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TORCH_INTERNAL_LOSS_H_
