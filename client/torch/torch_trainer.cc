#include "mledge/client/torch/torch_trainer.h"

#include <utility>

#include "mledge/client/torch/internal/torch_local_trainer.h"
#include "mledge/client/torch/internal/torch_predictor.h"
#include "mledge/client/torch/internal/training_check.h"
#include "mledge/core/status_macros.h"
#include "mledge/model/torch/bound_model.h"
#include "mledge/model/torch/torch_runtime.h"

namespace mledge {
namespace {

absl::StatusOr<std::unique_ptr<BoundModel>> Bind(const ModelPackage& package) {
  if (package.format != ModelFormat::kTorchScript) {
    return absl::UnimplementedError(
        "the package's format is not TorchScript, the only one that LibTorch "
        "trains");
  }
  MLEDGE_RETURN_IF_ERROR(CheckPackage(package));
  absl::StatusOr<std::unique_ptr<BoundModel>> model =
      BoundModel::Create(package);
  if (!model.ok()) {
    return Annotate(model.status(), "model \"" + package.name + "\"");
  }
  return model;
}

class TorchTrainerFactory final : public TrainerFactory {
 public:
  explicit TorchTrainerFactory(TorchTrainerOptions options)
      : options_(options) {}

  absl::StatusOr<std::unique_ptr<LocalTrainer>> CreateTrainer(
      const ModelPackage& package) override {
    MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<BoundModel> model, Bind(package));
    return std::make_unique<TorchLocalTrainer>(package, std::move(model),
                                               options_);
  }

  absl::StatusOr<std::unique_ptr<Predictor>> CreatePredictor(
      const ModelPackage& package) override {
    MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<BoundModel> model, Bind(package));
    return std::make_unique<TorchPredictor>(package, std::move(model),
                                            options_);
  }

  std::string Description() const override { return TorchVersion(); }

 private:
  const TorchTrainerOptions options_;
};

}  // namespace

std::unique_ptr<TrainerFactory> CreateTorchTrainerFactory(
    TorchTrainerOptions options) {
  return std::make_unique<TorchTrainerFactory>(options);
}

}  // namespace mledge
