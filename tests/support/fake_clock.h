#ifndef MLEDGE_TESTS_SUPPORT_FAKE_CLOCK_H_
#define MLEDGE_TESTS_SUPPORT_FAKE_CLOCK_H_

#include "absl/time/time.h"
#include "mledge/core/clock.h"
#include "mledge/core/mutex.h"

// Time that stands still until a test moves it. Thread-safe.

namespace mledge {

class FakeClock final : public Clock {
 public:
  // Starts at 2026-01-01 00:00:00 UTC unless told otherwise.
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1767225600))
      : now_(start) {}

  absl::Time TimeNow() override {
    MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration duration) {
    MutexLock lock(&mutex_);
    now_ += duration;
  }
  void Set(absl::Time now) {
    MutexLock lock(&mutex_);
    now_ = now;
  }

 private:
  Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_SUPPORT_FAKE_CLOCK_H_
