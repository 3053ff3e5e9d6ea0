#include "mledge/model/torch/internal/package_builder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/model/torch/bound_model.h"
#include "mledge/model/torch/dropout_scope.h"
#include "mledge/model/torch/script_model.h"
#include "mledge/model/torch/script_parameters.h"
#include "mledge/model/torch/torch_error.h"
#include "mledge/model/torch/torch_runtime.h"

namespace mledge {
namespace {

absl::Status InvalidPackage(std::string message) {
  return absl::InvalidArgumentError(message);
}

absl::Status CheckInput(const TensorSpec& input) {
  constexpr int64_t kMaxElements = int64_t{1} << 32;
  int64_t elements = 1;
  for (const int64_t extent : input.shape) {
    if (extent < 1 || extent > kMaxElements / elements) {
      return InvalidPackage(
          StrCat("the input's shape has the extent ", extent,
                 ": give one example's shape, without the batch "
                 "dimension"));
    }
    elements *= extent;
  }
  return absl::OkStatus();
}

// Sets the role of what `options` wants frozen.
absl::Status Freeze(const std::vector<std::string>& names,
                    std::vector<ScriptParameter>* parameters) {
  for (const std::string& name : names) {
    bool found = false;
    for (ScriptParameter& parameter : *parameters) {
      ParameterEntry& entry = parameter.entry;
      if (entry.name != name && !entry.name.starts_with(name + ".")) continue;
      found = true;
      if (entry.element_type != ElementType::kFloat32) continue;
      // The owner and its aliases are one tensor and have one role.
      const std::string& owner =
          entry.alias_of.empty() ? entry.name : entry.alias_of;
      for (ScriptParameter& other : *parameters) {
        if (other.entry.name == owner || other.entry.alias_of == owner) {
          other.entry.role = ParameterRole::kFrozen;
        }
      }
    }
    if (!found) {
      return InvalidPackage(
          StrCat("frozen names \"", name,
                 "\", and the model has no parameter, buffer or "
                 "module of that name"));
    }
  }
  return absl::OkStatus();
}

int RankOf(const ScriptParameter& parameter) {
  switch (parameter.entry.role) {
    case ParameterRole::kTrainable:
      return 0;
    case ParameterRole::kAveragedBuffer:
      return 1;
    default:
      return 2;
  }
}

absl::StatusOr<ParameterVector> ReadValues(
    std::shared_ptr<const ParameterLayout> layout,
    const std::vector<ScriptParameter>& parameters) {
  ParameterVector vector(std::move(layout));
  for (const ScriptParameter& parameter : parameters) {
    const ParameterEntry& entry = *vector.layout()->Find(parameter.entry.name);
    if (entry.extent() == 0) continue;
    const at::Tensor values = parameter.value.detach().contiguous();
    std::memcpy(vector.values().data() + entry.offset, values.data_ptr<float>(),
                values.nbytes());
  }
  for (const ParameterEntry& entry : vector.layout()->entries()) {
    if (FindNonFinite(vector.values(entry))) {
      return InvalidPackage(
          StrCat("\"", entry.name,
                 "\" has values that are infinite or not a number: "
                 "export the model again"));
    }
  }
  return vector;
}

// A training step on made-up inputs, two examples so that batch normalization
// has something to normalize.
class Probe {
 public:
  static constexpr int64_t kExamples = 2;

  Probe(const TensorSpec& input)
      : inputs_(input.kind == TensorSpec::Kind::kFloat
                    ? kExamples * input.element_count()
                    : 0),
        index_inputs_(input.kind == TensorSpec::Kind::kIndex
                          ? kExamples * input.element_count()
                          : 0),
        random_({.purpose = "probe"}) {
    for (float& value : inputs_) value = random_.UniformFloat();
  }

  // The output; gradients are thrown away. Throws what LibTorch throws.
  at::Tensor Run(const ModelPackage& package, BoundModel* model) const {
    model->Load(package.initial_parameters.values());
    model->model().SetTraining(true);
    at::Tensor output;
    {
      const DropoutScope scope(&random_, 1);
      output = model->Forward(kExamples, inputs_, index_inputs_);
    }
    output.sum().backward();
    for (const BoundModel::Trainable& trainable : model->trainables()) {
      trainable.tensor.mutable_grad().reset();
    }
    return output.detach().contiguous();
  }

  // The shape of one example's output. Throws what LibTorch throws.
  std::vector<int64_t> OutputShape(const TensorSpec& input,
                                   ScriptModel* model) const {
    std::vector<int64_t> sizes{kExamples};
    sizes.insert(sizes.end(), input.shape.begin(), input.shape.end());
    const at::NoGradGuard no_grad;
    const at::Tensor values =
        input.kind == TensorSpec::Kind::kIndex
            ? at::zeros(sizes, at::kLong)
            : at::from_blob(const_cast<float*>(inputs_.data()), sizes,
                            at::kFloat);
    model->SetTraining(false);
    const at::Tensor output = model->Run(values);
    TORCH_CHECK(output.dim() >= 1 && output.size(0) == kExamples,
                "its output for a batch of ", kExamples, " has the shape ",
                output.sizes(), ", whose first extent is not the batch");
    return output.sizes().slice(1).vec();
  }

