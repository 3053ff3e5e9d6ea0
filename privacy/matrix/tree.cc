#include "mledge/privacy/matrix/tree.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {

absl::StatusOr<int64_t> TreeHeight(int64_t rounds) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(
      {.rounds = rounds, .participations = 1, .separation = 1}));
  return std::bit_width(static_cast<uint64_t>(rounds));
}

absl::StatusOr<double> TreeSensitivity(const ParticipationLimits& limits) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(limits));
  MLEDGE_ASSIGN_OR_RETURN(const int64_t height, TreeHeight(limits.rounds));
  const int64_t most = MostParticipations(limits);
  // Whole numbers below 21 · 2^40: exact.
  int64_t square = 0;
  for (int64_t level = 0; level < height; ++level) {
    const int64_t width = int64_t{1} << level;
    const int64_t in_node = std::min(most, (width - 1) / limits.separation + 1);
    square += most / in_node * in_node * in_node +
              (most % in_node) * (most % in_node);
  }
  return std::sqrt(static_cast<double>(square)) * (1 + 0x1p-52);
}

}  // namespace mledge
