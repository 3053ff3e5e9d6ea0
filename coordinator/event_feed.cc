#include "mledge/coordinator/event_feed.h"

#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "mledge/core/status_macros.h"

namespace mledge {

class EventFeed::Watcher {
 public:
  explicit Watcher(std::function<void(const v1::TaskEvent&)> sink)
      : sink_(std::move(sink)) {}

  // Events come in only after `Begin`; live ones before it are kept.
  void Add(const v1::TaskEvent& event) {
    MutexLock lock(&mutex_);
    if (stopped_) return;
    if (event.sequence() == 0) {
      progress_ = event;
    } else {
      queue_.push_back(event);
      progress_.reset();  // of before this event
    }
  }

  // Puts what was stored before whatever came in meanwhile.
  void Begin(std::vector<v1::TaskEvent> stored) {
    {
      MutexLock lock(&mutex_);
      queue_.insert(queue_.begin(), std::make_move_iterator(stored.begin()),
                    std::make_move_iterator(stored.end()));
      begun_ = true;
    }
    Deliver();
  }

  // Passes on what is there, unless another thread is at it.
  void Deliver() {
    for (;;) {
      v1::TaskEvent event;
      {
        MutexLock lock(&mutex_);
        if (!begun_ || stopped_ || delivering_) return;
        if (!queue_.empty()) {
          event = std::move(queue_.front());
          queue_.pop_front();
          // Came in live and was read from the storage as well.
          if (event.sequence() <= last_) continue;
          last_ = event.sequence();
        } else if (progress_.has_value()) {
          event = *std::exchange(progress_, std::nullopt);
        } else {
          return;
        }
        delivering_ = true;
        deliverer_ = std::this_thread::get_id();
      }
      sink_(event);
      MutexLock lock(&mutex_);
      delivering_ = false;
      if (event.has_task_ended()) stopped_ = true;
      idle_.SignalAll();
    }
  }

  // After it, the sink is not called any more.
  void Stop() {
    MutexLock lock(&mutex_);
    stopped_ = true;
    while (delivering_ && deliverer_ != std::this_thread::get_id()) {
      idle_.Wait(&mutex_);
    }
  }

 private:
  const std::function<void(const v1::TaskEvent&)> sink_;
  Mutex mutex_;
  CondVar idle_;
  std::deque<v1::TaskEvent> queue_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::TaskEvent> progress_ ABSL_GUARDED_BY(mutex_);
  int64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  bool delivering_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread::id deliverer_ ABSL_GUARDED_BY(mutex_);
};

class EventFeed::WatcherSubscription final : public Coordinator::Subscription {
 public:
  explicit WatcherSubscription(std::shared_ptr<Watcher> watcher)
      : watcher_(std::move(watcher)) {}
  ~WatcherSubscription() override { watcher_->Stop(); }

 private:
  const std::shared_ptr<Watcher> watcher_;
};

void EventFeed::Publish(const std::vector<v1::TaskEvent>& events) {
  for (const v1::TaskEvent& event : events) {
    std::vector<std::shared_ptr<Watcher>> watchers;
    {
      MutexLock lock(&mutex_);
      const auto [begin, end] = watchers_.equal_range(TaskId(event.task_id()));
      for (auto it = begin; it != end;) {
        if (std::shared_ptr<Watcher> watcher = it->second.lock()) {
          watchers.push_back(std::move(watcher));
          ++it;
        } else {
          it = watchers_.erase(it);
        }
      }
    }
    for (const std::shared_ptr<Watcher>& watcher : watchers) {
      watcher->Add(event);
      watcher->Deliver();
    }
  }
}

absl::StatusOr<std::unique_ptr<Coordinator::Subscription>> EventFeed::Subscribe(
    const TaskId& task, std::function<void(const v1::TaskEvent&)> sink) {
  auto watcher = std::make_shared<Watcher>(std::move(sink));
  {
    // First, so that nothing is missed between reading and listening.
    MutexLock lock(&mutex_);
    watchers_.emplace(task, watcher);
  }
  MLEDGE_ASSIGN_OR_RETURN(std::vector<EventRecord> records,
                          storage_->ReadEvents(task, 0));
  std::vector<v1::TaskEvent> stored;
  for (const EventRecord& record : records) {
    v1::TaskEvent event;
    if (!event.ParseFromString(record.event)) {
      return absl::DataLossError(StrCat("event ", record.sequence, " of task ",
                                        task.value(), " is unreadable"));
    }
    stored.push_back(std::move(event));
  }
  watcher->Begin(std::move(stored));
  return std::make_unique<WatcherSubscription>(std::move(watcher));
}

}  // namespace mledge
