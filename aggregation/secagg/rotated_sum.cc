#include "mledge/aggregation/secagg/rotated_sum.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/update.h"

namespace mledge::secagg {

absl::Status Unrotate(const HadamardRotation& rotation, AggregationSum* sum) {
  if (sum->sections.size() != 1 || sum->sections[0].name != kDeltaSection ||
      std::cmp_not_equal(sum->sections[0].integers.size(),
                         rotation.padded_size())) {
    return absl::InvalidArgumentError(
        StrCat("a sum without a section \"", kDeltaSection, "\" of ",
               rotation.padded_size(), " rotated values"));
  }
  std::vector<int64_t>& integers = sum->sections[0].integers;
  std::vector<float> rotated(integers.size());
  for (size_t i = 0; i < integers.size(); ++i) {
    rotated[i] = static_cast<float>(integers[i]);
  }
  std::vector<float> values(static_cast<size_t>(rotation.size()));
  MLEDGE_RETURN_IF_ERROR(rotation.Invert(rotated, values));
  integers.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(std::abs(values[i]) < 0x1p62F)) {
      return absl::OutOfRangeError(StrCat("value ", i, " of the sum is ",
                                          values[i],
                                          " after its rotation was undone"));
    }
    integers[i] = std::llround(values[i]);
  }
  return absl::OkStatus();
}

}  // namespace mledge::secagg
