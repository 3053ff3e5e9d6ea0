#include "mledge/privacy/plan/private_task.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/clipping.h"
#include "mledge/privacy/matrix/correlated_noise_plan.h"
#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/privacy/noise/distributed_noise.h"
#include "mledge/privacy/plan/internal/noise_search.h"
#include "mledge/privacy/plan/internal/strategy_choice.h"
#include "mledge/privacy/plan/internal/sum_size.h"

namespace mledge {
namespace {

using plan_internal::FindNoiseMultiplier;
using plan_internal::SizeOfSums;
using plan_internal::SumSize;

constexpr int kMostModulusBits = 32;  // secagg::Modulus
// The count of clip bits is noised in these steps of one device.
constexpr double kCountSteps = 0x1p20;

// Discrete Gaussian noise of a Poisson-sampled sum is accounted for as
// continuous noise of a variance that is 4 smaller, which costs less than 0.05
// % of it from here on, in steps of the grid.
constexpr double kLeastSampledDeviation = 64;

void TakeGrid(const NoiseGrid& grid, PrivateTask* resolved) {
  resolved->fraction_bits = grid.fraction_bits;
  resolved->squared_norm_bound = grid.sensitivity.squared_norm_bound;
  resolved->l2_sensitivity = grid.sensitivity.l2;
  resolved->l1_sensitivity = grid.sensitivity.l1;
}

DiscreteGaussianEvent CountEvent(double count_noise) {
  // Bits of ±1/2: a device that is zeroed out moves the count by 1/2.
  return {.sigma = count_noise * kCountSteps,
          .l2_sensitivity = kCountSteps / 2,
          .l1_sensitivity = kCountSteps / 2,
          .dimension = 1};
}

// The mechanisms, each with noise whose standard deviation is that many times
// the sensitivity after rounding, or exactly `deviation` clip norms. Exactly
// one of the two is positive.
struct Level {
  double multiplier = 0;
  double deviation = 0;
};

absl::Status PlaceIndependentNoise(const Level& level, NoiseOrigin origin,
                                   PrivateTask* resolved) {
  NoiseGridOptions options = {.clip_norm = 1,
                              .dimension = resolved->dimension,
                              .noise_multiplier = level.multiplier,
                              .standard_deviation = level.deviation};
  if (resolved->sampling_probability.has_value()) {
    options.least_deviation = kLeastSampledDeviation;
  }
  MLEDGE_ASSIGN_OR_RETURN(const NoiseGrid grid, ChooseNoiseGrid(options));
  TakeGrid(grid, resolved);
  const GridNoise noise = {.variance = grid.variance};
  (origin == NoiseOrigin::kDevice ? resolved->device_noise
                                  : resolved->central_noise) = noise;
  resolved->noise_multiplier =
      std::ldexp(std::sqrt(grid.variance), -grid.fraction_bits);
  resolved->per_participation =
      PrivacyEvent{DiscreteGaussianEvent{.sigma = std::sqrt(grid.variance),
                                         .l2_sensitivity = grid.sensitivity.l2,
                                         .l1_sensitivity = grid.sensitivity.l1,
                                         .dimension = resolved->dimension,
                                         .origin = origin}};
  return absl::OkStatus();
}

absl::Status PlaceDistributedNoise(const v1::Task& task, const Level& level,
                                   PrivateTask* resolved) {
  const bool skellam =
      task.privacy().distributed().kind() == v1::DistributedNoise::SKELLAM;
  // What is corrupt is taken off already.
  MLEDGE_ASSIGN_OR_RETURN(
      const DistributedNoisePlan plan,
      PlanDistributedNoise(
          {.kind = skellam ? DistributedNoiseKind::kSkellam
                           : DistributedNoiseKind::kDiscreteGaussian,
           .clip_norm = 1,
           .dimension = resolved->dimension,
           .cohort = resolved->updates,
           .least_alive = resolved->honest_updates,
           .noise_multiplier = level.multiplier,
           .central_standard_deviation = level.deviation}));
  TakeGrid(plan.grid, resolved);
  resolved->modulus_bits = plan.modulus_bits;
  resolved->wrap_probability = plan.wrap_probability;
  resolved->device_noise = {
      .kind = skellam ? NoiseKind::kSkellam : NoiseKind::kDiscreteGaussian,
      .variance = plan.grid.variance};
  resolved->noise_multiplier = plan.central_standard_deviation();
  if (skellam) {
    resolved->per_participation =
        PrivacyEvent{SkellamEvent{.total_variance = plan.honest_variance(),
                                  .l2_sensitivity = plan.grid.sensitivity.l2,
                                  .l1_sensitivity = plan.grid.sensitivity.l1}};
  } else {
    resolved->per_participation = PrivacyEvent{DistributedDiscreteGaussianEvent{
        .local_sigma = plan.local_standard_deviation(),
        .honest_clients = plan.honest_survivors,
        .dimension = resolved->dimension,
        .l2_sensitivity = plan.grid.sensitivity.l2,
        .l1_sensitivity = plan.grid.sensitivity.l1}};
  }
  return absl::OkStatus();
}

// `level.deviation` is of z over the clip norm times the strategy's
// sensitivity, as in task.proto.
absl::Status PlaceCorrelatedNoise(const v1::Task& task, const Level& level,
                                  PrivateTask* resolved) {
  MLEDGE_ASSIGN_OR_RETURN(
      const NoiseGrid grid,
      ChooseNoiseGrid({.clip_norm = 1,
                       .dimension = resolved->dimension,
                       .noise_multiplier = level.multiplier,
                       .standard_deviation = level.deviation}));
  TakeGrid(grid, resolved);
  CorrelatedNoiseRequest request = {
      .limits = resolved->limits,
      .dimension = resolved->dimension,
      .l2_sensitivity = grid.sensitivity.l2,
      .equivalent_noise_multiplier =
          level.multiplier > 0
              ? level.multiplier
              : level.deviation * grid.clip / grid.sensitivity.l2};
  MLEDGE_ASSIGN_OR_RETURN(request.strategy,
                          plan_internal::ChooseStrategy(
                              task.privacy().correlated(), resolved->limits));
  MLEDGE_ASSIGN_OR_RETURN(CorrelatedNoisePlan plan,
                          PlanCorrelatedNoise(request));
  resolved->correlated_noise = std::move(plan.options);
  resolved->noise_multiplier =
      request.equivalent_noise_multiplier * grid.sensitivity.l2 / grid.clip;
  resolved->per_schedule = PrivacyEvent{plan.event};
  return absl::OkStatus();
}

// One over the squared noise multiplier of a discrete Gaussian mechanism, as if
// its noise were continuous: what holds of that holds of the integers
// (DiscreteGaussian::kContinuousMargin).
double InverseSquaredMultiplier(const DiscreteGaussianEvent& event) {
  return event.l2_sensitivity * event.l2_sensitivity /
         (event.sigma * event.sigma - DiscreteGaussian::kContinuousMargin);
}

// A round of a Poisson sample: the sum of the updates, and of the clip bits, of
// those whose one coin came up. In units of its noise it is one Gaussian
// mechanism, so that squared sensitivities add up; two sampled mechanisms would
// be two coins. Rounded down.
PrivacyEvent SampledRound(const PrivateTask& task) {
  double inverse = InverseSquaredMultiplier(
      std::get<DiscreteGaussianEvent>(task.per_participation->kind));
  if (task.count_noise.has_value()) {
    inverse += InverseSquaredMultiplier(CountEvent(*task.count_noise));
  }
  return PrivacyEvent{PoissonSampledGaussianEvent{
      .sampling_probability = *task.sampling_probability,
      .noise_multiplier = (1 - 0x1p-48) / std::sqrt(inverse)}};
}

absl::Status PlaceNoise(const v1::Task& task, const Level& level,
                        PrivateTask* resolved) {
  // What an earlier try left.
  resolved->device_noise.reset();
  resolved->central_noise.reset();
  resolved->correlated_noise.reset();
  resolved->per_participation.reset();
  resolved->per_schedule.reset();
  switch (resolved->mechanism) {
    case v1::Privacy::DISTRIBUTED:
      MLEDGE_RETURN_IF_ERROR(PlaceDistributedNoise(task, level, resolved));
      break;
    case v1::Privacy::CORRELATED:
      MLEDGE_RETURN_IF_ERROR(PlaceCorrelatedNoise(task, level, resolved));
      break;
    default:
      MLEDGE_RETURN_IF_ERROR(PlaceIndependentNoise(
          level,
          resolved->mechanism == v1::Privacy::LOCAL ? NoiseOrigin::kDevice
                                                    : NoiseOrigin::kCoordinator,
          resolved));
  }
  if (resolved->sampling_probability.has_value()) {
    resolved->per_participation = SampledRound(*resolved);
  } else if (resolved->count_noise.has_value()) {
    const PrivacyEvent count{CountEvent(*resolved->count_noise)};
    resolved->per_participation =
        resolved->per_participation.has_value()
            ? PrivacyEvent{ComposedEvent{
                  .events = {*resolved->per_participation, count}}}
            : count;
  }
  return absl::OkStatus();
}

// Modulus of sums without noise of their own, and the bound that the
// aggregator's integers are made for (aggregation/fixed_point.h).
absl::Status BoundSums(const v1::Task& task, PrivateTask* resolved) {
  double largest = std::ceil(resolved->l2_sensitivity);
  if (resolved->mechanism == v1::Privacy::LOCAL) {
    MLEDGE_ASSIGN_OR_RETURN(
        const DiscreteGaussian noise,
        DiscreteGaussian::Create(resolved->device_noise->variance));
    largest += static_cast<double>(noise.largest_magnitude());
  }
  const bool secure =
      task.secure_aggregation().mode() == v1::SecureAggregation::ON;
  if (secure && !resolved->modulus_bits.has_value()) {
    const double most = largest * static_cast<double>(resolved->updates);
    const int bits = std::max(8, std::ilogb(most) + 2);
    if (bits > kMostModulusBits) {
      return absl::FailedPreconditionError(
          StrCat("privacy: sums of ", resolved->updates, " updates take ", bits,
                 " bits, and secure aggregation has ", kMostModulusBits,
                 ": lower cohort.size, or divide the cohort with "
                 "secure_aggregation.group_size"));
    }
    resolved->modulus_bits = bits;
  }
  if (resolved->modulus_bits.has_value()) {
    largest = std::max(largest,
                       std::ceil(std::ldexp(1.0, *resolved->modulus_bits - 1) /
                                 static_cast<double>(resolved->updates)));
  }
  resolved->value_bound = std::ldexp(largest, -resolved->fraction_bits);
  return absl::OkStatus();
}

absl::Status BoundUpdates(const v1::Task& task, const ParameterLayout& layout,
                          PrivateTask* resolved) {
  resolved->clip_norm = task.local_training().clip_norm();
  MLEDGE_ASSIGN_OR_RETURN(resolved->layers,
                          ResolveClippedLayers(task.privacy(), layout));
  if (resolved->layers.empty()) return absl::OkStatus();
  std::vector<double> clip_norms;
  for (const ClippedLayer& layer : resolved->layers) {
    clip_norms.push_back(layer.clip_norm);
  }
  MLEDGE_ASSIGN_OR_RETURN(resolved->clip_norm, TotalClipNorm(clip_norms));
  return absl::OkStatus();
}

absl::StatusOr<PrivateTask> Resolve(const v1::Task& task,
                                    const ParameterLayout& layout,
                                    const PrivateTaskOptions& options,
                                    std::optional<double> deviation) {
  const v1::Privacy& privacy = task.privacy();
  PrivateTask resolved;
  resolved.mechanism = privacy.mechanism();
  resolved.delta = privacy.delta();
  resolved.limits = {.rounds = task.stop().rounds(),
                     .participations = privacy.participations(),
                     .separation = privacy.separation()};
  if (privacy.has_epsilon_limit()) {
    resolved.epsilon_limit = privacy.epsilon_limit();
  }
  MLEDGE_RETURN_IF_ERROR(BoundUpdates(task, layout, &resolved));
  resolved.divisor = task.cohort().size();
  resolved.updates = task.cohort().size();
  resolved.honest_updates = task.cohort().size();
  resolved.rotated = resolved.mechanism == v1::Privacy::DISTRIBUTED;
  resolved.dimension =
      resolved.rotated ? options.rotated_size : layout.shared_size();
  if (resolved.rotated) {
    MLEDGE_ASSIGN_OR_RETURN(const SumSize size, SizeOfSums(task));
    resolved.updates = size.most;
    resolved.honest_updates = size.honest;
    resolved.least_honest = size.honest;
    resolved.corrupt_fraction = size.corrupt_fraction;
  }
  if (task.cohort().selection() == v1::Cohort::POISSON) {
    resolved.sampling_probability =
        static_cast<double>(task.cohort().size()) /
        static_cast<double>(task.cohort().minimum_waiting());
  }
  if (privacy.has_adaptive_clipping()) {
    resolved.count_noise = privacy.adaptive_clipping().count_noise();
  }
  if (deviation.has_value()) {
    MLEDGE_RETURN_IF_ERROR(
        PlaceNoise(task, {.deviation = *deviation}, &resolved));
  } else if (privacy.has_noise_multiplier()) {
    MLEDGE_RETURN_IF_ERROR(
        PlaceNoise(task, {.deviation = privacy.noise_multiplier()}, &resolved));
  } else {
    MLEDGE_RETURN_IF_ERROR(FindNoiseMultiplier(
        privacy.target_epsilon(),
        [&](double multiplier) -> absl::StatusOr<double> {
          MLEDGE_RETURN_IF_ERROR(
              PlaceNoise(task, {.multiplier = multiplier}, &resolved));
          MLEDGE_ASSIGN_OR_RETURN(const v1::PrivacyClaim claim,
                                  ClaimOf(resolved, Observer::kModelRecipients,
                                          resolved.limits.participations));
          return claim.epsilon();
        }));
  }
  MLEDGE_RETURN_IF_ERROR(BoundSums(task, &resolved));
  return resolved;
}

}  // namespace

double NoiseOnMean(const PrivateTask& task, int64_t present) {
  double deviation = 0;  // of the sum, in steps of the grid
  if (task.device_noise.has_value()) {
    deviation =
        std::sqrt(task.device_noise->variance * static_cast<double>(present));
  } else if (task.central_noise.has_value()) {
    deviation = std::sqrt(task.central_noise->variance);
  } else if (task.correlated_noise.has_value()) {
    deviation = std::ldexp(task.correlated_noise->standard_deviation,
                           -task.correlated_noise->fraction_bits);
  }
  return std::ldexp(deviation, -task.fraction_bits) /
         static_cast<double>(task.divisor);
}

absl::StatusOr<PrivateTask> ResolvePrivateTask(
    const v1::Task& task, const ParameterLayout& layout,
    const PrivateTaskOptions& options) {
  const int64_t size = task.cohort().size();
  const int64_t deployed = options.noise_cohort;
  if (deployed <= size) {
    return Resolve(task, layout, options, std::nullopt);
  }
  MLEDGE_ASSIGN_OR_RETURN(
      const PrivateTask deployment,
      Resolve(Deployed(task, deployed), layout, options, std::nullopt));
  const auto share = static_cast<double>(size) / static_cast<double>(deployed);
  double deviation = deployment.noise_multiplier * share;
  if (task.privacy().mechanism() == v1::Privacy::DISTRIBUTED) {
    // Of a sum in which everybody's noise is.
    deviation = NoiseOnMean(deployment, deployed) * static_cast<double>(size);
  } else if (task.privacy().mechanism() == v1::Privacy::LOCAL) {
    // Each device's own, of which a larger fleet's mean is left with less.
    deviation = deployment.noise_multiplier * std::sqrt(share);
  }
  v1::Task everybody_stays = task;
  if (everybody_stays.secure_aggregation().mode() ==
      v1::SecureAggregation::ON) {
    everybody_stays.mutable_secure_aggregation()->set_corrupt_fraction(0);
    everybody_stays.mutable_secure_aggregation()->set_dropout_fraction(0);
    everybody_stays.mutable_secure_aggregation()->clear_group_size();
  }
  if (!deployment.sampling_probability.has_value()) {
    everybody_stays.mutable_cohort()->set_minimum(size);
  }
  MLEDGE_ASSIGN_OR_RETURN(PrivateTask simulated,
                          Resolve(everybody_stays, layout, options, deviation));
  simulated.per_participation = deployment.per_participation;
  simulated.per_schedule = deployment.per_schedule;
  simulated.noise_multiplier = deployment.noise_multiplier;
  if (simulated.rotated) {
    // What sessions of the simulated cohort promise, and devices ask of them.
    MLEDGE_ASSIGN_OR_RETURN(const SumSize sums, SizeOfSums(task));
    simulated.least_honest = sums.honest;
  }
  simulated.sampling_probability = deployment.sampling_probability;
  return simulated;
}

v1::Task Deployed(v1::Task task, int64_t noise_cohort) {
  const int64_t from = task.cohort().size();
  const int64_t to = noise_cohort;
  if (to <= from) return task;
  const auto scaled = [&](int64_t devices) {
    return static_cast<int64_t>(
        std::floor(static_cast<double>(devices) * static_cast<double>(to) /
                   static_cast<double>(from)));
  };
  task.mutable_cohort()->set_size(to);
  task.mutable_cohort()->set_minimum(scaled(task.cohort().minimum()));
  if (task.cohort().selection() == v1::Cohort::POISSON) {
    task.mutable_cohort()->set_minimum_waiting(
        task.privacy().population_size());
  }
  // Of a group, where there are groups, and those stay as they are.
  if (task.has_secure_aggregation() &&
      task.secure_aggregation().group_size() == 0) {
    task.mutable_secure_aggregation()->set_least_alive(
        scaled(task.secure_aggregation().least_alive()));
  }
  return task;
}

absl::Status CheckCanBeKept(const v1::Task& task) {
  if (task.cohort().selection() != v1::Cohort::POISSON) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "cohort.selection is poisson, which only a simulation can keep to: in "
      "the "
      "field devices vanish, rounds have deadlines, and who is missing from a "
      "sample is no coin's doing. Leave the selection out; the task is then "
      "accounted for by enforced participations (privacy.participations, "
      "privacy.separation), and `mledge privacy plan` says what that costs");
}

std::string_view MechanismName(v1::Privacy::Mechanism mechanism) {
  switch (mechanism) {
    case v1::Privacy::CENTRAL:
      return "central";
    case v1::Privacy::DISTRIBUTED:
      return "distributed";
    case v1::Privacy::CORRELATED:
      return "correlated";
    case v1::Privacy::LOCAL:
      return "local";
    default:
      return "none";
  }
}

}  // namespace mledge
