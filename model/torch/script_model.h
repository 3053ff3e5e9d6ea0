#ifndef MLEDGE_MODEL_TORCH_SCRIPT_MODEL_H_
#define MLEDGE_MODEL_TORCH_SCRIPT_MODEL_H_

#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/script.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// A TorchScript module that is safe to train: searched for random operators and
// rewritten when it is loaded, whoever wrote the file, so that nothing here
// ever draws from LibTorch's global generator. Includes LibTorch: for
// model/torch and client/torch only. One thread at a time.

namespace mledge {

class ScriptModel {
 public:
  // INVALID_ARGUMENT: not TorchScript, truncated, an operator that this
  // LibTorch does not know or that CheckAndRewriteGraph refuses, a forward that
  // does not map one tensor to one tensor.
  static absl::StatusOr<std::unique_ptr<ScriptModel>> Load(
      std::string_view code);
  static absl::StatusOr<std::unique_ptr<ScriptModel>> FromModule(
      torch::jit::Module module);

  // The output of forward. Throws what LibTorch throws.
  at::Tensor Run(const at::Tensor& input);
  // Sets `training` of the module and of all inside it.
  void SetTraining(bool training) { module_.train(training); }

  torch::jit::Module& module() { return module_; }
  // What a person who imports the model should know.
  const std::vector<std::string>& notices() const { return notices_; }

 private:
  ScriptModel(torch::jit::Module module, torch::jit::Code code,
              std::vector<c10::IValue> defaults,
              std::vector<std::string> notices);

  torch::jit::Module module_;
  torch::jit::Code code_;              // forward, inlined and rewritten
  std::vector<c10::IValue> defaults_;  // forward's further arguments
  std::vector<std::string> notices_;
  torch::jit::Stack stack_;
};

// The module as the bytes of a TorchScript file.
absl::StatusOr<std::string> SerializeModule(const torch::jit::Module& module);

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_SCRIPT_MODEL_H_
