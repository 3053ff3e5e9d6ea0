#ifndef MLEDGE_PRIVACY_MATRIX_CORRELATED_NOISE_PLAN_H_
#define MLEDGE_PRIVACY_MATRIX_CORRELATED_NOISE_PLAN_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/privacy/matrix/correlated_noise.h"
#include "mledge/privacy/matrix/participation.h"
#include "mledge/privacy/matrix/prefix_sum_error.h"
#include "mledge/privacy/matrix/strategy_matrix.h"

// From what a task wants to what runs and what is accounted: how fine the
// noise's grid must be, the matrix and the standard deviation on it, the event.
// Pure functions.

namespace mledge {

struct CorrelatedNoiseRequest {
  // In real numbers, from optimize.h or SquareRootCoefficients.
  StrategyMatrix strategy;
  ParticipationLimits limits;
  // Coordinates of a sum.
  int64_t dimension = 0;
  // Largest norm of what one device adds to one sum, in units of the sums'
  // grid, after rounding to it.
  double l2_sensitivity = 0;
  // That all rounds together must come to, at least: the noise multiplier of
  // one Gaussian mechanism, as an accountant calibrates it.
  double equivalent_noise_multiplier = 0;
  // By how much the error in prefix sums may exceed that in real numbers, as a
  // share, for want of a finer grid of z: those cost the sampler time. Rounding
  // to the sums' own grid is not part of it. 1e-6 … 1.
  double rounding_cost = 1e-3;
};

struct CorrelatedNoisePlan {
  // For CorrelatedNoise. The same request gives the same bits on every machine,
  // and one whose noise multiplier differs in its last bits nearly always does.
  CorrelatedNoiseOptions options;
  // All rounds together. Its noise_multiplier over its sensitivity is at least
  // what was asked for.
  MatrixMechanismEvent event;
  // Standard deviation of the noise in prefix sums, in units of l2_sensitivity,
  // with what rounding to the sums' grid adds.
  PrefixSumError error;
  // Vectors of 64-bit integers kept between rounds.
  int64_t vectors = 0;
};

// The coarsest grid for which rounding costs no more than allowed.
// INVALID_ARGUMENT: a field out of its domain, by name; no grid is fine enough
// and still fits into 64-bit integers.
absl::StatusOr<CorrelatedNoisePlan> PlanCorrelatedNoise(
    const CorrelatedNoiseRequest& request);

// The event of a strategy whose noise of this standard deviation, in units of
// the grid of z, is added in integers (CorrelatedNoiseMultiplier). Rounds down.
// INVALID_ARGUMENT: as CorrelatedNoiseMultiplier.
absl::StatusOr<MatrixMechanismEvent> CorrelatedNoiseEvent(
    const CorrelatedNoiseOptions& options, const ParticipationLimits& limits,
    double l2_sensitivity);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_CORRELATED_NOISE_PLAN_H_
