#ifndef MLEDGE_SIMULATION_EVENT_QUEUE_H_
#define MLEDGE_SIMULATION_EVENT_QUEUE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/time/time.h"

// The virtual clock: what happens, in the order of its time; events of the same
// time happen in the order in which they were pushed. Nothing here depends on
// real time or threads. Not thread-safe.

namespace mledge {

class EventQueue {
 public:
  explicit EventQueue(absl::Time start) : now_(start) {}

  absl::Time now() const { return now_; }
  bool empty() const { return heap_.empty(); }
  size_t size() const { return heap_.size(); }

  // A time that has passed means now.
  void Push(absl::Time time, std::function<void()> run) {
    heap_.push_back({std::max(time, now_), next_sequence_++, std::move(run)});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }

  // Moves the clock to the next event and runs it; false when there is none.
  bool RunNext() {
    if (heap_.empty()) return false;
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    Event event = std::move(heap_.back());
    heap_.pop_back();
    now_ = event.time;
    event.run();
    return true;
  }

 private:
  struct Event {
    absl::Time time;
    uint64_t sequence;
    std::function<void()> run;
  };
  static bool Later(const Event& a, const Event& b) {
    return a.time != b.time ? a.time > b.time : a.sequence > b.sequence;
  }

  absl::Time now_;
  uint64_t next_sequence_ = 0;
  std::vector<Event> heap_;
};

}  // namespace mledge

#endif  // MLEDGE_SIMULATION_EVENT_QUEUE_H_
