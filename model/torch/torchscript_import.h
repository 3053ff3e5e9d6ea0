#ifndef MLEDGE_MODEL_TORCH_TORCHSCRIPT_IMPORT_H_
#define MLEDGE_MODEL_TORCH_TORCHSCRIPT_IMPORT_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/model/package.h"

// Users' own models: any file that torch.jit.script(model).save(path) or
// torch.jit.trace wrote becomes a package, without recompiling anything. Plain
// header; thread-safe.
//
// Parameters are trained, those with requires_grad off are frozen; float32
// buffers (batch normalization's statistics) are averaged like parameters,
// other buffers stay on the device. Tied weights stay tied. Dropout is replaced
// by a repeatable one; other random operators are refused.

namespace mledge {

struct ImportOptions {
  std::string name;
  TensorSpec input;
  // Empty shape: found out by running the model.
  TensorSpec output;
  Loss loss = Loss::kCrossEntropy;
  Metric metric = Metric::kAccuracy;
  // Parameters and buffers, by name or by the name of a module that contains
  // them, that are to stay as they are ("encoder", "position.table").
  std::vector<std::string> frozen;
};

struct ImportedModel {
  ModelPackage package;  // initial parameters are the file's values
  // What the person who imports it should know, one sentence each.
  std::vector<std::string> notices;
};

// `code`: the bytes of the file. Runs one training step on made-up data to
// check the shapes and to find out whether activations may be channels-last.
// INVALID_ARGUMENT: not TorchScript or truncated; an operator that is unknown
// or random (named, with the way out); an input or output that does not fit the
// model, or an output that does not fit the loss; no trainable parameter;
// values that are not finite; an unknown name in `frozen`.
absl::StatusOr<ImportedModel> ImportTorchScript(std::string_view code,
                                                const ImportOptions& options);

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_TORCHSCRIPT_IMPORT_H_
