#include "mledge/client/torch/internal/training_check.h"

#include <cmath>
#include <optional>

#include "mledge/core/parameters.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// Keeps counters of epochs and steps within their range (example_order.h).
constexpr int64_t kMaxLength = 1'000'000;

absl::Status Invalid(std::string message) {
  return absl::InvalidArgumentError(message);
}

int64_t Classes(const ModelPackage& package) {
  return package.loss == Loss::kBinaryCrossEntropy
             ? 2
             : package.output.element_count();
}

absl::Status CheckNumber(std::string_view name, double value, double least,
                         double below) {
  if (value >= least && value < below) return absl::OkStatus();
  return Invalid(StrCat("the plan's ", name, " is ", value,
                        ", and has to be at least ", least,
                        std::isinf(below) ? std::string(" and finite")
                                          : StrCat(" and below ", below)));
}

absl::Status CheckCount(std::string_view name, int64_t value, int64_t most) {
  if (value >= 0 && value <= most) return absl::OkStatus();
  return Invalid(StrCat("the plan's ", name, " is ", value,
                        ", and has to be between 0 and ", most));
}

absl::Status CheckFinite(std::string_view what, std::span<const float> values,
                         std::span<const int64_t> positions, int64_t width) {
  const std::optional<size_t> found = FindNonFinite(values);
  if (!found) return absl::OkStatus();
  const auto example = *found / static_cast<size_t>(width);
  return Invalid(
      StrCat("example ", positions[example], " of this device's data: ", what,
             " ", *found % static_cast<size_t>(width), " is ",
             std::isnan(values[*found]) ? "not a number" : "infinite",
             ": clean the data, or leave that example out"));
}

absl::Status Short(std::string_view what, size_t size, int64_t expected) {
  return absl::InternalError(StrCat("the example store filled in ", size, " ",
                                    what, " instead of ", expected));
}

}  // namespace

absl::Status CheckPackage(const ModelPackage& package) {
  const int64_t outputs = package.output.element_count();
  if (package.input.element_count() < 1 || outputs < 1) {
    return Invalid("the package's input or output has no elements");
  }
  if (package.loss == Loss::kCrossEntropy && outputs < 2) {
    return Invalid(
        "cross entropy needs one output for each class, at least 2, and the "
        "model has 1: use binary cross entropy");
  }
  if (package.loss == Loss::kBinaryCrossEntropy && outputs != 1) {
    return Invalid(
        StrCat("binary cross entropy needs 1 output, and the model "
               "has ",
               outputs, ": use cross entropy"));
  }
  const Metric fitting = package.loss == Loss::kMeanSquaredError
                             ? Metric::kMeanSquaredError
                             : Metric::kAccuracy;
  if (package.metric != fitting) {
    return Invalid(StrCat("the metric ", MetricName(package.metric),
                          " does not fit the model's loss: use ",
                          MetricName(fitting)));
  }
  return absl::OkStatus();
}

absl::Status CheckPlan(const TrainingPlan& plan) {
  constexpr int64_t kAnyCount = int64_t{1} << 40;
  MLEDGE_RETURN_IF_ERROR(CheckCount("batch size", plan.batch_size, kAnyCount));
  MLEDGE_RETURN_IF_ERROR(
      CheckCount("max_examples", plan.max_examples, kAnyCount));
  if (plan.kind == TrainingPlan::Kind::kEvaluate) return absl::OkStatus();
  MLEDGE_RETURN_IF_ERROR(CheckCount("epochs", plan.epochs, kMaxLength));
  MLEDGE_RETURN_IF_ERROR(CheckCount("steps", plan.steps, kMaxLength));
  if ((plan.epochs > 0) == (plan.steps > 0)) {
    return Invalid(StrCat("the plan has ", plan.epochs, " epochs and ",
                          plan.steps, " steps: exactly one has to be above 0"));
  }
  MLEDGE_RETURN_IF_ERROR(
      CheckNumber("learning rate", plan.learning_rate, 0, HUGE_VAL));
  MLEDGE_RETURN_IF_ERROR(CheckNumber("proximal coefficient",
                                     plan.proximal_coefficient, 0, HUGE_VAL));
  if (const auto* adam = std::get_if<AdamPlan>(&plan.optimizer)) {
    MLEDGE_RETURN_IF_ERROR(CheckNumber("beta1", adam->beta1, 0, 1));
    MLEDGE_RETURN_IF_ERROR(CheckNumber("beta2", adam->beta2, 0, 1));
    MLEDGE_RETURN_IF_ERROR(CheckNumber("epsilon", adam->epsilon, 0, HUGE_VAL));
    return CheckNumber("weight decay", adam->weight_decay, 0, HUGE_VAL);
  }
  const SgdPlan& sgd = std::get<SgdPlan>(plan.optimizer);
  MLEDGE_RETURN_IF_ERROR(CheckNumber("momentum", sgd.momentum, 0, 1));
  return CheckNumber("weight decay", sgd.weight_decay, 0, HUGE_VAL);
}

