#ifndef MLEDGE_COORDINATOR_INTERNAL_TURN_EXECUTOR_H_
#define MLEDGE_COORDINATOR_INTERNAL_TURN_EXECUTOR_H_

#include <deque>
#include <functional>
#include <utility>

#include "mledge/core/executor.h"
#include "mledge/core/mutex.h"

// Runs work on the calling thread, one piece after the other: what work
// schedules while it runs comes after it, not inside it, so that callbacks may
// call back in. Thread-safe; a second thread leaves its work to the first.

namespace mledge {

class TurnExecutor final : public Executor {
 public:
  void Schedule(std::function<void()> work) override {
    {
      MutexLock lock(&mutex_);
      work_.push_back(std::move(work));
      if (running_) return;
      running_ = true;
    }
    for (;;) {
      std::function<void()> next;
      {
        MutexLock lock(&mutex_);
        if (work_.empty()) {
          running_ = false;
          return;
        }
        next = std::move(work_.front());
        work_.pop_front();
      }
      next();
    }
  }

 private:
  Mutex mutex_;
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_TURN_EXECUTOR_H_
