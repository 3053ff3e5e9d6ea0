#ifndef MLEDGE_PRIVACY_PLAN_GRID_NOISE_H_
#define MLEDGE_PRIVACY_PLAN_GRID_NOISE_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "mledge/core/secret_random.h"

// Noise of a private task, drawn and added in integers, so that no bit of it
// tells more than its distribution does (the samplers: privacy/noise/).
// Thread-safe.

namespace mledge {

enum class NoiseKind { kDiscreteGaussian, kSkellam };

// Of one coordinate, in units of the grid. Discrete Gaussian: the parameter σ²;
// Skellam: the variance.
struct GridNoise {
  NoiseKind kind = NoiseKind::kDiscreteGaussian;
  double variance = 0;

  bool operator==(const GridNoise&) const = default;
};

// Adds independent draws to all values. INVALID_ARGUMENT: a variance outside
// the sampler's domain; nothing is added then. OUT_OF_RANGE: a value that does
// not fit any more; what was written is of no use.
absl::Status AddGridNoise(const GridNoise& noise, SecretRandom& random,
                          std::span<int32_t> values);
absl::Status AddGridNoise(const GridNoise& noise, SecretRandom& random,
                          std::span<int64_t> values);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_PLAN_GRID_NOISE_H_
