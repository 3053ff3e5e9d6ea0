#ifndef MLEDGE_CORE_CLOCK_H_
#define MLEDGE_CORE_CLOCK_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

// Time for the drivers (gRPC services, agents). Protocol objects take no clock:
// they are given the time with each event.

namespace mledge {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time TimeNow() = 0;
};

class RealClock final : public Clock {
 public:
  absl::Time TimeNow() override { return absl::Now(); }
};

}  // namespace mledge

#endif  // MLEDGE_CORE_CLOCK_H_
