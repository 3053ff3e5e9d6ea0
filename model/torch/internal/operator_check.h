#ifndef MLEDGE_MODEL_TORCH_INTERNAL_OPERATOR_CHECK_H_
#define MLEDGE_MODEL_TORCH_INTERNAL_OPERATOR_CHECK_H_

#include <torch/script.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

// What a model's graph may contain. Results have to depend on the task's seed
// and nothing else, so operators that draw from LibTorch's global generator are
// replaced (dropout) or refused by name, with the way out.

namespace mledge {

// Walks `graph`, the inlined forward of `module`, with all its blocks. Dropout
// becomes an operator of ours. Appends to `notices` what a person should know.
// INVALID_ARGUMENT: a random operator, dropout inside a fused operator, a
// parallel task, code that cannot be inlined, an attribute other than a tensor
// that changes in forward; names the operator and its place in the source.
absl::Status CheckAndRewriteGraph(const torch::jit::Module& module,
                                  torch::jit::Graph* graph,
                                  std::vector<std::string>* notices);

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_INTERNAL_OPERATOR_CHECK_H_
