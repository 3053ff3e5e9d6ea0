#ifndef MLEDGE_PRIVACY_PLAN_INTERNAL_STRATEGY_CHOICE_H_
#define MLEDGE_PRIVACY_PLAN_INTERNAL_STRATEGY_CHOICE_H_

#include "absl/status/statusor.h"
#include "mledge/privacy/matrix/participation.h"
#include "mledge/privacy/matrix/strategy_matrix.h"
#include "mledge/v1/task.pb.h"

namespace mledge::plan_internal {

// The matrix that a task's `privacy.correlated` asks for, in real numbers.
// INVALID_ARGUMENT: one that is too large to be found (optimize.h).
absl::StatusOr<StrategyMatrix> ChooseStrategy(
    const v1::CorrelatedNoise& noise, const ParticipationLimits& limits);

}  // namespace mledge::plan_internal

#endif  // MLEDGE_PRIVACY_PLAN_INTERNAL_STRATEGY_CHOICE_H_
