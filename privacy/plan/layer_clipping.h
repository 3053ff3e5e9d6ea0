#ifndef MLEDGE_PRIVACY_PLAN_LAYER_CLIPPING_H_
#define MLEDGE_PRIVACY_PLAN_LAYER_CLIPPING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/core/parameters.h"
#include "mledge/v1/task.pb.h"

// Which values of an update each of `privacy.layer_clip_norms` is about. Pure
// functions.

namespace mledge {

struct ClippedLayer {
  struct Range {
    int64_t begin = 0;
    int64_t size = 0;
    bool operator==(const Range&) const = default;
  };
  std::string name;
  double clip_norm = 0;
  // Of the update's values, ascending and apart.
  std::vector<Range> ranges;
};

// In the task's order: every value that a device sends is in exactly one; none
// where the task has no clip norms of layers. INVALID_ARGUMENT, naming them: a
// parameter in no layer or in two, a layer without a parameter.
absl::StatusOr<std::vector<ClippedLayer>> ResolveClippedLayers(
    const v1::Privacy& privacy, const ParameterLayout& layout);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_PLAN_LAYER_CLIPPING_H_
