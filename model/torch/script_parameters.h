#ifndef MLEDGE_MODEL_TORCH_SCRIPT_PARAMETERS_H_
#define MLEDGE_MODEL_TORCH_SCRIPT_PARAMETERS_H_

#include <torch/script.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/parameters.h"

// The tensors of a TorchScript module as entries of a layout. Includes
// LibTorch: for model/torch and client/torch only.

namespace mledge {

// One tensor of a module and where it hangs.
struct ScriptParameter {
  ParameterEntry entry;  // roles as the module says; see ImportOptions
  c10::intrusive_ptr<c10::ivalue::Object> owner;
  size_t slot = 0;
  at::Tensor value;
};

// All parameters and buffers, in the order of the module. Parameters are
// trainable unless their requires_grad is off (frozen); float32 buffers are
// averaged, others are local. Tensors that share all their memory are one entry
// and its aliases. INVALID_ARGUMENT: a trainable parameter that is not float32,
// an element type that layouts do not know.
absl::StatusOr<std::vector<ScriptParameter>> ListScriptParameters(
    const torch::jit::Module& module);

// Replaces the float32 values of the module by one element each, spread over
// the same shape: a file that carries layout and code alone. Non-float state
// keeps its values.
void StripValues(const std::vector<ScriptParameter>& parameters);

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_SCRIPT_PARAMETERS_H_