 private:
  std::vector<float> inputs_;
  std::vector<int64_t> index_inputs_;
  TrainingRandom random_;
};

absl::Status CheckOutput(const ModelPackage& package,
                         const std::vector<int64_t>& found) {
  TensorSpec actual{.shape = found};
  if (package.output.element_count() != actual.element_count()) {
    return InvalidPackage(StrCat(
        "the output is said to have ", package.output.element_count(),
        " values an example, and the model gives ", actual.element_count()));
  }
  if (package.loss == Loss::kBinaryCrossEntropy &&
      actual.element_count() != 1) {
    return InvalidPackage(
        StrCat("binary cross entropy needs one output an example, "
               "and the model gives ",
               actual.element_count(), ": use cross entropy"));
  }
  if (package.loss == Loss::kCrossEntropy &&
      (found.size() != 1 || found[0] < 2)) {
    return InvalidPackage(
        "cross entropy needs one output for each class, as [batch, classes] "
        "with at least 2 classes");
  }
  const bool regression = package.loss == Loss::kMeanSquaredError;
  if (regression != (package.metric == Metric::kMeanSquaredError)) {
    return InvalidPackage(StrCat("the metric ", MetricName(package.metric),
                                 " does not fit the loss"));
  }
  return absl::OkStatus();
}

// Whether channels-last trains as row-major does; a notice says why not.
absl::StatusOr<bool> TryChannelsLast(ModelPackage package, const Probe& probe,
                                     const at::Tensor& expected,
                                     std::vector<std::string>* notices) {
  const auto& entries = package.layout->entries();
  const bool has_kernels = std::any_of(
      entries.begin(), entries.end(), [](const ParameterEntry& entry) {
        return entry.shape.size() == 4 &&
               entry.role == ParameterRole::kTrainable;
      });
  if (!has_kernels || package.input.shape.size() != 3) return false;
  package.channels_last = true;
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<BoundModel> model,
                          BoundModel::Create(package));
  std::string reason;
  try {
    const at::Tensor output = probe.Run(package, model.get());
    if (at::allclose(output, expected, 1e-3, 1e-4)) return true;
    reason = "it gives other results";
  } catch (const std::exception& error) {
    reason = ShortMessage(error);
  }
  notices->push_back(
      StrCat("activations stay row-major, which is slower for convolutions, "
             "because the model does not run channels-last (",
             reason,
             "): use reshape or flatten instead of view after a "
             "convolution"));
  return false;
}

}  // namespace

absl::StatusOr<ImportedModel> BuildPackage(torch::jit::Module module,
                                           const ImportOptions& options) {
  MLEDGE_RETURN_IF_ERROR(CheckInput(options.input));
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<ScriptModel> script,
                          ScriptModel::FromModule(std::move(module)));
  MLEDGE_ASSIGN_OR_RETURN(std::vector<ScriptParameter> parameters,
                          ListScriptParameters(script->module()));
  MLEDGE_RETURN_IF_ERROR(Freeze(options.frozen, &parameters));
  std::stable_sort(parameters.begin(), parameters.end(),
                   [](const ScriptParameter& a, const ScriptParameter& b) {
                     return RankOf(a) < RankOf(b);
                   });
  std::vector<ParameterEntry> entries;
  for (const ScriptParameter& parameter : parameters) {
    entries.push_back(parameter.entry);
  }

  ImportedModel result;
  result.notices = script->notices();
  ModelPackage& package = result.package;
  package.name = options.name;
  package.input = options.input;
  package.output = options.output;
  package.loss = options.loss;
  package.metric = options.metric;
  MLEDGE_ASSIGN_OR_RETURN(package.layout,
                          ParameterLayout::Create(std::move(entries)));
  MLEDGE_ASSIGN_OR_RETURN(package.initial_parameters,
                          ReadValues(package.layout, parameters));

  const Probe probe(package.input);
  MLEDGE_RETURN_IF_ERROR(
      CatchTorch(absl::StatusCode::kInvalidArgument,
                 "the model does not run on inputs of the given shape",
                 [&]() -> absl::Status {
                   const std::vector<int64_t> found =
                       probe.OutputShape(package.input, script.get());
                   if (package.output.shape.empty())
                     package.output.shape = found;
                   return CheckOutput(package, found);
                 }));
  StripValues(parameters);
  MLEDGE_ASSIGN_OR_RETURN(package.code, SerializeModule(script->module()));
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<BoundModel> model,
                          BoundModel::Create(package));
  return CatchTorch(
      absl::StatusCode::kInvalidArgument, "the model cannot be trained",
      [&]() -> absl::StatusOr<ImportedModel> {
        const at::Tensor output = probe.Run(package, model.get());
        MLEDGE_ASSIGN_OR_RETURN(
            package.channels_last,
            TryChannelsLast(package, probe, output, &result.notices));
        return std::move(result);
      });
}

absl::StatusOr<ImportedModel> ImportTorchScript(std::string_view code,
                                                const ImportOptions& options) {
  PrepareTrainingThread();
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<ScriptModel> script,
                          ScriptModel::Load(code));
  return BuildPackage(script->module(), options);
}

}  // namespace mledge
