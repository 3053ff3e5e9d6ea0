#ifndef MLEDGE_MODEL_TORCH_INTERNAL_DROPOUT_OPERATOR_H_
#define MLEDGE_MODEL_TORCH_INTERNAL_DROPOUT_OPERATOR_H_

#include <torch/script.h>

// The operators that take the place of TorchScript's dropout:
//
//   mledge::dropout(Tensor input, float p, bool train) -> Tensor
//   mledge::dropout_(Tensor(a!) input, float p, bool train) -> Tensor(a!)
//   mledge::feature_dropout, mledge::feature_dropout_: whole channels
//
// Their arguments are those of aten's, so that a graph node changes its name
// and nothing else. They are composed of operators that LibTorch
// differentiates.

namespace mledge {

// The operator that replaces `kind`, or a default Symbol when none does.
// Calling it also makes sure that the operators are registered.
c10::Symbol DropoutReplacement(c10::Symbol kind);

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_INTERNAL_DROPOUT_OPERATOR_H_
