#ifndef MLEDGE_PRIVACY_MATRIX_CORRELATED_GRID_H_
#define MLEDGE_PRIVACY_MATRIX_CORRELATED_GRID_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/privacy/matrix/participation.h"
#include "mledge/privacy/matrix/strategy_matrix.h"

// The matrix mechanism in integers: what correlated_noise.h computes, and what
// may be claimed of it. The independent noise z is discrete Gaussian on a grid
// that is finer than that of the sums by a power of two; a round is published
// as G + ⌊C⁻¹z⌉ on the sums' grid, all in 64-bit integers. Pure functions.
//
// Nothing about rounding has to be assumed. (1) Rounding half up commutes with
// adding integers, so ⌊G + y⌉ = G + ⌊y⌉: the last rounding is processing of
// what was released. (2) Given the rounds before, round t releases 2^f·G_t −
// r_t + z_t, where r_t is the rounded sum of products that the recurrence takes
// back. If a device's contributions D are taken out, this moves by an integer
// vector: exactly 2^f·(C·D)_t for the tree and for bands whose coefficients lie
// on z's grid, because a multiple of the grid passes through the rounding; for
// buffers by at most `δ` more in each coordinate that D touches, δ a little
// over one unit. (3) Discrete Gaussian noise of variance σ² is Gaussian noise
// of variance σ² − 8 that was then rounded at random, up to a statistical
// distance of 2⁻²²⁰ a draw (Poisson summation), in a way that commutes with
// adding integers; so the Gaussian mechanism's curve holds. (4) Adaptive rounds
// with shifts whose squares sum to at most S² are no less private than one
// Gaussian mechanism of sensitivity S (Smith and Thakurta, "Fully Adaptive
// Composition for Gaussian Differential Privacy", 2022, arXiv 2210.17520).

namespace mledge {

inline constexpr int kMostFractionBits = 30;

struct CorrelatedGrid {
  // z's grid is 2^−fraction_bits of the sums'. 0 … kMostFractionBits.
  int fraction_bits = 0;
  // Coordinates of a sum. 1 … 2^34.
  int64_t dimension = 0;
  // Largest norm of what one device adds to one sum, in units of the sums'
  // grid, after rounding to it. Positive, at most 2^50.
  double l2_sensitivity = 0;

  bool operator==(const CorrelatedGrid&) const = default;
};

// INVALID_ARGUMENT, naming the field, its value and its domain.
absl::Status ValidateCorrelatedGrid(const CorrelatedGrid& grid);

// INVALID_ARGUMENT unless `standard_deviation`, of z in units of its own grid,
// is at least 16 (choose more fraction bits) and at most 2^40.
absl::Status ValidateCorrelatedStandardDeviation(double standard_deviation);

// The strategy that integers compute: coefficients of bands rounded to
// multiples of 2^−fraction_bits (those that become zero at the end are
// dropped), decays and weights of buffers to multiples of 2⁻³⁰ (down). What is
// claimed must be computed from what this returns.
// INVALID_ARGUMENT: an invalid strategy or number of bits; a buffer whose
// weight or decay rounds to 0 or 1.
absl::StatusOr<StrategyMatrix> RoundStrategyToGrid(
    const StrategyMatrix& strategy, int fraction_bits);

// L2 sensitivity, in units of grid.l2_sensitivity, of what the integer noise
// hides: Sensitivity, and for buffers (2) above on top, δ·√(N·(rounds − 1)) in
// units of z's grid, where N = min(dimension, participations·l2_sensitivity²)
// bounds the coordinates that integer contributions of such a norm can touch.
// Rounds up.
// INVALID_ARGUMENT: as Sensitivity; an invalid grid; a strategy that is not
// what RoundStrategyToGrid returns.
absl::StatusOr<double> CorrelatedSensitivity(const StrategyMatrix& strategy,
                                             const ParticipationLimits& limits,
                                             const CorrelatedGrid& grid);

// The noise multiplier of the one Gaussian mechanism that all rounds together
// are at least as private as. Rounds down.
// `standard_deviation`: of z, in units of its own grid.
// INVALID_ARGUMENT: as CorrelatedSensitivity; a standard deviation out of
// range.
absl::StatusOr<double> CorrelatedNoiseMultiplier(
    const StrategyMatrix& strategy, const ParticipationLimits& limits,
    const CorrelatedGrid& grid, double standard_deviation);

// The other way round: the standard deviation of z, in units of its own grid,
// for which CorrelatedNoiseMultiplier is at least `noise_multiplier`. Rounds
// up. INVALID_ARGUMENT: as CorrelatedSensitivity; a noise multiplier that is
// not positive, or for which the standard deviation is out of range.
absl::StatusOr<double> CorrelatedStandardDeviation(
    const StrategyMatrix& strategy, const ParticipationLimits& limits,
    const CorrelatedGrid& grid, double noise_multiplier);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_CORRELATED_GRID_H_
