#include "mledge/client/torch/internal/local_optimizer.h"

#include <algorithm>
#include <cmath>

namespace mledge {
namespace {

// Zeroed storage, kept from the last training where the size allows.
void Prepare(AlignedFloats* storage, int64_t size) {
  if (storage->size() == static_cast<size_t>(size)) {
    std::fill(storage->span().begin(), storage->span().end(), 0.0f);
  } else {
    *storage = AlignedFloats(static_cast<size_t>(size));
  }
}

// What is added to the loss's gradient.
struct Penalty {
  float weight_decay = 0;
  float proximal = 0;
  const float* base = nullptr;  // null: no proximal term

  float At(int64_t i, float parameter) const {
    float slope = weight_decay * parameter;
    if (base != nullptr) slope += proximal * (parameter - base[i]);
    return slope;
  }
  bool none() const { return weight_decay == 0 && base == nullptr; }
};

void PlainStep(float* __restrict parameters, const float* __restrict gradient,
               int64_t count, float learning_rate) {
  for (int64_t i = 0; i < count; ++i) {
    parameters[i] -= learning_rate * gradient[i];
  }
}

// A template, so that no branch stays in the loop and it is vectorized.
template <bool kMomentum>
void SgdStep(float* __restrict parameters, const float* __restrict gradient,
             float* __restrict momentum_buffer, int64_t count,
             float learning_rate, float momentum, Penalty penalty) {
  for (int64_t i = 0; i < count; ++i) {
    float slope = penalty.At(i, parameters[i]);
    if (gradient != nullptr) slope += gradient[i];
    if constexpr (kMomentum) {
      slope += momentum * momentum_buffer[i];
      momentum_buffer[i] = slope;
    }
    parameters[i] -= learning_rate * slope;
  }
}

void AdamStep(float* __restrict parameters, const float* __restrict gradient,
              float* __restrict first, float* __restrict second, int64_t count,
              double learning_rate, const AdamPlan& plan, int64_t step,
              Penalty penalty) {
  const auto power = static_cast<double>(step);
  const auto step_size =
      static_cast<float>(learning_rate / (1 - std::pow(plan.beta1, power)));
  const auto root =
      static_cast<float>(std::sqrt(1 - std::pow(plan.beta2, power)));
  const auto beta1 = static_cast<float>(plan.beta1);
  const auto beta2 = static_cast<float>(plan.beta2);
  const auto rest1 = static_cast<float>(1 - plan.beta1);
  const auto rest2 = static_cast<float>(1 - plan.beta2);
  const auto epsilon = static_cast<float>(plan.epsilon);
  for (int64_t i = 0; i < count; ++i) {
    float slope = penalty.At(i, parameters[i]);
    if (gradient != nullptr) slope += gradient[i];
    first[i] = beta1 * first[i] + rest1 * slope;
    second[i] = beta2 * second[i] + rest2 * slope * slope;
    parameters[i] -=
        step_size * first[i] / (std::sqrt(second[i]) / root + epsilon);
  }
}

}  // namespace

void LocalOptimizer::Start(const TrainingPlan& plan, int64_t size,
                           std::span<const float> base) {
  kind_ = plan.optimizer;
  learning_rate_ = plan.learning_rate;
  proximal_ = static_cast<float>(plan.proximal_coefficient);
  base_ = base;
  step_ = 0;
  const bool adam = std::holds_alternative<AdamPlan>(kind_);
  const bool momentum = !adam && std::get<SgdPlan>(kind_).momentum != 0;
  Prepare(&first_, adam || momentum ? size : 0);
  Prepare(&second_, adam ? size : 0);
}

void LocalOptimizer::Update(std::span<float> parameters, int64_t offset,
                            int64_t count, const float* gradient) {
  float* const range = parameters.data() + offset;
  const auto moment = [&](AlignedFloats& storage) {
    return storage.size() == 0 ? nullptr : storage.span().data() + offset;
  };
  Penalty penalty{.proximal = proximal_};
  if (proximal_ != 0) penalty.base = base_.data() + offset;
  if (const auto* adam = std::get_if<AdamPlan>(&kind_)) {
    penalty.weight_decay = static_cast<float>(adam->weight_decay);
    AdamStep(range, gradient, moment(first_), moment(second_), count,
             learning_rate_, *adam, step_, penalty);
    return;
  }
  const SgdPlan& sgd = std::get<SgdPlan>(kind_);
  penalty.weight_decay = static_cast<float>(sgd.weight_decay);
  const auto learning_rate = static_cast<float>(learning_rate_);
  if (penalty.none() && first_.size() == 0) {
    if (gradient != nullptr) PlainStep(range, gradient, count, learning_rate);
    return;
  }
  const auto step = first_.size() == 0 ? SgdStep<false> : SgdStep<true>;
  step(range, gradient, moment(first_), count, learning_rate,
       static_cast<float>(sgd.momentum), penalty);
}

absl::Status LocalOptimizer::Restore(int64_t step, std::span<const float> first,
                                     std::span<const float> second) {
  if (first.size() != first_.size() || second.size() != second_.size()) {
    return absl::InvalidArgumentError(
        "the snapshot's optimizer state is of another optimizer");
  }
  step_ = step;
  std::copy(first.begin(), first.end(), first_.span().begin());
  std::copy(second.begin(), second.end(), second_.span().begin());
  return absl::OkStatus();
}

}  // namespace mledge
