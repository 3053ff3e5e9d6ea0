#ifndef MLEDGE_PRIVACY_MATRIX_CORRELATED_NOISE_H_
#define MLEDGE_PRIVACY_MATRIX_CORRELATED_NOISE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/executor.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/sha256.h"
#include "mledge/privacy/matrix/internal/noise_filter.h"
#include "mledge/privacy/matrix/strategy_matrix.h"

// Streams the noise of the matrix mechanism, round by round, onto a
// coordinator's integer sums. correlated_grid.h says what may be claimed of it.
//
// The object and what Save writes hold noise that later rounds take back:
// whoever reads them can take it off released models. Keep them as secret as a
// key. Memory is wiped.
//
// Whoever publishes commits the noised sum and the saved state in one
// transaction, and serves nothing before it. A draw that a crash lost is
// repeated from the state before it, with fresh randomness; that is sound
// because nobody has seen the lost one. Two noisings of one round from one
// state must never both be seen.

namespace mledge {

// Fills `z` with independent draws of the discrete Gaussian, in units of its
// own grid (privacy/noise, DiscreteGaussian, from SecretRandom), for the
// coordinates from `first` on. Called from several threads at once. `first` is
// for simulations, whose randomness must not depend on who comes first; real
// fleets ignore it.
using NoiseSampler = std::function<void(int64_t first, std::span<int64_t> z)>;

struct CorrelatedNoiseOptions {
  // As RoundStrategyToGrid returns it.
  StrategyMatrix strategy;
  // 1 … kMaximumRounds.
  int64_t rounds = 0;
  // Coordinates of a sum, 1 … 2^34.
  int64_t dimension = 0;
  // z's grid is 2^−fraction_bits of the sums'. 0 … kMostFractionBits.
  int fraction_bits = 0;
  // Of z, in units of its own grid (CorrelatedStandardDeviation). 16 … 2^40.
  double standard_deviation = 0;
};

// INVALID_ARGUMENT: an option out of its domain, by name; a strategy that is
// not on the grid; integers that might not fit into 64 bits.
absl::Status ValidateCorrelatedNoiseOptions(
    const CorrelatedNoiseOptions& options);

// Order of calls: Create or Restore; AddNoise for next_round() as often as
// there are rounds, Save after each. Not thread-safe; AddNoise is parallel
// inside.
class CorrelatedNoise {
 public:
  // Takes a piece of what is written; its error ends Save and is returned.
  using Sink = std::function<absl::Status(std::span<const uint8_t>)>;
  // Fills all of what it is given; its error ends Restore and is returned.
  using Source = std::function<absl::Status(std::span<uint8_t>)>;

  // Before the first round. INVALID_ARGUMENT: as
  // ValidateCorrelatedNoiseOptions.
  static absl::StatusOr<std::unique_ptr<CorrelatedNoise>> Create(
      const CorrelatedNoiseOptions& options);

  // Before the round that a saved state is for. INVALID_ARGUMENT: as Create.
  // DATA_LOSS: damaged bytes, or none that Save wrote. FAILED_PRECONDITION:
  // intact, but saved under other options.
  static absl::StatusOr<std::unique_ptr<CorrelatedNoise>> Restore(
      const CorrelatedNoiseOptions& options, const Source& source);

  // The round that AddNoise takes next; `rounds` after the last.
  int64_t next_round() const { return next_round_; }

  // Adds the noise of `round` to `sum`, modulo 2^64, in units of the sum's
  // grid, and goes on to the next round. In ranges on `pool`; equal draws give
  // equal bits for any pool.
  // INVALID_ARGUMENT: a sum of another size. FAILED_PRECONDITION: `round` is
  // not next_round(): a round is drawn once. INTERNAL: the sampler gave a value
  // more than 20 standard deviations out; this object is then of no more use.
  absl::Status AddNoise(int64_t round, const NoiseSampler& sampler,
                        std::span<int64_t> sum, ThreadPool* pool = nullptr);

  // Bytes that Save writes, the same in every round.
  int64_t saved_size_in_bytes() const;

  // Writes the state: magic, digest of the options, next round, the SHA-256 of
  // those; vectors, and the SHA-256 of all that. FAILED_PRECONDITION: after
  // INTERNAL above.
  absl::Status Save(const Sink& sink) const;

  // The same in memory, for small models and tests.
  absl::StatusOr<SecretBytes> Serialize() const;
  static absl::StatusOr<std::unique_ptr<CorrelatedNoise>> Parse(
      const CorrelatedNoiseOptions& options, std::span<const uint8_t> bytes);

 private:
  CorrelatedNoise(const CorrelatedNoiseOptions& options,
                  matrix_internal::NoiseFilter filter, int64_t largest_z);

  // Of all options: a state is good for the same ones only.
  Digest OptionsDigest() const;

  const CorrelatedNoiseOptions options_;
  const matrix_internal::NoiseFilter filter_;
  const int64_t largest_z_;
  int64_t next_round_ = 0;
  bool broken_ = false;
  // filter_.vectors() vectors of `dimension` 64-bit integers.
  SecretBytes state_;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_CORRELATED_NOISE_H_
