#ifndef MLEDGE_MODEL_PACKAGE_H_
#define MLEDGE_MODEL_PACKAGE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mledge/core/parameters.h"

// What is trained, as plain values: what a package file holds once its
// signature has been verified (package_file.h), and what a trainer is made
// from. No LibTorch and no Protobuf here, so that both sides can include it.
// Values; const access from several threads is safe.

namespace mledge {

enum class ModelFormat { kTorchScript };

// The loss is the mean over a batch's examples.
enum class Loss {
  kCrossEntropy,        // logits [classes]; label: class number
  kMeanSquaredError,    // outputs and label: rows of the same length
  kBinaryCrossEntropy,  // one logit; label 0 or 1
};

enum class Metric {
  kAccuracy,          // metric_sum counts correct predictions
  kMeanSquaredError,  // metric_sum adds an example's mean squared error
};

// One example's tensor, without the batch dimension.
struct TensorSpec {
  enum class Kind { kFloat, kIndex };
  std::vector<int64_t> shape;
  Kind kind = Kind::kFloat;

  bool operator==(const TensorSpec&) const = default;
  int64_t element_count() const;
};

struct ModelPackage {
  std::string name;
  ModelFormat format = ModelFormat::kTorchScript;
  std::shared_ptr<const ParameterLayout> layout;
  // Serialized TorchScript module; its own parameter values are not used.
  std::string code;
  ParameterVector initial_parameters;
  TensorSpec input;
  TensorSpec output;
  Loss loss = Loss::kCrossEntropy;
  Metric metric = Metric::kAccuracy;
  // Activations may be held channels-last (found out at creation or import).
  bool channels_last = false;
};

// "accuracy", "mean_squared_error": names in events and metrics files.
std::string_view MetricName(Metric metric);

}  // namespace mledge

#endif  // MLEDGE_MODEL_PACKAGE_H_
