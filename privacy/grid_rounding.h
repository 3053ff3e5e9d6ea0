#ifndef MLEDGE_PRIVACY_GRID_ROUNDING_H_
#define MLEDGE_PRIVACY_GRID_ROUNDING_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"

// From a clipped update to integers on a grid of step 2^-f, without losing
// track of its norm: rounding up to d coordinates can lengthen a vector by far
// more than the clip allows (8 bits over ±c at d = 10^6: up to 8.8 times).
// Everything in grid units: a value x is x · 2^f of them. What a sum's
// sensitivity is, is decided by an exact integer, the bound on ‖q‖₂², that the
// device keeps and whoever adds up checks again. Adjacency is zero-out: one
// device's q becomes 0. Thread-safe for different data.

namespace mledge {

enum class GridRounding {
  // Up or down at random, right on average, and again until the norm holds.
  kConditional,
  // To the nearest integer, which moves each coordinate by up to 1/2.
  kNearest,
};

// In grid units.
struct GridSensitivity {
  // ‖q‖₂² of what one device contributes, at most: the exact integer that is
  // checked.
  int64_t squared_norm_bound = 0;
  double l2 = 0;  // its root, rounded up
  double l1 = 0;  // at most: l2 · min(√d, l2), as integers have |q| ≤ q²
};

// Norms in grid units are at most this, so that squares add up exactly.
inline constexpr double kMostGridNorm = 0x1p25;

// What a vector of `dimension` values whose norm is at most `clip` (both over
// all coordinates, padding included; the clip in grid units) can become.
//
// kConditional (Kairouz, Liu and Steinke, "The distributed discrete Gaussian
// mechanism for federated learning with secure aggregation", ICML 2021, where
// randomised rounding is conditioned on the norm; with β = e^-1/2):
//   min{ clip² + d/4 + clip + √d/2, (clip + √d)² },
// which at least a share of 1 − β of all roundings stay within. kNearest: (clip
// + √d/2)². Either is cut down to an integer, which the squares of integers
// lose nothing by; the sensitivities are rounded up.
// INVALID_ARGUMENT: clip not positive or NaN, dimension not within 1 … 2^40, a
// result above kMostGridNorm (a grid that fine is none: says so).
absl::StatusOr<GridSensitivity> SensitivityAfterRounding(double clip,
                                                         int64_t dimension,
                                                         GridRounding rounding);

struct GridRoundingResult {
  int attempts = 0;
  // After kMostRoundingAttempts: rounded towards zero, which never lengthens.
  bool fell_back = false;
};

// Each attempt fails with a probability of at most e^-1/2, so that this many
// fail one after another with at most 2^-92.
inline constexpr int kMostRoundingAttempts = 128;

// Conditional randomised rounding: q_i is ⌊x_i · 2^f⌋ or one more, with the
// fraction (to 2^-24) as the probability of the latter, drawn again as a whole
// until ‖q‖₂² ≤ squared_norm_bound. `clip` as above, in grid units: an input
// longer than it by more than 0.1 % is refused (clip first), while the last
// bits of a rotation in float32 are not. How many attempts it took depends on
// the update; do not report it.
// INVALID_ARGUMENT: a NaN or infinity, an input that is too long, sizes that
// differ, fraction_bits outside −100 … 100, a clip or bound that is none.
absl::StatusOr<GridRoundingResult> RoundToGrid(
    std::span<const float> values, int fraction_bits, double clip,
    const GridSensitivity& sensitivity, SecretRandom& random,
    std::span<int32_t> out);

// ‖q‖₂² ≤ squared_norm_bound, in exact integers: for whoever adds up.
// INVALID_ARGUMENT where it is not.
absl::Status CheckGridNorm(std::span<const int32_t> q,
                           int64_t squared_norm_bound);
absl::Status CheckGridNorm(std::span<const int64_t> q,
                           int64_t squared_norm_bound);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_GRID_ROUNDING_H_
