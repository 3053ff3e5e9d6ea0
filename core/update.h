#ifndef MLEDGE_CORE_UPDATE_H_
#define MLEDGE_CORE_UPDATE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mledge/core/parameters.h"

// What a device contributes to a round: named sections (most algorithms have
// one) and named scalars. Scalars go through the same protected sum as the
// sections, never in clear beside it.

namespace mledge {

// The section of plain federated averaging: new minus base parameters, over
// the shared prefix of the layout.
inline constexpr std::string_view kDeltaSection = "delta";

// Scalars that every training and evaluation update carries. All are sums over
// the device's examples, so that the fleet's sum divided by the fleet's
// examples is the fleet's mean.
inline constexpr std::string_view kExamplesScalar = "examples";
inline constexpr std::string_view kLossSumScalar = "loss_sum";
// Sum of the model's metric: correct predictions (accuracy), squared errors
// (mean squared error).
inline constexpr std::string_view kMetricSumScalar = "metric_sum";

// Training updates of private tasks with adaptive clipping: whether the update
// was within the clip norm, +1/2 or -1/2, so that its sum does not tell how
// many devices there are.
inline constexpr std::string_view kClipBitScalar = "clip_bit";

struct UpdateSection {
  std::string name;
  AlignedFloats values;
};

struct UpdateScalar {
  std::string name;
  double value = 0;

  bool operator==(const UpdateScalar&) const = default;
};

struct Update {
  std::vector<UpdateSection> sections;  // an evaluation has none
  std::vector<UpdateScalar> scalars;
  // Integer weight of the sections in the mean (examples, or 1).
  int64_t weight = 0;

  const UpdateSection* FindSection(std::string_view name) const;
  // The value, or 0 where the scalar is absent.
  double Scalar(std::string_view name) const;
};

}  // namespace mledge

#endif  // MLEDGE_CORE_UPDATE_H_
