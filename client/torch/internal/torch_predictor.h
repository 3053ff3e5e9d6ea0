#ifndef MLEDGE_CLIENT_TORCH_INTERNAL_TORCH_PREDICTOR_H_
#define MLEDGE_CLIENT_TORCH_INTERNAL_TORCH_PREDICTOR_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/client/local_trainer.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/model/torch/bound_model.h"

// Predictor on a BoundModel. Includes LibTorch.

namespace mledge {

class TorchPredictor final : public Predictor {
 public:
  TorchPredictor(const ModelPackage& package, std::unique_ptr<BoundModel> model,
                 TorchTrainerOptions options);

  // INVALID_ARGUMENT: parameters of another layout, inputs of another length
  // or not finite, an index that the model does not know.
  absl::StatusOr<std::vector<float>> Predict(
      const ParameterVector& parameters, const ExampleBatch& batch) override;

 private:
  const std::shared_ptr<const ParameterLayout> layout_;
  const TensorSpec input_;
  const int64_t output_elements_;
  const TorchTrainerOptions options_;
  const std::unique_ptr<BoundModel> model_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TORCH_INTERNAL_TORCH_PREDICTOR_H_
