#ifndef MLEDGE_COORDINATOR_GRPC_WAKE_TIMER_H_
#define MLEDGE_COORDINATOR_GRPC_WAKE_TIMER_H_

#include <functional>
#include <thread>

#include "absl/time/time.h"
#include "mledge/core/clock.h"
#include "mledge/core/mutex.h"

// Calls back at the earliest time that was asked for: the real-time half of
// Coordinator's `wake_at` and `Tick`. One thread. Thread-safe.

namespace mledge {

class WakeTimer {
 public:
  explicit WakeTimer(Clock* clock) : clock_(clock) {}
  // Waits for a callback under way.
  ~WakeTimer() { Stop(); }

  // Times asked for before Start are kept. `wake` may call WakeAt. It is called
  // at least once in `longest_pause`, because a clock that was set is not told
  // of in any other way.
  void Start(std::function<void(absl::Time now)> wake,
             absl::Duration longest_pause = absl::Seconds(1));
  void WakeAt(absl::Time time);
  void Stop();

 private:
  void Run();

  Clock* const clock_;
  std::function<void(absl::Time now)> wake_;
  absl::Duration longest_pause_;
  Mutex mutex_;
  CondVar changed_;
  absl::Time next_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_WAKE_TIMER_H_
