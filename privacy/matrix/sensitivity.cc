#include "mledge/privacy/matrix/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/privacy/matrix/internal/window_sums.h"
#include "mledge/privacy/matrix/toeplitz.h"

namespace mledge {

absl::StatusOr<double> ToeplitzSensitivity(std::span<const double> coefficients,
                                           const ParticipationLimits& limits) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(limits));
  MLEDGE_RETURN_IF_ERROR(ValidateCoefficients(coefficients));
  std::vector<double> column(static_cast<size_t>(limits.rounds));
  std::copy_n(coefficients.begin(),
              std::min(column.size(), coefficients.size()), column.begin());
  const std::vector<double> sums = matrix_internal::WindowSums(
      column, limits.separation, MostParticipations(limits));
  double square = 0;
  for (double sum : sums) square += sum * sum;
  // Coefficients of a BLT, window sums and the sum of squares are each off by
  // at most `rounds` roundings of 2⁻⁵³.
  const double slack = static_cast<double>(limits.rounds + 64) * 0x1p-51;
  return std::sqrt(square) * (1 + slack);
}

}  // namespace mledge
