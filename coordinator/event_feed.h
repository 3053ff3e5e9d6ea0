#ifndef MLEDGE_COORDINATOR_EVENT_FEED_H_
#define MLEDGE_COORDINATOR_EVENT_FEED_H_

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/storage.h"
#include "mledge/core/mutex.h"

// Who watches which task: stored events first, then those that are published
// while the watcher looks on, each once and in order. Progress (sequence 0) is
// live only, and the newest replaces those that a slow watcher has not seen.
//
// Thread-safe. A sink is called by whoever publishes or subscribes, one call at
// a time, never under a lock. Subscriptions may outlive the feed.

namespace mledge {

class EventFeed {
 public:
  // `storage` must outlive the feed.
  explicit EventFeed(CoordinatorStorage* storage) : storage_(storage) {}

  // Events that are durable, in the order of their sequence.
  void Publish(const std::vector<v1::TaskEvent>& events);

  // Codes of ReadEvents.
  absl::StatusOr<std::unique_ptr<Coordinator::Subscription>> Subscribe(
      const TaskId& task, std::function<void(const v1::TaskEvent&)> sink);

 private:
  class Watcher;
  class WatcherSubscription;

  CoordinatorStorage* const storage_;
  Mutex mutex_;
  std::multimap<TaskId, std::weak_ptr<Watcher>> watchers_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_EVENT_FEED_H_
