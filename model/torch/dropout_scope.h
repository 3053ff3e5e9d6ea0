#ifndef MLEDGE_MODEL_TORCH_DROPOUT_SCOPE_H_
#define MLEDGE_MODEL_TORCH_DROPOUT_SCOPE_H_

#include <cstdint>

#include "mledge/core/training_random.h"

// The randomness of a model's dropout. TorchScript's own dropout draws from a
// generator that all threads share, so loading replaces it by an operator of
// ours (script_model.h) that takes its mask from the scope of the thread. Plain
// header.

namespace mledge {

// While it lives, dropout on this thread draws its masks from `stream` at the
// place of step `step`; masks of one step follow each other in the order of the
// calls. Without a scope dropout does nothing, whatever the model's `training`
// says: a model traced in training mode must not drop when it predicts. Scopes
// do not nest.
class DropoutScope {
 public:
  DropoutScope(const TrainingRandom* stream, int64_t step);
  ~DropoutScope();
  DropoutScope(const DropoutScope&) = delete;
  DropoutScope& operator=(const DropoutScope&) = delete;
};

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_DROPOUT_SCOPE_H_
