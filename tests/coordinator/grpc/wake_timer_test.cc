#include "mledge/coordinator/grpc/wake_timer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace mledge {
namespace {

// Collects wake-ups and lets a test wait for them.
class Wakes {
 public:
  void Add(absl::Time now) {
    MutexLock lock(&mutex_);
    times_.push_back(now);
    changed_.SignalAll();
  }
  std::vector<absl::Time> WaitFor(size_t count) {
    MutexLock lock(&mutex_);
    while (times_.size() < count) changed_.Wait(&mutex_);
    return times_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<absl::Time> times_ ABSL_GUARDED_BY(mutex_);
};

TEST(WakeTimerTest, WakesAtTheTimeAskedForAndNotBefore) {
  RealClock clock;
  Wakes wakes;
  WakeTimer timer(&clock);
  const absl::Time asked = clock.TimeNow() + absl::Milliseconds(30);
  timer.WakeAt(asked + absl::Hours(1));
  timer.WakeAt(asked);
  timer.Start([&](absl::Time now) { wakes.Add(now); }, absl::Hours(1));
  EXPECT_GE(wakes.WaitFor(1)[0], asked);
}

TEST(WakeTimerTest, EarlierTimeWakesASleepingTimer) {
  RealClock clock;
  Wakes wakes;
  WakeTimer timer(&clock);
  timer.Start([&](absl::Time now) { wakes.Add(now); }, absl::Hours(1));
  timer.WakeAt(clock.TimeNow() + absl::Hours(2));
  timer.WakeAt(clock.TimeNow());
  EXPECT_EQ(wakes.WaitFor(1).size(), 1u);
}

TEST(WakeTimerTest, CallbackMayAskForTheNextTime) {
  RealClock clock;
  Wakes wakes;
  WakeTimer timer(&clock);
  timer.WakeAt(clock.TimeNow());
  timer.Start(
      [&](absl::Time now) {
        wakes.Add(now);
        timer.WakeAt(now + absl::Milliseconds(1));
      },
      absl::Hours(1));
  EXPECT_GE(wakes.WaitFor(5).size(), 5u);
}

TEST(WakeTimerTest, WakesNowAndThenWithoutBeingAsked) {
  RealClock clock;
  Wakes wakes;
  WakeTimer timer(&clock);
  timer.Start([&](absl::Time now) { wakes.Add(now); }, absl::Milliseconds(1));
  EXPECT_GE(wakes.WaitFor(3).size(), 3u);
}

TEST(WakeTimerTest, StopsWithoutHavingStarted) {
  RealClock clock;
  WakeTimer timer(&clock);
  timer.WakeAt(clock.TimeNow());
  timer.Stop();
}

// Set back by a day right after the timer has looked at it.
class ClockThatIsSetBack final : public Clock {
 public:
  absl::Time TimeNow() override {
    return looks_++ == 0 ? start_ : start_ - absl::Hours(24);
  }

 private:
  const absl::Time start_ = absl::Now();
  std::atomic<int> looks_ = 0;
};

TEST(WakeTimerTest, WakesNowAndThenAlsoWhenTheClockWasSetBack) {
  ClockThatIsSetBack clock;
  Wakes wakes;
  WakeTimer timer(&clock);
  timer.Start([&](absl::Time now) { wakes.Add(now); }, absl::Milliseconds(1));
  EXPECT_GE(wakes.WaitFor(3).size(), 3u);
}

}  // namespace
}  // namespace mledge
