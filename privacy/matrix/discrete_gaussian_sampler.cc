#include "mledge/privacy/matrix/discrete_gaussian_sampler.h"

#include <cstdint>
#include <span>

#include "mledge/core/status_macros.h"
#include "mledge/privacy/matrix/correlated_grid.h"
#include "mledge/privacy/noise/discrete_gaussian.h"

namespace mledge {

absl::StatusOr<NoiseSampler> DiscreteGaussianSampler(double standard_deviation,
                                                     SecretRandom* random) {
  MLEDGE_RETURN_IF_ERROR(
      ValidateCorrelatedStandardDeviation(standard_deviation));
  MLEDGE_ASSIGN_OR_RETURN(
      const DiscreteGaussian gaussian,
      DiscreteGaussian::Create(VarianceOf(standard_deviation)));
  return NoiseSampler([gaussian, random](int64_t, std::span<int64_t> z) {
    gaussian.Fill(*random, z);
  });
}

}  // namespace mledge
