#include "mledge/coordinator/grpc/wake_timer.h"

#include <algorithm>
#include <utility>

namespace mledge {

void WakeTimer::Start(std::function<void(absl::Time now)> wake,
                      absl::Duration longest_pause) {
  wake_ = std::move(wake);
  longest_pause_ = longest_pause;
  thread_ = std::thread([this] { Run(); });
}

void WakeTimer::WakeAt(absl::Time time) {
  MutexLock lock(&mutex_);
  if (time >= next_) return;
  next_ = time;
  changed_.Signal();
}

void WakeTimer::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void WakeTimer::Run() {
  while (true) {
    {
      MutexLock lock(&mutex_);
      // The longest pause is the system's to measure: the clock may be set
      // back meanwhile.
      bool long_enough = false;
      while (!stopping_ && !long_enough) {
        const absl::Duration left = next_ - clock_->TimeNow();
        if (left <= absl::ZeroDuration()) break;
        long_enough =
            changed_.WaitWithTimeout(&mutex_, std::min(left, longest_pause_)) &&
            left >= longest_pause_;
      }
      if (stopping_) return;
      next_ = absl::InfiniteFuture();
    }
    wake_(clock_->TimeNow());
  }
}

}  // namespace mledge
