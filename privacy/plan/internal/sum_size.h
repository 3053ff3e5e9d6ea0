#ifndef MLEDGE_PRIVACY_PLAN_INTERNAL_SUM_SIZE_H_
#define MLEDGE_PRIVACY_PLAN_INTERNAL_SUM_SIZE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "mledge/v1/task.pb.h"

// How many devices' noise may be counted on in a sum of secure aggregation.

namespace mledge::plan_internal {

// Who is in a sum that somebody sees.
struct SumSize {
  int64_t most = 0;    // updates
  int64_t honest = 0;  // that stay to the end, at least
  double corrupt_fraction = 0;
};

// A session of n devices loses at most ⌊δn⌋ of them and never unmasks fewer
// than least_alive; ⌊γn⌋ tell the observer what noise they added, of a group
// more. The worst n that may come about, in one group or several.
// FAILED_PRECONDITION: nobody honest need be left.
absl::StatusOr<SumSize> SizeOfSums(const v1::Task& task);

}  // namespace mledge::plan_internal

#endif  // MLEDGE_PRIVACY_PLAN_INTERNAL_SUM_SIZE_H_
