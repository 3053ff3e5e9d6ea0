#ifndef MLEDGE_PRIVACY_NOISE_DISCRETE_GAUSSIAN_H_
#define MLEDGE_PRIVACY_NOISE_DISCRETE_GAUSSIAN_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"

// Noise of the discrete Gaussian N_Z(0, σ²), whose probability of an integer x
// is proportional to exp(−x² / 2σ²) (Canonne, Kamath and Steinke, "The discrete
// Gaussian for differential privacy", NeurIPS 2020, definition 1): the noise of
// every Gaussian mechanism here. Integer arithmetic only, so nothing of the
// floating-point attacks (Mironov, CCS 2012) applies, and the same bytes of
// randomness give the same noise on every machine.
//
// How, and how exact. For σ² < 1088 by inversion of a table of exact
// probabilities (internal/draw_table.h; computed to 2^-220, cut off where less
// than 2^-130 remains). For larger σ² by convolution: x₀ + 4 y with x₀ ~ N_Z(0,
// 64), y ~ N_Z(0, (σ² − 64) / 16), and so on until the table is reached; both
// steps are exact on doubles. Lemma (Peikert, "An efficient and parallel
// Gaussian sampler for lattices", CRYPTO 2010, theorem 3.1; Micciancio and
// Walter, "Gaussian sampling over the integers", CRYPTO 2017): completing the
// square, P[x₀ + 4y = v] is exp(−v²/2σ²) times the sum over the integers of a
// Gaussian of variance t² = 64·s² / (64 + 16·s²), s² the variance of y, around
// a centre that depends on v; by Poisson summation that sum is the same for all
// v up to factors 1 ± e, e = 2 exp(−2π² t²) + …. Since s² ≥ 64, t² ≥ 64/17 and
// e ≤ 2^-106.2, so each step adds at most e / (1 − e) of statistical distance
// (total variation), and steps add up: at most 19 of them, and together with
// the table's 2^-110 a block no batch is farther than 2^-100 per draw from
// independent exact draws. Whoever claims (ε, δ) of n draws adds n · 2^-100 ·
// (1 + e^ε) to δ.
//
// Work and addresses are the same whatever is drawn (the time of a rejection
// sampler tells |noise|): they depend on σ² and on how much is asked for.
// Randomness: 4 bytes a draw and table, expanded from 32 bytes of the
// SecretRandom for each call (secret_stream.h).
//
// Immutable; const access from several threads is safe.

namespace mledge {

namespace noise_internal {
class DrawTable;
}  // namespace noise_internal

// The smallest double that is at least the square of `standard_deviation` (so
// noise is rounded up). Precondition: positive, square finite.
double VarianceOf(double standard_deviation);

class DiscreteGaussian {
 public:
  static constexpr double kLeastVariance = 0x1p-8;  // σ = 1/16
  static constexpr double kMostVariance = 0x1p80;   // σ = 2^40
  // Statistical distance of one draw, at most; of n draws, n times this.
  static constexpr double kDistancePerDraw = 0x1p-100;
  // Noise of variance v > 4 compared with continuous noise: let Y be continuous
  // Gaussian of variance v − 4, and X, given Y, discrete Gaussian of variance 4
  // around Y. By Poisson summation the weights of X around any Y add up to the
  // same within a factor 1 ± 2 exp(−8π²), so X is N_Z(0, v) within a
  // statistical distance of 2^-112; a whole shift of Y is one of X. So an (ε,
  // δ), a privacy loss distribution or a trade-off curve of the continuous
  // Gaussian mechanism of variance v − 4 holds for integers with noise N_Z(0,
  // v), with d (1 + e^ε) 2^-112 more δ for d coordinates. (Rényi bounds need no
  // margin.)
  static constexpr double kContinuousMargin = 4;

  // `variance` is σ², taken as exactly the number that the double is.
  // INVALID_ARGUMENT: not within kLeastVariance … kMostVariance (NaN included).
  static absl::StatusOr<DiscreteGaussian> Create(double variance);

  double variance() const { return variance_; }
  // No draw is larger in magnitude (about 14 σ).
  int64_t largest_magnitude() const { return largest_magnitude_; }

  // Independent draws. Precondition of the 32-bit one: largest_magnitude() fits
  // (it does for σ up to 2^26); the process ends otherwise.
  void Fill(SecretRandom& random, std::span<int32_t> out) const;
  void Fill(SecretRandom& random, std::span<int64_t> out) const;

 private:
  DiscreteGaussian(double variance, int steps, double table_variance);
  template <typename Integer>
  void FillIntegers(SecretRandom& random, std::span<Integer> out) const;

  double variance_;
  int steps_;  // of the convolution
  int64_t largest_magnitude_;
  std::shared_ptr<const noise_internal::DrawTable> table_;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_NOISE_DISCRETE_GAUSSIAN_H_