absl::Status CheckStore(const ModelPackage& package,
                        const ExampleStore& examples) {
  if (examples.size() < 1) {
    return Invalid("this device has no examples to train on");
  }
  const int64_t expected = package.input.element_count();
  const int64_t present = examples.input().element_count();
  if (present != expected) {
    return Invalid(StrCat("an example's input has ", present,
                          " values, and the model \"", package.name,
                          "\" takes ", expected,
                          ": check the data source's columns or image size"));
  }
  if (examples.input().kind != package.input.kind) {
    return Invalid(
        package.input.kind == TensorSpec::Kind::kIndex
            ? "the model takes whole numbers (tokens or categories), and the "
              "examples are decimal numbers"
            : "the model takes decimal numbers, and the examples are whole "
              "numbers (tokens or categories)");
  }
  if (package.loss == Loss::kMeanSquaredError) {
    const int64_t outputs = package.output.element_count();
    if (examples.label_width() != outputs) {
      return Invalid(StrCat("the model \"", package.name, "\" learns ", outputs,
                            " numbers an example, and the examples have ",
                            examples.label_width()));
    }
    return absl::OkStatus();
  }
  if (examples.classes() == 0) {
    return Invalid(StrCat("the model \"", package.name,
                          "\" learns classes, and the examples' labels are "
                          "numbers: mark the label column as a class"));
  }
  if (examples.classes() > Classes(package)) {
    return Invalid(StrCat("the examples have ", examples.classes(),
                          " classes, and the model \"", package.name,
                          "\" knows ", Classes(package)));
  }
  return absl::OkStatus();
}

absl::Status CheckBatch(const ModelPackage& package,
                        std::span<const int64_t> positions,
                        const ExampleBatch& batch) {
  const auto size = static_cast<int64_t>(positions.size());
  const int64_t width = package.input.element_count();
  if (batch.size != size) return Short("examples", batch.size, size);
  if (package.input.kind == TensorSpec::Kind::kIndex) {
    if (batch.index_inputs.size() != static_cast<size_t>(size * width)) {
      return Short("inputs", batch.index_inputs.size(), size * width);
    }
  } else {
    if (batch.inputs.size() != static_cast<size_t>(size * width)) {
      return Short("inputs", batch.inputs.size(), size * width);
    }
    MLEDGE_RETURN_IF_ERROR(
        CheckFinite("input value", batch.inputs, positions, width));
  }
  if (package.loss == Loss::kMeanSquaredError) {
    const int64_t labels = package.output.element_count();
    if (batch.label_values.empty() && !batch.class_labels.empty()) {
      return Invalid(StrCat("the model \"", package.name,
                            "\" learns numbers, and the examples' labels are "
                            "classes: mark the label column as a number"));
    }
    if (batch.label_values.size() != static_cast<size_t>(size * labels)) {
      return Short("labels", batch.label_values.size(), size * labels);
    }
    return CheckFinite("label value", batch.label_values, positions, labels);
  }
  if (batch.class_labels.size() != static_cast<size_t>(size)) {
    return Short("labels", batch.class_labels.size(), size);
  }
  const int64_t classes = Classes(package);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t label = batch.class_labels[i];
    if (label < 0 || label >= classes) {
      return Invalid(StrCat(
          "example ", positions[i], " of this device's data has the label ",
          label, ", and the model's classes are 0 to ", classes - 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace mledge
