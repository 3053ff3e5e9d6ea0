#ifndef MLEDGE_TESTS_FUZZ_SESSION_OF_FOUR_H_
#define MLEDGE_TESTS_FUZZ_SESSION_OF_FOUR_H_

#include <memory>

#include "mledge/tests/aggregation/secagg/session_world.h"
#include "mledge/tests/aggregation/secagg/test_random.h"

// The session that fuzz targets bend: small, without identities (signatures
// would stop most of what is changed), and exact within one lost device.

namespace mledge::secagg {

inline WorldOptions SessionOfFour() {
  return {.devices = 4,
          .corrupt_fraction = 0,
          .dropout_fraction = 0.3,
          .threat_model = ThreatModel::kSemiHonest,
          .fixed_neighbors = 3,
          .fixed_threshold = 2,
          .sections = {{11, 20}},
          .identities = false};
}

// The same input, the same session.
inline void DrawRepeatably(SessionWorld& world) {
  for (int i = 0; i < world.size(); ++i) {
    world.device(i).random = std::make_unique<RepeatableRandom>(i);
  }
}

}  // namespace mledge::secagg

#endif  // MLEDGE_TESTS_FUZZ_SESSION_OF_FOUR_H_
