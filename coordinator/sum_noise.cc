#include "mledge/coordinator/sum_noise.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "mledge/aggregation/fixed_point.h"
#include "mledge/aggregation/secagg/hadamard.h"
#include "mledge/aggregation/secagg/rotated_sum.h"
#include "mledge/coordinator/task_plan.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/update.h"
#include "mledge/privacy/adaptive_clipping.h"
#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/privacy/plan/grid_noise.h"

namespace mledge {
namespace {

// From 2^-from to 2^-to, which is coarser or equal. FAILED_PRECONDITION: a
// value that is no multiple.
absl::Status ToGrid(int from, int to, AggregationSum::Section* section) {
  if (from == to) return absl::OkStatus();
  const int shift = from - to;
  if (shift < 0 || shift > 62) {
    return absl::FailedPreconditionError(StrCat("a sum in steps of 2^-", from,
                                                " is coarser than the task's ",
                                                "grid of 2^-", to));
  }
  const int64_t below = (int64_t{1} << shift) - 1;
  int64_t off = 0;
  for (int64_t& value : section->integers) {
    off |= value & below;
    value >>= shift;
  }
  if (off == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("a sum of section \"", section->name,
             "\" is off the task's grid of 2^-", to));
}

}  // namespace

SumNoise::SumNoise(const v1::Task& task,
                   std::shared_ptr<const PrivateTask> plan, int64_t shared_size,
                   SecretRandom* random)
    : task_(task),
      plan_(std::move(plan)),
      shared_size_(shared_size),
      random_(random) {}

absl::StatusOr<std::unique_ptr<SumNoise>> SumNoise::Create(
    const v1::Task& task, std::shared_ptr<const PrivateTask> plan,
    int64_t shared_size, SecretRandom* random,
    const std::optional<std::string>& state) {
  std::unique_ptr<SumNoise> noise(
      new SumNoise(task, std::move(plan), shared_size, random));
  if (!noise->plan_->correlated_noise.has_value()) return noise;
  const CorrelatedNoiseOptions& options = *noise->plan_->correlated_noise;
  if (state.has_value()) {
    MLEDGE_ASSIGN_OR_RETURN(
        noise->correlated_,
        CorrelatedNoise::Parse(
            options,
            {reinterpret_cast<const uint8_t*>(state->data()), state->size()}));
  } else {
    MLEDGE_ASSIGN_OR_RETURN(noise->correlated_,
                            CorrelatedNoise::Create(options));
  }
  return noise;
}

absl::Status SumNoise::AddNoise(int64_t step, std::span<int64_t> integers,
                                ThreadPool* pool) {
  if (plan_->central_noise.has_value()) {
    return AddGridNoise(*plan_->central_noise, *random_, integers);
  }
  if (correlated_ == nullptr) return absl::OkStatus();
  MLEDGE_ASSIGN_OR_RETURN(const DiscreteGaussian noise,
                          DiscreteGaussian::Create(VarianceOf(
                              plan_->correlated_noise->standard_deviation)));
  return correlated_->AddNoise(
      step,
      [&noise, this](int64_t, std::span<int64_t> z) {
        noise.Fill(*random_, z);
      },
      integers, pool);
}

absl::StatusOr<double> SumNoise::MoveClipNorm(double clip_norm,
                                              AggregationSum* sum) {
  if (!plan_->count_noise.has_value()) return clip_norm;
  for (AggregationSum::ScalarSum& scalar : sum->scalars) {
    if (scalar.name != kClipBitScalar) continue;
    const double deviation =
        std::ldexp(*plan_->count_noise, kScalarFractionBits);
    MLEDGE_RETURN_IF_ERROR(AddGridNoise({.variance = VarianceOf(deviation)},
                                        *random_,
                                        std::span(&scalar.integer, 1)));
  }
  const v1::AdaptiveClipping& clipping = task_.privacy().adaptive_clipping();
  const double first = task_.local_training().clip_norm();
  MLEDGE_ASSIGN_OR_RETURN(
      AdaptiveClipping moving,
      AdaptiveClipping::Create(
          {.initial_clip_norm = clip_norm,
           .target_quantile = clipping.target_quantile(),
           .learning_rate = clipping.learning_rate(),
           .expected_count = plan_->divisor,
           .least_clip_norm = first / clipping.largest_change(),
           .most_clip_norm = first * clipping.largest_change()}));
  MLEDGE_RETURN_IF_ERROR(moving.Update(2 * sum->Scalar(kClipBitScalar)));
  return moving.clip_norm();
}

absl::StatusOr<SumNoise::Noised> SumNoise::Apply(const AggregationSum& sum,
                                                 int64_t step,
                                                 RoundNumber round,
                                                 double clip_norm,
                                                 ThreadPool* pool) {
  Noised noised = {.sum = sum, .next_clip_norm = clip_norm};
  AggregationSum& out = noised.sum;
  for (AggregationSum::Section& section : out.sections) {
    MLEDGE_RETURN_IF_ERROR(
        ToGrid(out.fraction_bits, plan_->fraction_bits, &section));
  }
  out.fraction_bits = plan_->fraction_bits;
  for (AggregationSum::Section& section : out.sections) {
    MLEDGE_RETURN_IF_ERROR(AddNoise(step, section.integers, pool));
  }
  MLEDGE_ASSIGN_OR_RETURN(noised.next_clip_norm, MoveClipNorm(clip_norm, &out));
  if (plan_->rotated) {
    MLEDGE_ASSIGN_OR_RETURN(
        const secagg::HadamardRotation rotation,
        secagg::HadamardRotation::Create(
            shared_size_,
            RoundSeed(task_.seed(), TaskId(task_.name()), round)));
    MLEDGE_RETURN_IF_ERROR(secagg::Unrotate(rotation, &out));
  }
  // Nobody learns how many devices there were: the cohort is what it was
  // planned to be.
  out.weight_sum = plan_->divisor;
  out.unit = clip_norm;
  return noised;
}

absl::StatusOr<std::optional<SecretBytes>> SumNoise::State() const {
  if (correlated_ == nullptr) return std::nullopt;
  return correlated_->Serialize();
}

}  // namespace mledge
