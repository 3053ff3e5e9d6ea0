#include "mledge/client/torch/internal/torch_predictor.h"

#include <algorithm>
#include <span>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/torch/torch_error.h"
#include "mledge/model/torch/torch_runtime.h"

namespace mledge {

TorchPredictor::TorchPredictor(const ModelPackage& package,
                               std::unique_ptr<BoundModel> model,
                               TorchTrainerOptions options)
    : layout_(package.layout),
      input_(package.input),
      output_elements_(package.output.element_count()),
      options_(options),
      model_(std::move(model)) {}

absl::StatusOr<std::vector<float>> TorchPredictor::Predict(
    const ParameterVector& parameters, const ExampleBatch& batch) {
  PrepareTrainingThread();
  if (parameters.layout() == nullptr ||
      parameters.layout()->fingerprint() != layout_->fingerprint()) {
    return absl::InvalidArgumentError(
        "the parameters have another layout than the model: they belong to "
        "another package");
  }
  const bool indices = input_.kind == TensorSpec::Kind::kIndex;
  const int64_t width = input_.element_count();
  const size_t present =
      indices ? batch.index_inputs.size() : batch.inputs.size();
  if (batch.size < 0 || present != static_cast<size_t>(batch.size * width)) {
    return absl::InvalidArgumentError(
        StrCat("a batch of ", batch.size, " examples with ", width,
               " values each has ", present, " values"));
  }
  if (const auto found = FindNonFinite(batch.inputs); found && !indices) {
    return absl::InvalidArgumentError(
        StrCat("example ", static_cast<int64_t>(*found) / width,
               " of the batch has a value that is infinite or not a number"));
  }
  return CatchTorch(
      absl::StatusCode::kInvalidArgument, "the model cannot be run",
      [&]() -> absl::StatusOr<std::vector<float>> {
        const at::NoGradGuard no_grad;
        model_->Load(parameters.values());
        model_->model().SetTraining(false);
        std::vector<float> outputs;
        outputs.reserve(static_cast<size_t>(batch.size * output_elements_));
        for (int64_t begin = 0; begin < batch.size;
             begin += options_.evaluation_batch_size) {
          const int64_t size =
              std::min(options_.evaluation_batch_size, batch.size - begin);
          const auto first = static_cast<size_t>(begin * width);
          const auto count = static_cast<size_t>(size * width);
          std::span<const float> inputs(batch.inputs);
          std::span<const int64_t> index_inputs(batch.index_inputs);
          if (indices) {
            index_inputs = index_inputs.subspan(first, count);
          } else {
            inputs = inputs.subspan(first, count);
          }
          const at::Tensor rows =
              model_->Forward(size, inputs, index_inputs).contiguous();
          const float* values = rows.data_ptr<float>();
          outputs.insert(outputs.end(), values, values + rows.numel());
        }
        return outputs;
      });
}

}  // namespace mledge
