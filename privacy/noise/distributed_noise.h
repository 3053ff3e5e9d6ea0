#ifndef MLEDGE_PRIVACY_NOISE_DISTRIBUTED_NOISE_H_
#define MLEDGE_PRIVACY_NOISE_DISTRIBUTED_NOISE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "mledge/privacy/noise/noise_grid.h"

// The planner of noise that devices add before secure aggregation: grid, noise,
// modulus, sensitivities. (Noise that the coordinator or a device adds for
// itself takes noise_grid.h alone, with one source.) It works out no ε; its
// numbers are the parameters of the accountants' events. Functions of numbers,
// thread-safe.

namespace mledge {

enum class DistributedNoiseKind {
  // Each device adds N_Z(0, σ²) in each coordinate: Kairouz, Liu and Steinke,
  // ICML 2021 (arXiv 2102.06387).
  kDiscreteGaussian,
  // Each device adds the difference of two Poissons: Agarwal, Kairouz and Liu,
  // NeurIPS 2021 (arXiv 2110.04995). For grids so coarse, and cohorts so large,
  // that sums of discrete Gaussians are no longer nearly Gaussian.
  kSkellam,
};

struct DistributedNoiseOptions {
  DistributedNoiseKind kind = DistributedNoiseKind::kDiscreteGaussian;
  double clip_norm = 0;   // in the model's units; > 0
  int64_t dimension = 0;  // coordinates, a rotation's padding included
  // One sum's devices: the cohort, or a group of it, where groups are unmasked
  // one by one (an observer sees each group's sum, with that group's noise).
  int64_t cohort = 0;       // at most
  int64_t least_alive = 0;  // at least, or nothing is unmasked; signed in tasks
  // γ: up to ⌊γ · cohort⌋ devices tell the observer what noise they added; 0 …
  // 1.
  double corrupt_fraction = 0;
  // Standard deviation of the honest survivors' noise together over the L2
  // sensitivity after rounding. Exactly one of this and the next is set.
  double noise_multiplier = 0;
  // The same noise in the model's units.
  double central_standard_deviation = 0;
  // Coordinates are those of a rotated vector (random signs, Hadamard), so that
  // sums spread evenly; otherwise one coordinate may hold the whole norm.
  bool rotated = true;
  double largest_inflation = 1.3;  // noise_grid.h
};

struct DistributedNoisePlan {
  DistributedNoiseKind kind = DistributedNoiseKind::kDiscreteGaussian;
  NoiseGrid grid;  // grid.variance: of one device's noise
  // least_alive − ⌊γ · cohort⌋, whose noise is counted on.
  int64_t honest_survivors = 0;
  // Discrete Gaussian: τ of Proposition 14, how far a sum of the survivors'
  // noise is from a discrete Gaussian; 0 for Skellam, whose sums are Skellam.
  double sum_error = 0;
  // The sum is taken modulo 2^modulus_bits, 8 … 32.
  int modulus_bits = 0;
  // That one coordinate of the sum wraps around, at most, and how many are
  // expected to. Costs accuracy, not privacy.
  double wrap_probability = 0;
  double expected_wraps = 0;

  // Of one device's noise, in grid units, and the variance of the honest
  // survivors' together: what the accountants' events take, beside
  // grid.sensitivity. Rounded down.
  double local_standard_deviation() const;
  double honest_variance() const;
  // Of the honest survivors' noise, in the model's units. Rounded down.
  double central_standard_deviation() const;
  // Of everybody's noise in a sum of `count` devices, in the model's units:
  // what the model has to bear.
  double noise_in_sum(int64_t count) const;
};

// τ = 10 Σ_{k=1}^{n−1} exp(−2π² σ² k / (k + 1)), n devices of N_Z(0, σ²) each
// (Proposition 14). Rounded up.
double DiscreteGaussianSumError(int64_t devices, double variance);

// The granularity is the coarsest that costs next to nothing: see
// ChooseNoiseGrid; for discrete Gaussians also √d · τ ≤ 10^-3 L2 / (√n σ),
// where the bound is within 0.2 % of a Gaussian's. The modulus is the least
// with 2^b ≥ 2 k √((n·clip)²/d + (1/4 + σ²) n) in grid units, k = 4 (n the
// cohort; not rotated: 2 (n · L2 + k σ √n)).
// INVALID_ARGUMENT: an option outside its range, named. FAILED_PRECONDITION:
// no honest survivor; no grid; more than 32 bits. It says what to change.
absl::StatusOr<DistributedNoisePlan> PlanDistributedNoise(
    const DistributedNoiseOptions& options);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_NOISE_DISTRIBUTED_NOISE_H_
