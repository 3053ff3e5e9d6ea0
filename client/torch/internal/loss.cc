#include "mledge/client/torch/internal/loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace mledge {
namespace {

// Softmax and cross entropy over one row; the largest logit is taken out first.
void AddCrossEntropy(std::span<const float> logits, int64_t label, double scale,
                     std::span<float> gradient, LossSums* sums) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  const double shift = *largest;
  double total = 0;
  if (gradient.empty()) {
    for (const float logit : logits) total += std::exp(logit - shift);
  } else {
    for (size_t k = 0; k < logits.size(); ++k) {
      const double exponential = std::exp(logits[k] - shift);
      total += exponential;
      gradient[k] = static_cast<float>(exponential);
    }
    const double factor = scale / total;
    for (float& value : gradient) value = static_cast<float>(value * factor);
    gradient[label] = static_cast<float>(gradient[label] - scale);
  }
  sums->loss += std::log(total) + shift - logits[label];
  // A NaN among the logits makes the loss NaN, which stops the training.
  sums->metric += largest - logits.begin() == label;
}

void AddBinaryCrossEntropy(float logit, int64_t label, double scale,
                           std::span<float> gradient, LossSums* sums) {
  const double z = logit;
  // log(1 + e^z) - label·z without overflow.
  sums->loss += std::max(z, 0.0) - z * static_cast<double>(label) +
                std::log1p(std::exp(-std::abs(z)));
  sums->metric += (z > 0) == (label == 1);
  if (!gradient.empty()) {
    const double sigmoid = 1 / (1 + std::exp(-z));
    gradient[0] =
        static_cast<float>((sigmoid - static_cast<double>(label)) * scale);
  }
}

void AddSquaredError(std::span<const float> outputs,
                     std::span<const float> labels, double scale,
                     std::span<float> gradient, LossSums* sums) {
  const auto width = static_cast<double>(outputs.size());
  double total = 0;
  for (size_t k = 0; k < outputs.size(); ++k) {
    const double difference = static_cast<double>(outputs[k]) - labels[k];
    total += difference * difference;
    if (!gradient.empty()) {
      gradient[k] = static_cast<float>(2 * difference * scale / width);
    }
  }
  sums->loss += total / width;
  sums->metric += total / width;
}

}  // namespace

LossSums ComputeLoss(Loss loss, const ExampleBatch& batch,
                     std::span<const float> outputs,
                     std::span<float> gradient) {
  LossSums sums;
  const auto size = static_cast<size_t>(batch.size);
  const size_t width = outputs.size() / size;
  const double scale = 1.0 / static_cast<double>(size);
  for (size_t i = 0; i < size; ++i) {
    const auto row = outputs.subspan(i * width, width);
    const auto slope =
        gradient.empty() ? gradient : gradient.subspan(i * width, width);
    switch (loss) {
      case Loss::kCrossEntropy:
        AddCrossEntropy(row, batch.class_labels[i], scale, slope, &sums);
        break;
      case Loss::kBinaryCrossEntropy:
        AddBinaryCrossEntropy(row[0], batch.class_labels[i], scale, slope,
                              &sums);
        break;
      case Loss::kMeanSquaredError:
        AddSquaredError(row,
                        std::span(batch.label_values).subspan(i * width, width),
                        scale, slope, &sums);
        break;
    }
  }
  return sums;
}

}  // namespace mledge
