#ifndef MLEDGE_PRIVACY_NOISE_NOISE_GRID_H_
#define MLEDGE_PRIVACY_NOISE_NOISE_GRID_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "mledge/privacy/grid_rounding.h"

// Which grid an update is rounded to before integer noise is added: what the
// planners of central, local and distributed noise have in common. The step is
// a power of two, 2^-fraction_bits, so that the scales of aggregation/ take it.

namespace mledge {

// Standard deviations of one source of noise, in grid units, that planners
// keep to: below, the grid shows through; above, bits and work are wasted.
inline constexpr double kLeastGridDeviation = 0.5;
inline constexpr double kMostGridDeviation = 4096;

struct NoiseGridOptions {
  // Bound on an update's L2 norm, in the model's units; > 0.
  double clip_norm = 0;
  // Coordinates, a rotation's padding included; 1 … 2^40.
  int64_t dimension = 0;
  // Standard deviation of all noise that is counted on, over the L2 sensitivity
  // after rounding (so also, at least, over the clip norm); > 0. Exactly one of
  // this and the next is set.
  double noise_multiplier = 0;
  // The same noise in the model's units; > 0.
  double standard_deviation = 0;
  // Equal, independent parts that the noise comes in: the honest survivors of
  // distributed noise, 1 otherwise.
  int64_t sources = 1;
  GridRounding rounding = GridRounding::kConditional;
  // How far rounding may lengthen an update, as a factor; noise grows with it.
  // At least 1. Up to 1.01 is taken without need; more only where noise on a
  // finer grid would be above most_deviation.
  double largest_inflation = 1.3;
  // Of one source, in grid units.
  double least_deviation = kLeastGridDeviation;
  double most_deviation = kMostGridDeviation;
};

struct NoiseGrid {
  int fraction_bits = 0;  // the grid's step is 2^-fraction_bits
  double clip = 0;        // the clip norm, in grid units
  GridSensitivity sensitivity;
  double inflation = 1;  // sensitivity.l2 / clip
  // Of one source, in grid units squared: sources · variance is at least
  // (noise_multiplier · sensitivity.l2)², or (standard_deviation / step)².
  // Rounded up.
  double variance = 0;

  double step() const;
};

// The coarsest grid (fewest bits) that lengthens an update by at most 1 %; else
// the finest that the noise still fits.
// INVALID_ARGUMENT: an option outside its range, named. FAILED_PRECONDITION: no
// grid fits; says why and what to change.
absl::StatusOr<NoiseGrid> ChooseNoiseGrid(const NoiseGridOptions& options);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_NOISE_NOISE_GRID_H_
