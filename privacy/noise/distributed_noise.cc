#include "mledge/privacy/noise/distributed_noise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "absl/status/status.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/noise/skellam.h"

namespace mledge {
namespace {

constexpr int kFewestModulusBits = 8;
constexpr int kMostModulusBits = 32;
constexpr int64_t kMostCohort = int64_t{1} << 32;
// k of the modulus: standard deviations of the sum that fit.
constexpr double kDeviationsThatFit = 4;
constexpr double kMostRelativeSumError = 1e-3;
// Towards less noise or less privacy never by more than these roundings.
constexpr double kDown = 1 - 0x1p-50;
constexpr double kUp = 1 + 0x1p-50;

absl::Status CheckCohort(const DistributedNoiseOptions& options) {
  if (options.cohort < 1 || options.cohort > kMostCohort) {
    return absl::InvalidArgumentError(
        StrCat("cohort is ", options.cohort,
               "; it must lie between 1 and 2^32 devices"));
  }
  if (options.least_alive < 1 || options.least_alive > options.cohort) {
    return absl::InvalidArgumentError(
        StrCat("least_alive is ", options.least_alive,
               "; it must lie between 1 and the cohort of ", options.cohort));
  }
  if (!(options.corrupt_fraction >= 0 && options.corrupt_fraction < 1)) {
    return absl::InvalidArgumentError(
        StrCat("corrupt_fraction is ", options.corrupt_fraction,
               "; it must lie between 0 and 1, 1 excluded"));
  }
  return absl::OkStatus();
}

absl::StatusOr<NoiseGrid> ChooseGrid(const DistributedNoiseOptions& options,
                                     int64_t honest) {
  NoiseGridOptions grid_options = {
      .clip_norm = options.clip_norm,
      .dimension = options.dimension,
      .noise_multiplier = options.noise_multiplier,
      .standard_deviation = options.central_standard_deviation,
      .sources = honest,
      .largest_inflation = options.largest_inflation};
  if (options.kind == DistributedNoiseKind::kSkellam) {
    grid_options.most_deviation = std::sqrt(Skellam::kMostVariance);
    return ChooseNoiseGrid(grid_options);
  }
  // The error of the sum falls off so fast that a few tries suffice: exp(−π²
  // σ²) is below 10^-69 at σ = 4.
  for (;; grid_options.least_deviation *= 1.0625) {
    MLEDGE_ASSIGN_OR_RETURN(const NoiseGrid grid,
                            ChooseNoiseGrid(grid_options));
    const double relative_sensitivity =
        grid.sensitivity.l2 /
        std::sqrt(static_cast<double>(honest) * grid.variance);
    const double error = DiscreteGaussianSumError(honest, grid.variance);
    if (std::sqrt(static_cast<double>(options.dimension)) * error <=
        kMostRelativeSumError * relative_sensitivity) {
      return grid;
    }
  }
}

// Standard deviation of a coordinate of the sum, values and noise, at most, in
// grid units, and the largest magnitude of what is not random.
struct SumSpread {
  double deviation = 0;
  double magnitude = 0;
};

SumSpread SpreadOfSum(const DistributedNoiseOptions& options,
                      const NoiseGrid& grid) {
  const auto n = static_cast<double>(options.cohort);
  const double d = static_cast<double>(options.dimension);
  SumSpread spread;
  if (options.rotated) {
    spread.deviation = std::sqrt(n * grid.clip * (n * grid.clip) / d +
                                 (0.25 + grid.variance) * n);
  } else {
    spread.magnitude = n * grid.sensitivity.l2;
    spread.deviation = std::sqrt(grid.variance * n);
  }
  return spread;
}

}  // namespace

double DistributedNoisePlan::local_standard_deviation() const {
  const double root = std::sqrt(grid.variance);
  // The exact rounding error, by one fused operation.
  const bool too_large = std::fma(root, root, -grid.variance) > 0;
  return too_large ? std::nextafter(root, 0.0) : root;
}

double DistributedNoisePlan::honest_variance() const {
  return grid.variance * static_cast<double>(honest_survivors) * kDown;
}

double DistributedNoisePlan::central_standard_deviation() const {
  return noise_in_sum(honest_survivors) * kDown;
}

double DistributedNoisePlan::noise_in_sum(int64_t count) const {
  return std::sqrt(grid.variance * static_cast<double>(count)) * grid.step();
}

double DiscreteGaussianSumError(int64_t devices, double variance) {
  const double rate = 2 * std::numbers::pi * std::numbers::pi * variance;
  if (devices < 2) return 0;
  // Terms decrease to exp(−rate); the first thousand are added one by one, and
  // the others are at most the last of them each.
  constexpr int64_t kSummed = 1000;
  double sum = 0;
  double term = 0;
  const int64_t summed = std::min(devices - 1, kSummed);
  for (int64_t k = 1; k <= summed; ++k) {
    const auto ratio = static_cast<double>(k) / static_cast<double>(k + 1);
    term = std::exp(-rate * ratio);
    sum += term;
  }
  sum += term * static_cast<double>(devices - 1 - summed);
  // The last addend: what underflowed.
  return 10 * sum * (1 + 1e-12) + std::numeric_limits<double>::min();
}

absl::StatusOr<DistributedNoisePlan> PlanDistributedNoise(
    const DistributedNoiseOptions& options) {
  MLEDGE_RETURN_IF_ERROR(CheckCohort(options));
  DistributedNoisePlan plan{.kind = options.kind};
  const auto corrupt = static_cast<int64_t>(std::floor(
      options.corrupt_fraction * static_cast<double>(options.cohort) * kUp));
  plan.honest_survivors = options.least_alive - corrupt;
  if (plan.honest_survivors < 1) {
    return absl::FailedPreconditionError(StrCat(
        "of ", options.least_alive, " devices that are left, ", corrupt,
        " may be corrupt (", options.corrupt_fraction, " of ", options.cohort,
        "), so nobody's noise can be counted on: raise least_alive"));
  }
  MLEDGE_ASSIGN_OR_RETURN(plan.grid,
                          ChooseGrid(options, plan.honest_survivors));
  if (plan.kind == DistributedNoiseKind::kDiscreteGaussian) {
    plan.sum_error =
        DiscreteGaussianSumError(plan.honest_survivors, plan.grid.variance);
  }

  const SumSpread spread = SpreadOfSum(options, plan.grid);
  const double range =
      2 * (spread.magnitude + kDeviationsThatFit * spread.deviation);
  plan.modulus_bits = std::max(kFewestModulusBits,
                               static_cast<int>(std::ceil(std::log2(range))));
  if (plan.modulus_bits > kMostModulusBits) {
    return absl::FailedPreconditionError(
        StrCat("sums of ", options.cohort, " updates of ", options.dimension,
               " values on a grid of step 2^", -plan.grid.fraction_bits,
               " need ", plan.modulus_bits, " bits, and a modulus has at most ",
               kMostModulusBits,
               ": divide the cohort into groups, rotate the update, or lower "
               "the noise multiplier"));
  }
  const double half = std::ldexp(1.0, plan.modulus_bits - 1);
  const double room = (half - spread.magnitude) / spread.deviation;
  plan.wrap_probability = std::min(1.0, 2 * std::exp(-room * room / 2));
  plan.expected_wraps =
      plan.wrap_probability * static_cast<double>(options.dimension);
  return plan;
}

}  // namespace mledge
