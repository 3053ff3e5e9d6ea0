#ifndef MLEDGE_MODEL_TORCH_BUILT_IN_MODELS_H_
#define MLEDGE_MODEL_TORCH_BUILT_IN_MODELS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/model/package.h"

// Models that need no file and no Python: TorchScript written here. They are
// packages like imported ones. Plain header; thread-safe.

namespace mledge {

struct BuiltInModelOptions {
  // softmax-regression: one linear layer.
  // 2nn: two hidden layers of 200 with ReLU (McMahan et al., 2017; 199,210
  //   parameters for 784 inputs and 10 outputs).
  // fedavg-cnn: that paper's convolutional network for 28×28 images (1,663,370
  //   parameters for 10 outputs).
  // mlp: layers of one's choice, with ReLU; for tables.
  std::string architecture;
  // Numbers an example; 0: 784. Required for mlp; fedavg-cnn takes 784 only.
  int64_t inputs = 0;
  // Classes, or outputs of a regression; 0: 10.
  int64_t outputs = 0;
  // mlp only: widths of the hidden layers, first to last; may be empty.
  std::vector<int64_t> hidden;
  // mlp only: mean squared error instead of cross entropy.
  bool regression = false;
};

// The valid values of `architecture`.
std::span<const std::string_view> BuiltInArchitectures();

// Initial values come from TrainingRandom (`seed`, purpose "initial-values"):
// weights uniform on ±√(6 / (inputs + outputs)) of their layer (Glorot and
// Bengio, AISTATS 2010), a convolution's times its kernel; biases 0.
// INVALID_ARGUMENT: unknown architecture (names the valid ones), an option that
// the architecture does not take, a width outside 1 … 1,000,000.
absl::StatusOr<ModelPackage> CreateBuiltInModel(
    const BuiltInModelOptions& options, uint64_t seed);

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_BUILT_IN_MODELS_H_
