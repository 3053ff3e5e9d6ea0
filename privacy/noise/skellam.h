#ifndef MLEDGE_PRIVACY_NOISE_SKELLAM_H_
#define MLEDGE_PRIVACY_NOISE_SKELLAM_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"

// Noise of the Skellam distribution of variance μ: the difference of two
// independent Poisson variables of mean μ/2 each, P[x] = e^-μ I_|x|(μ) with the
// modified Bessel function I (Agarwal, Kairouz and Liu, "The Skellam mechanism
// for differentially private federated learning", NeurIPS 2021). Sums of
// independent ones are Skellam with the sum of the variances, exactly, so it
// suits coarse grids and large cohorts.
//
// How: by inversion of a table (internal/draw_table.h) of I_k(μ), from the
// recurrence I_{k−1} = I_{k+1} + (2k/μ) I_k run downwards (Miller's algorithm)
// in 240-bit fixed point, cut off where less than 2^-130 remains. Statistical
// distance, work, addresses and randomness: as discrete_gaussian.h says for its
// table. The table is scanned as a whole, so its length bounds μ: above a
// deviation of 256 grid units take discrete Gaussians, which are as good from 2
// grid units on.
//
// Immutable; const access from several threads is safe.

namespace mledge {

namespace noise_internal {
class DrawTable;
}  // namespace noise_internal

class Skellam {
 public:
  static constexpr double kLeastVariance = 0x1p-8;
  static constexpr double kMostVariance = 256.0 * 256.0;
  // Statistical distance of one draw, at most; of n draws, n times this.
  static constexpr double kDistancePerDraw = 0x1p-100;

  // `variance` is μ, taken as exactly the number that the double is.
  // INVALID_ARGUMENT: not within kLeastVariance … kMostVariance (NaN included).
  static absl::StatusOr<Skellam> Create(double variance);

  double variance() const { return variance_; }
  // No draw is larger in magnitude.
  int32_t largest_magnitude() const;

  // Independent draws.
  void Fill(SecretRandom& random, std::span<int32_t> out) const;

 private:
  explicit Skellam(double variance);

  double variance_;
  std::shared_ptr<const noise_internal::DrawTable> table_;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_NOISE_SKELLAM_H_
