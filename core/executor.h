#ifndef MLEDGE_CORE_EXECUTOR_H_
#define MLEDGE_CORE_EXECUTOR_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "mledge/core/mutex.h"

// Where work runs: one shared pool a process, one sequential executor a session
// or round on top of it. All classes are thread-safe; work must not outlive
// what it captures, so destroy an executor before the objects its work uses.

namespace mledge {

class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `work` later, or at once (InlineExecutor). Never fails.
  virtual void Schedule(std::function<void()> work) = 0;
};

// Runs work where it is scheduled: for tests and single-threaded drivers.
class InlineExecutor final : public Executor {
 public:
  void Schedule(std::function<void()> work) override { work(); }
};

// Keeps work until a test asks for it.
class ManualExecutor final : public Executor {
 public:
  void Schedule(std::function<void()> work) override;
  // Runs what is there and what that schedules; returns how many ran.
  size_t RunAll();

 private:
  Mutex mutex_;
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
};

// A fixed number of threads. The destructor runs what was scheduled, then
// joins.
class ThreadPool final : public Executor {
 public:
  // `on_start` runs first in each thread (for example to set LibTorch's
  // per-thread settings); may be null.
  explicit ThreadPool(int threads, std::string name = "pool",
                      std::function<void()> on_start = nullptr);
  ~ThreadPool() override;
  void Schedule(std::function<void()> work) override;
  int size() const { return static_cast<int>(threads_.size()); }

 private:
  void Run();

  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// Runs work one piece at a time, in the order it came, on another executor.
// The destructor waits until everything scheduled has run, so it must not run
// inside that work, nor on the base's only thread.
class SequentialExecutor final : public Executor {
 public:
  // `base` must outlive this object.
  explicit SequentialExecutor(Executor* base);
  ~SequentialExecutor() override;
  void Schedule(std::function<void()> work) override;

 private:
  struct Queue;
  std::shared_ptr<Queue> queue_;
};

// Splits 0 … count−1 into ranges of `grain` (the last may be shorter) and runs
// `body(begin, end)` on the pool and on the calling thread; returns when all
// are done. The split does not depend on the pool, so neither do results that
// are formed per range. With a null pool everything runs here.
void ParallelFor(ThreadPool* pool, int64_t count, int64_t grain,
                 const std::function<void(int64_t begin, int64_t end)>& body);

}  // namespace mledge

#endif  // MLEDGE_CORE_EXECUTOR_H_
