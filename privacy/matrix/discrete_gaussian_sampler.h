#ifndef MLEDGE_PRIVACY_MATRIX_DISCRETE_GAUSSIAN_SAMPLER_H_
#define MLEDGE_PRIVACY_MATRIX_DISCRETE_GAUSSIAN_SAMPLER_H_

#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"
#include "mledge/privacy/matrix/correlated_noise.h"

namespace mledge {

// The sampler of real fleets: the discrete Gaussian of privacy/noise, from
// `random`, which must outlive it. Its variance is the square of
// `standard_deviation`, rounded up.
// INVALID_ARGUMENT: a standard deviation that DiscreteGaussian does not draw.
absl::StatusOr<NoiseSampler> DiscreteGaussianSampler(double standard_deviation,
                                                     SecretRandom* random);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_DISCRETE_GAUSSIAN_SAMPLER_H_
