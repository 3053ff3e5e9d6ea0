#include "mledge/model/torch/built_in_models.h"

#include <torch/script.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/model/torch/internal/package_builder.h"
#include "mledge/model/torch/torch_error.h"
#include "mledge/model/torch/torch_runtime.h"

namespace mledge {
namespace {

constexpr std::array<std::string_view, 4> kArchitectures = {
    "softmax-regression", "2nn", "fedavg-cnn", "mlp"};
constexpr int64_t kMaxWidth = 1'000'000;
constexpr int64_t kImageSide = 28;

absl::Status InvalidArchitecture(std::string message) {
  return absl::InvalidArgumentError(message);
}

std::string ArchitectureList() {
  std::string list;
  for (const std::string_view name : kArchitectures) {
    StrAppend(&list, list.empty() ? "" : ", ", name);
  }
  return list;
}

// A module under construction and its initial values, in the order in which
// parameters are added.
class Builder {
 public:
  explicit Builder(uint64_t seed)
      : random_({.task_seed = seed, .purpose = "initial-values"}),
        unit_(std::make_shared<torch::jit::CompilationUnit>()),
        module_("__torch__.mledge.BuiltInModel", unit_) {}

  // A layer with `weight` (outputs, inputs, kernel…) and `bias`. Weights are
  // uniform as Glorot and Bengio (AISTATS 2010) have it, biases 0.
  void AddLayer(const std::string& name, std::vector<int64_t> weight_shape) {
    int64_t kernel = 1;
    for (size_t i = 2; i < weight_shape.size(); ++i) kernel *= weight_shape[i];
    const int64_t fans = (weight_shape[0] + weight_shape[1]) * kernel;
    const double bound = std::sqrt(6.0 / static_cast<double>(fans));
    torch::jit::Module layer("__torch__.mledge." + name, unit_);
    const int64_t outputs = weight_shape[0];
    AddParameter(&layer, "weight", std::move(weight_shape), bound);
    AddParameter(&layer, "bias", {outputs}, 0);
    module_.register_module(name, layer);
  }

  // `body`: TorchScript statements that take x to the output.
  torch::jit::Module Define(const std::string& body) {
    module_.define("def forward(self, x: Tensor) -> Tensor:\n" + body);
    return module_;
  }

 private:
  void AddParameter(torch::jit::Module* layer, const char* name,
                    std::vector<int64_t> shape, double bound) {
    at::Tensor values = at::empty(shape, at::kFloat);
    float* data = values.data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) {
      data[i] =
          static_cast<float>((2 * double{random_.UniformFloat()} - 1) * bound);
    }
    layer->register_parameter(name, values.set_requires_grad(true), false);
  }

