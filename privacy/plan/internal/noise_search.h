#ifndef MLEDGE_PRIVACY_PLAN_INTERNAL_NOISE_SEARCH_H_
#define MLEDGE_PRIVACY_PLAN_INTERNAL_NOISE_SEARCH_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mledge::plan_internal {

// Finds the least noise multiplier, to 1e-4 of it, whose epsilon is at most
// `target`, and calls `epsilon_of` with it last. Always on the safe side:
// epsilon of what it ends with is at most the target. `epsilon_of` need only
// fall as a whole: grids that change with the noise make small steps in it.
// INVALID_ARGUMENT: no multiplier up to 2^17 suffices. Codes of `epsilon_of`,
// where it fails with the most noise that was tried.
absl::Status FindNoiseMultiplier(
    double target,
    const std::function<absl::StatusOr<double>(double multiplier)>& epsilon_of);

}  // namespace mledge::plan_internal

#endif  // MLEDGE_PRIVACY_PLAN_INTERNAL_NOISE_SEARCH_H_
