#ifndef MLEDGE_MODEL_TORCH_INTERNAL_PACKAGE_BUILDER_H_
#define MLEDGE_MODEL_TORCH_INTERNAL_PACKAGE_BUILDER_H_

#include <torch/script.h>

#include "absl/status/statusor.h"
#include "mledge/model/torch/torchscript_import.h"

// From a TorchScript module to a package: layout, initial values, code without
// values, and one training step that shows that all of it holds. Includes
// LibTorch: for model/torch only.

namespace mledge {

// See ImportTorchScript. Changes the module's values.
absl::StatusOr<ImportedModel> BuildPackage(torch::jit::Module module,
                                           const ImportOptions& options);

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_INTERNAL_PACKAGE_BUILDER_H_
