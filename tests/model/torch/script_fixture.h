#ifndef MLEDGE_TESTS_MODEL_TORCH_SCRIPT_FIXTURE_H_
#define MLEDGE_TESTS_MODEL_TORCH_SCRIPT_FIXTURE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// TorchScript files as PyTorch would write them, compiled from source on the
// spot: no binary fixtures, no Python. Plain header.

namespace mledge {

struct FixtureTensor {
  enum class Kind { kParameter, kFrozen, kBuffer, kCounter };
  std::string name;
  std::vector<int64_t> shape;
  Kind kind = Kind::kParameter;
  // Name of an earlier tensor whose values this one shares.
  std::string tied_to;
};

// A module with those tensors, the attributes `training` (bool) and `ratio`
// (float, 0.5), and the methods of `source` (TorchScript, one of them forward).
// Values are drawn from a fixed seed; counters are int64 zeros.
// FAILED_PRECONDITION when this LibTorch cannot compile the source.
absl::StatusOr<std::string> CompileTorchScript(
    const std::vector<FixtureTensor>& tensors, std::string_view source);

// One LSTM layer over [batch, 6, 4] sequences, dropout, a linear layer to 3
// classes. Input [6, 4].
absl::StatusOr<std::string> CompileLstmModel();
// Self-attention with two heads over [batch, 6, 8] sequences, dropout, mean, a
// linear layer to 3 classes. Input [6, 8].
absl::StatusOr<std::string> CompileAttentionModel();
// Convolution, batch normalization, linear layer to 3 classes. Input [2, 6, 6].
absl::StatusOr<std::string> CompileBatchNormModel();

// Uses the operator mledge_fixture::mystery, which existed while the file was
// written and does not any more. Input [4].
absl::StatusOr<std::string> CompileModelWithForgottenOperator();

// Draws one number from LibTorch's global generator.
double DrawFromGlobalGenerator();
void SeedGlobalGenerator(uint64_t seed);

}  // namespace mledge

#endif  // MLEDGE_TESTS_MODEL_TORCH_SCRIPT_FIXTURE_H_
