#include "mledge/privacy/matrix/correlated_noise_plan.h"

#include <cmath>

#include "absl/status/status.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/correlated_grid.h"

namespace mledge {
namespace {

constexpr double kLeastRoundingCost = 1e-6;
constexpr double kLargestRoundingCost = 1;

// A little more, with 24 significant bits: where a noise multiplier was
// calibrated on another machine, with another C library, to almost the same
// number, this is the same.
double RoundedUp(double value) {
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  return std::ldexp(std::ceil(std::ldexp(fraction, 24)), exponent - 24);
}

// Error in prefix sums in units of l2_sensitivity.
absl::StatusOr<PrefixSumError> GridError(const StrategyMatrix& strategy,
                                         const ParticipationLimits& limits,
                                         const CorrelatedGrid& grid,
                                         double standard_deviation) {
  MLEDGE_ASSIGN_OR_RETURN(PrefixSumError error,
                          ErrorPerUnitNoise(strategy, limits));
  MLEDGE_ASSIGN_OR_RETURN(const double sensitivity,
                          Sensitivity(strategy, limits));
  const double factor = std::ldexp(standard_deviation, -grid.fraction_bits) /
                        grid.l2_sensitivity / sensitivity;
  error.maximum *= factor;
  error.root_mean_square *= factor;
  return error;
}

// With the last rounding of each round, uniform and independent nearly: a
// twelfth of a squared unit of the sums' grid, which prefix sums pile up.
PrefixSumError WithRounding(const PrefixSumError& error, int64_t rounds,
                            double l2_sensitivity) {
  const double unit = 1 / (12 * l2_sensitivity * l2_sensitivity);
  const auto most = static_cast<double>(rounds);
  return {std::sqrt(error.maximum * error.maximum + most * unit),
          std::sqrt(error.root_mean_square * error.root_mean_square +
                    (most + 1) / 2 * unit)};
}

}  // namespace

absl::StatusOr<MatrixMechanismEvent> CorrelatedNoiseEvent(
    const CorrelatedNoiseOptions& options, const ParticipationLimits& limits,
    double l2_sensitivity) {
  if (options.rounds != limits.rounds) {
    return absl::InvalidArgumentError(
        StrCat("noise for ", options.rounds, " rounds where participation is ",
               "limited over ", limits.rounds, ": rounds must be the same"));
  }
  const CorrelatedGrid grid = {.fraction_bits = options.fraction_bits,
                               .dimension = options.dimension,
                               .l2_sensitivity = l2_sensitivity};
  MLEDGE_ASSIGN_OR_RETURN(
      const double sensitivity,
      CorrelatedSensitivity(options.strategy, limits, grid));
  MLEDGE_ASSIGN_OR_RETURN(
      const double multiplier,
      CorrelatedNoiseMultiplier(options.strategy, limits, grid,
                                options.standard_deviation));
  return MatrixMechanismEvent{.noise_multiplier = multiplier * sensitivity,
                              .sensitivity = sensitivity,
                              .rounds = limits.rounds,
                              .participations = limits.participations,
                              .separation = limits.separation};
}

absl::StatusOr<CorrelatedNoisePlan> PlanCorrelatedNoise(
    const CorrelatedNoiseRequest& request) {
  MLEDGE_RETURN_IF_ERROR(ValidateStrategy(request.strategy));
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(request.limits));
  MLEDGE_RETURN_IF_ERROR(
      ValidateCorrelatedGrid({.fraction_bits = 0,
                              .dimension = request.dimension,
                              .l2_sensitivity = request.l2_sensitivity}));
  if (!(request.rounding_cost >= kLeastRoundingCost &&
        request.rounding_cost <= kLargestRoundingCost)) {
    return absl::InvalidArgumentError(
        StrCat("rounding_cost ", request.rounding_cost, ": it must be between ",
               kLeastRoundingCost, " and ", kLargestRoundingCost));
  }
  // Refuses a bad noise multiplier by name as well.
  MLEDGE_RETURN_IF_ERROR(
      EquivalentNoiseMultiplier(request.strategy, request.limits,
                                request.equivalent_noise_multiplier)
          .status());
  MLEDGE_ASSIGN_OR_RETURN(const PrefixSumError unit,
                          ErrorPerUnitNoise(request.strategy, request.limits));
  const double allowed = unit.root_mean_square *
                         request.equivalent_noise_multiplier *
                         (1 + request.rounding_cost);
  for (int bits = 0; bits <= kMostFractionBits; ++bits) {
    const CorrelatedGrid grid = {.fraction_bits = bits,
                                 .dimension = request.dimension,
                                 .l2_sensitivity = request.l2_sensitivity};
    MLEDGE_ASSIGN_OR_RETURN(const StrategyMatrix strategy,
                            RoundStrategyToGrid(request.strategy, bits));
    // Too little noise for this grid, or already too much for any finer one.
    const absl::StatusOr<double> deviation = CorrelatedStandardDeviation(
        strategy, request.limits, grid, request.equivalent_noise_multiplier);
    if (!deviation.ok()) continue;
    const double standard_deviation = RoundedUp(*deviation);
    MLEDGE_ASSIGN_OR_RETURN(
        const PrefixSumError error,
        GridError(strategy, request.limits, grid, standard_deviation));
    if (error.root_mean_square > allowed) continue;
    CorrelatedNoisePlan plan;
    plan.options = {.strategy = strategy,
                    .rounds = request.limits.rounds,
                    .dimension = request.dimension,
                    .fraction_bits = bits,
                    .standard_deviation = standard_deviation};
    MLEDGE_RETURN_IF_ERROR(ValidateCorrelatedNoiseOptions(plan.options));
    MLEDGE_ASSIGN_OR_RETURN(plan.event,
                            CorrelatedNoiseEvent(plan.options, request.limits,
                                                 request.l2_sensitivity));
    plan.error = bits == 0 ? error
                           : WithRounding(error, request.limits.rounds,
                                          request.l2_sensitivity);
    MLEDGE_ASSIGN_OR_RETURN(plan.vectors,
                            VectorsOfMemory(strategy, request.limits.rounds));
    return plan;
  }
  return absl::InvalidArgumentError(StrCat(
      "no grid for noise of multiplier ", request.equivalent_noise_multiplier,
      " on contributions of ", request.l2_sensitivity,
      " grid units keeps the cost of rounding within ", request.rounding_cost,
      " in 64-bit integers"));
}

}  // namespace mledge
