#ifndef MLEDGE_AGGREGATION_SECAGG_ROTATED_SUM_H_
#define MLEDGE_AGGREGATION_SECAGG_ROTATED_SUM_H_

#include "absl/status/status.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/secagg/hadamard.h"

// From the sum of rotated updates back to the sum of updates: the rotation is
// linear. Comes between the complete sum of a round and its mean
// (coordinator/publisher.h).

namespace mledge::secagg {

// Replaces the rotated section "delta" by the one that was rotated; keeps the
// fraction bits. Values pass through float32, so they are right to 2^-24 of the
// sum's norm; noise that a sum holds is far above that. INVALID_ARGUMENT:
// another section than one of the rotation's padded size; nothing is changed.
// OUT_OF_RANGE: a coordinate of 2^62 or more, which no sum of updates within
// the bounds has; the sum is of no use then.
absl::Status Unrotate(const HadamardRotation& rotation, AggregationSum* sum);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_ROTATED_SUM_H_
