#ifndef MLEDGE_PRIVACY_NOISE_LOCAL_MECHANISMS_H_
#define MLEDGE_PRIVACY_NOISE_LOCAL_MECHANISMS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"
#include "mledge/privacy/noise/discrete_gaussian.h"
#include "mledge/privacy/noise/noise_grid.h"

// Differential privacy of each single report, against everybody, the
// coordinator included: an update with Gaussian noise, a category with
// randomised response. The epsilon is the report's own; nothing here is
// amplified by how many others report (that would take a proven shuffler).
// Immutable after Create; const access from several threads is safe.

namespace mledge {

// δ of the Gaussian mechanism with noise of `noise_multiplier` (standard
// deviation over L2 sensitivity) at `epsilon`, exactly: Φ(1/2z − εz) − e^ε
// Φ(−1/2z − εz) (Balle and Wang, "Improving the Gaussian mechanism for
// differential privacy: analytical calibration and optimal denoising", ICML
// 2018, theorem 8). Rounded up. Precondition: both positive, epsilon ≤ 100.
double AnalyticGaussianDelta(double noise_multiplier, double epsilon);

// The least multiplier, to 10^-12 of it, at which the above is at most `delta`.
// Rounded up: the delta at what is returned is never above the target.
// INVALID_ARGUMENT: epsilon not within 10^-6 … 100, delta not within 10^-100 …
// 1, 1 excluded.
absl::StatusOr<double> AnalyticGaussianNoiseMultiplier(double epsilon,
                                                       double delta);

struct LocalGaussianOptions {
  double clip_norm = 0;   // in the model's units; > 0
  int64_t dimension = 0;  // values of a report
  double epsilon = 0;     // of one report
  double delta = 0;
  // Any two updates look alike (local differential privacy in the strict sense:
  // their distance is up to twice the clip); false: an update looks like zero.
  bool any_two_updates = true;
};

// Clip, round to a grid, add discrete Gaussian noise.
//
// Why the analytic Gaussian's (ε, δ) holds for integers: discrete Gaussian
// noise of variance v is, but for a statistical distance of 2^-112 a
// coordinate, continuous Gaussian noise of variance v − 4 that was then rounded
// at random, by discrete Gaussians of variance 4 around it (Poisson summation,
// as in discrete_gaussian.h; DiscreteGaussian::kContinuousMargin). Rounding
// commutes with whole shifts and is post-processing, so whatever (ε, δ) the
// continuous mechanism has, this one has, with d (1 + e^ε) (2^-112 + 2^-100)
// more δ; the noise is calibrated so that the total is at most `delta`.
class LocalGaussian {
 public:
  // INVALID_ARGUMENT: an option outside its range, named. FAILED_PRECONDITION:
  // no grid fits (noise_grid.h), or delta is too small for so many values.
  static absl::StatusOr<LocalGaussian> Create(
      const LocalGaussianOptions& options);

  const NoiseGrid& grid() const { return grid_; }

  // A report, in grid units. INVALID_ARGUMENT: sizes other than the dimension,
  // a NaN or an infinity.
  absl::Status Report(std::span<const float> values, SecretRandom& random,
                      std::span<int32_t> out) const;

 private:
  LocalGaussian(const LocalGaussianOptions& options, const NoiseGrid& grid,
                DiscreteGaussian noise)
      : options_(options), grid_(grid), noise_(std::move(noise)) {}

  LocalGaussianOptions options_;
  NoiseGrid grid_;
  DiscreteGaussian noise_;
};

// k-ary randomised response: the truth with probability e^ε / (e^ε + k − 1),
// else any other category (Kairouz, Oh and Viswanath, "Extremal mechanisms for
// local differential privacy", NeurIPS 2014; Warner 1965 for k = 2).
class RandomizedResponse {
 public:
  static constexpr int64_t kMostCategories = int64_t{1} << 31;

  // INVALID_ARGUMENT: categories not within 2 … 2^31, epsilon not within 10^-6
  // … 30.
  static absl::StatusOr<RandomizedResponse> Create(int64_t categories,
                                                   double epsilon);

  // A multiple of 2^-64, rounded down so far that no ratio of probabilities is
  // above e^ε, whatever 64-bit integers cannot divide evenly.
  double truth_probability() const;

  // Same work whatever is answered. INVALID_ARGUMENT: `truth` not within 0 …
  // categories − 1.
  absl::StatusOr<int64_t> Report(int64_t truth, SecretRandom& random) const;

  // How many of the reporters hold each category, estimated from how many
  // reported it; right on average. INVALID_ARGUMENT: another number of counts,
  // a negative one.
  absl::StatusOr<std::vector<double>> EstimateCounts(
      std::span<const int64_t> reported) const;

 private:
  RandomizedResponse(int64_t categories, uint64_t truth_threshold)
      : categories_(categories), truth_threshold_(truth_threshold) {}

  int64_t categories_;
  uint64_t truth_threshold_;  // of 2^64
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_NOISE_LOCAL_MECHANISMS_H_
