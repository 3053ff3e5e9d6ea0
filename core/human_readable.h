#ifndef MLEDGE_CORE_HUMAN_READABLE_H_
#define MLEDGE_CORE_HUMAN_READABLE_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

// Figures as people read them: three or four digits and a unit.

namespace mledge {

// "41s", "2m05s", "3h20m"; a negative duration counts as none.
std::string ShortDuration(absl::Duration duration);
// "999 B", "1.2 MB": powers of 1000.
std::string ShortBytes(uint64_t bytes);

}  // namespace mledge

#endif  // MLEDGE_CORE_HUMAN_READABLE_H_
