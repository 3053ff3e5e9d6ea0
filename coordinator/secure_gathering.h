#ifndef MLEDGE_COORDINATOR_SECURE_GATHERING_H_
#define MLEDGE_COORDINATOR_SECURE_GATHERING_H_

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "mledge/coordinator/training_assignment.h"
#include "mledge/core/ids.h"
#include "mledge/core/logging.h"

// Who waits with a finished update for a session of secure aggregation, and who
// is in the one under way. Rounds and secure evaluations each have one. A
// value; not thread-safe. What runs the session: internal/secure_sessions.h.

namespace mledge {

class SecureGathering {
 public:
  void Add(const AssignmentId& id) { ready_.insert(id); }
  // It is not connected any more, or has ended.
  void Remove(const AssignmentId& id) { ready_.erase(id); }
  int64_t ready() const { return static_cast<int64_t>(ready_.size()); }

  // The first `most` of those who are ready. Precondition: none under way.
  std::vector<AssignmentId> Begin(int64_t most) {
    CHECK(!under_way_);
    under_way_ = true;
    for (const AssignmentId& id : ready_) {
      if (std::cmp_equal(members_.size(), most)) break;
      members_.insert(id);
    }
    return {members_.begin(), members_.end()};
  }
  bool under_way() const { return under_way_; }
  bool InSession(const AssignmentId& id) const { return members_.contains(id); }
  // Precondition: one is under way. Who is in `end` waits no longer.
  void End(const SecureSessionEnd& end) {
    CHECK(under_way_);
    under_way_ = false;
    members_.clear();
    for (const auto& [id, content] : end.counted) ready_.erase(id);
    for (const auto& [id, reason] : end.lost) ready_.erase(id);
  }

 private:
  std::set<AssignmentId> ready_;
  std::set<AssignmentId> members_;  // of the session under way
  bool under_way_ = false;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_SECURE_GATHERING_H_