  TrainingRandom random_;
  std::shared_ptr<torch::jit::CompilationUnit> unit_;
  torch::jit::Module module_;
};

torch::jit::Module BuildLayers(uint64_t seed,
                               const std::vector<int64_t>& widths) {
  Builder builder(seed);
  std::string body;
  for (size_t i = 1; i < widths.size(); ++i) {
    const std::string name = StrCat("fc", i);
    builder.AddLayer(name, {widths[i], widths[i - 1]});
    const std::string linear =
        StrCat("torch.linear(x, self.", name, ".weight, self.", name, ".bias)");
    if (i + 1 == widths.size()) {
      StrAppend(&body, "  return ", linear, "\n");
    } else {
      StrAppend(&body, "  x = torch.relu(", linear, ")\n");
    }
  }
  return builder.Define(body);
}

torch::jit::Module BuildFedAvgCnn(uint64_t seed, int64_t outputs) {
  Builder builder(seed);
  builder.AddLayer("conv1", {32, 1, 5, 5});
  builder.AddLayer("conv2", {64, 32, 5, 5});
  builder.AddLayer("fc1", {512, 64 * (kImageSide / 4) * (kImageSide / 4)});
  builder.AddLayer("fc2", {outputs, 512});
  // ReLU after pooling: the same values as before it, on a quarter of them.
  return builder.Define(R"(
  x = torch.conv2d(x, self.conv1.weight, self.conv1.bias, padding=[2, 2])
  x = torch.relu(torch.max_pool2d(x, [2, 2]))
  x = torch.conv2d(x, self.conv2.weight, self.conv2.bias, padding=[2, 2])
  x = torch.relu(torch.max_pool2d(x, [2, 2]))
  x = torch.relu(torch.linear(torch.flatten(x, 1), self.fc1.weight, self.fc1.bias))
  return torch.linear(x, self.fc2.weight, self.fc2.bias)
)");
}

absl::Status CheckWidth(std::string_view what, int64_t width) {
  if (width >= 1 && width <= kMaxWidth) return absl::OkStatus();
  return InvalidArchitecture(
      StrCat(what, " is ", width, ", and has to be between 1 and ", kMaxWidth));
}

// Fills in defaults.
absl::StatusOr<BuiltInModelOptions> Resolve(BuiltInModelOptions options) {
  const std::string& name = options.architecture;
  if (std::find(kArchitectures.begin(), kArchitectures.end(), name) ==
      kArchitectures.end()) {
    return InvalidArchitecture(StrCat("there is no built-in architecture \"",
                                      name, "\"; there are ",
                                      ArchitectureList()));
  }
  const bool mlp = name == "mlp";
  if (!mlp && !options.hidden.empty()) {
    return InvalidArchitecture(
        StrCat("hidden is given, but ", name, " has fixed layers: use mlp"));
  }
  if (!mlp && options.regression) {
    return InvalidArchitecture(
        StrCat("regression is given, but ", name, " learns classes: use mlp"));
  }
  constexpr int64_t kPixels = kImageSide * kImageSide;
  if (options.inputs == 0) {
    if (mlp) {
      return InvalidArchitecture(
          "inputs is missing: mlp needs the number of columns");
    }
    options.inputs = kPixels;
  }
  if (name == "fedavg-cnn" && options.inputs != kPixels) {
    return InvalidArchitecture(
        StrCat("inputs is ", options.inputs,
               ", and fedavg-cnn takes 28×28 images (784)"));
  }
  if (options.outputs == 0) options.outputs = 10;
  MLEDGE_RETURN_IF_ERROR(CheckWidth("inputs", options.inputs));
  MLEDGE_RETURN_IF_ERROR(CheckWidth("outputs", options.outputs));
  for (const int64_t width : options.hidden) {
    MLEDGE_RETURN_IF_ERROR(CheckWidth("a hidden layer's width", width));
  }
  if (!options.regression && options.outputs < 2) {
    return InvalidArchitecture(
        "outputs is 1, and a classifier needs at least 2");
  }
  return options;
}

torch::jit::Module Build(const BuiltInModelOptions& options, uint64_t seed) {
  if (options.architecture == "fedavg-cnn") {
    return BuildFedAvgCnn(seed, options.outputs);
  }
  std::vector<int64_t> widths = {options.inputs};
  if (options.architecture == "2nn") widths.insert(widths.end(), {200, 200});
  widths.insert(widths.end(), options.hidden.begin(), options.hidden.end());
  widths.push_back(options.outputs);
  return BuildLayers(seed, widths);
}

}  // namespace

std::span<const std::string_view> BuiltInArchitectures() {
  return kArchitectures;
}

absl::StatusOr<ModelPackage> CreateBuiltInModel(
    const BuiltInModelOptions& options, uint64_t seed) {
  PrepareTrainingThread();
  MLEDGE_ASSIGN_OR_RETURN(const BuiltInModelOptions resolved, Resolve(options));
  return CatchTorch(
      absl::StatusCode::kInternal, "cannot create the model",
      [&]() -> absl::StatusOr<ModelPackage> {
        const bool images = resolved.architecture == "fedavg-cnn";
        ImportOptions import;
        import.name = resolved.architecture;
        import.input.shape =
            images ? std::vector<int64_t>{1, kImageSide, kImageSide}
                   : std::vector<int64_t>{resolved.inputs};
        import.output.shape = {resolved.outputs};
        if (resolved.regression) {
          import.loss = Loss::kMeanSquaredError;
          import.metric = Metric::kMeanSquaredError;
        }
        MLEDGE_ASSIGN_OR_RETURN(ImportedModel model,
                                BuildPackage(Build(resolved, seed), import));
        return std::move(model.package);
      });
}

}  // namespace mledge
