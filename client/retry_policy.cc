#include "mledge/client/retry_policy.h"

#include <algorithm>
#include <cmath>

namespace mledge {

TrainingRandom JitterStream(const DeviceId& device, std::string_view purpose) {
  return TrainingRandom(TrainingRandom::Stream{.task_seed = 0,
                                               .device = device.value(),
                                               .ordinal = 0,
                                               .purpose = purpose});
}

absl::Duration RetryBackoff::Next() {
  // 2^40 times any useful initial pause is beyond any useful maximum.
  const int exponent = std::min(failures_, 40);
  if (failures_ < 1 << 30) ++failures_;
  const absl::Duration ceiling =
      std::min(options_.maximum, options_.initial * std::ldexp(1.0, exponent));
  return std::max(options_.minimum, ceiling * jitter_.UniformDouble());
}

}  // namespace mledge
