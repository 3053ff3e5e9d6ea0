#include "mledge/privacy/matrix/prefix_sum_error.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

#include "absl/status/status.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/tree.h"

namespace mledge {

absl::StatusOr<PrefixSumError> ToeplitzPrefixSumError(
    std::span<const double> inverse) {
  if (inverse.empty()) {
    return absl::InvalidArgumentError(
        "coefficients of the inverse: there must be one for each round");
  }
  double coefficient = 0;
  double variance = 0;
  double sum_of_variances = 0;
  for (size_t t = 0; t < inverse.size(); ++t) {
    if (!std::isfinite(inverse[t])) {
      return absl::InvalidArgumentError(
          StrCat("coefficient ", t, " of the inverse is ", inverse[t],
                 ": it must be finite"));
    }
    coefficient += inverse[t];
    variance += coefficient * coefficient;
    sum_of_variances += variance;
  }
  return PrefixSumError{
      std::sqrt(variance),
      std::sqrt(sum_of_variances / static_cast<double>(inverse.size()))};
}

absl::StatusOr<PrefixSumError> TreePrefixSumError(int64_t rounds) {
  MLEDGE_RETURN_IF_ERROR(TreeHeight(rounds).status());
  int most = 0;
  int64_t sum = 0;
  for (int64_t t = 1; t <= rounds; ++t) {
    const int nodes = std::popcount(static_cast<uint64_t>(t));
    most = std::max(most, nodes);
    sum += nodes;
  }
  return PrefixSumError{
      std::sqrt(static_cast<double>(most)),
      std::sqrt(static_cast<double>(sum) / static_cast<double>(rounds))};
}

}  // namespace mledge
