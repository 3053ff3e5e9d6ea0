#include "mledge/privacy/accounting/internal/gaussian_fold.h"

namespace mledge::accounting_internal {

std::optional<double> GaussianSquaredMu(const CountedEvent& counted,
                                        Adjacency adjacency) {
  const double distance = adjacency == Adjacency::kReplaceOne ? 2 : 1;
  double mu = 0;
  if (const auto* gaussian = std::get_if<GaussianEvent>(&counted.event.kind)) {
    mu = distance / gaussian->noise_multiplier;
  } else if (const auto* matrix =
                 std::get_if<MatrixMechanismEvent>(&counted.event.kind)) {
    mu = matrix->sensitivity / matrix->noise_multiplier;
  } else if (const auto* sampled =
                 std::get_if<PoissonSampledGaussianEvent>(&counted.event.kind);
             sampled != nullptr && sampled->sampling_probability == 1) {
    mu = 1 / sampled->noise_multiplier;
  } else if (const auto* cohort =
                 std::get_if<SampledWithoutReplacementGaussianEvent>(
                     &counted.event.kind);
             cohort != nullptr && cohort->cohort == cohort->population) {
    mu = distance / cohort->noise_multiplier;
  } else {
    return std::nullopt;
  }
  return mu * mu * static_cast<double>(counted.count);
}

}  // namespace mledge::accounting_internal
