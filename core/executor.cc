#include "mledge/core/executor.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "mledge/core/logging.h"

namespace mledge {

void ManualExecutor::Schedule(std::function<void()> work) {
  MutexLock lock(&mutex_);
  work_.push_back(std::move(work));
}

size_t ManualExecutor::RunAll() {
  for (size_t ran = 0;; ++ran) {
    std::function<void()> work;
    {
      MutexLock lock(&mutex_);
      if (work_.empty()) return ran;
      work = std::move(work_.front());
      work_.pop_front();
    }
    work();
  }
}

ThreadPool::ThreadPool(int threads, std::string name,
                       std::function<void()> on_start) {
  CHECK(threads >= 1) << "a pool of " << threads << " threads";
  // The kernel keeps 15 characters of a thread's name.
  name.resize(std::min<size_t>(name.size(), 15));
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this, name, on_start] {
      pthread_setname_np(pthread_self(), name.c_str());
      if (on_start) on_start();
      Run();
    });
  }
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wake_.SignalAll();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Schedule(std::function<void()> work) {
  {
    MutexLock lock(&mutex_);
    work_.push_back(std::move(work));
  }
  wake_.Signal();
}

void ThreadPool::Run() {
  while (true) {
    std::function<void()> work;
    {
      MutexLock lock(&mutex_);
      while (work_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (work_.empty()) return;
      work = std::move(work_.front());
      work_.pop_front();
    }
    work();
  }
}

// Shared with the piece of work that drains it, which may still be unlocking
// the mutex when the SequentialExecutor is gone.
struct SequentialExecutor::Queue {
  Mutex mutex;
  CondVar idle;
  std::deque<std::function<void()>> work ABSL_GUARDED_BY(mutex);
  bool running ABSL_GUARDED_BY(mutex) = false;
  Executor* base = nullptr;

  void Drain() {
    while (true) {
      std::function<void()> next;
      {
        MutexLock lock(&mutex);
        if (work.empty()) {
          running = false;
          idle.SignalAll();
          return;
        }
        next = std::move(work.front());
        work.pop_front();
      }
      next();
    }
  }
};

SequentialExecutor::SequentialExecutor(Executor* base)
    : queue_(std::make_shared<Queue>()) {
  queue_->base = base;
}

SequentialExecutor::~SequentialExecutor() {
  MutexLock lock(&queue_->mutex);
  while (queue_->running) queue_->idle.Wait(&queue_->mutex);
}

void SequentialExecutor::Schedule(std::function<void()> work) {
  {
    MutexLock lock(&queue_->mutex);
    queue_->work.push_back(std::move(work));
    if (queue_->running) return;
    queue_->running = true;
  }
  queue_->base->Schedule([queue = queue_] { queue->Drain(); });
}

namespace {

// Ranges of one ParallelFor. A helper that the pool starts late finds no range
// left and touches nothing but this.
struct Ranges {
  int64_t count = 0;
  int64_t grain = 0;
  int64_t ranges = 0;
  const std::function<void(int64_t, int64_t)>* body = nullptr;
  std::atomic<int64_t> next{0};
  Mutex mutex;
  CondVar all_done;
  int64_t done ABSL_GUARDED_BY(mutex) = 0;

  void RunUntilEmpty() {
    int64_t ran = 0;
    for (int64_t i = next++; i < ranges; i = next++) {
      const int64_t begin = i * grain;
      (*body)(begin, begin + std::min(grain, count - begin));
      ++ran;
    }
    if (ran == 0) return;
    MutexLock lock(&mutex);
    done += ran;
    if (done == ranges) all_done.SignalAll();
  }
};

}  // namespace

void ParallelFor(ThreadPool* pool, int64_t count, int64_t grain,
                 const std::function<void(int64_t begin, int64_t end)>& body) {
  CHECK(grain > 0);
  if (count <= 0) return;
  auto ranges = std::make_shared<Ranges>();
  ranges->count = count;
  ranges->grain = grain;
  ranges->ranges = (count - 1) / grain + 1;
  ranges->body = &body;
  const int64_t helpers =
      pool == nullptr ? 0 : std::min<int64_t>(pool->size(), ranges->ranges - 1);
  for (int64_t i = 0; i < helpers; ++i) {
    pool->Schedule([ranges] { ranges->RunUntilEmpty(); });
  }
  ranges->RunUntilEmpty();
  MutexLock lock(&ranges->mutex);
  while (ranges->done < ranges->ranges) ranges->all_done.Wait(&ranges->mutex);
}

}  // namespace mledge
