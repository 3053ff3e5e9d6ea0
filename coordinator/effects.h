#ifndef MLEDGE_COORDINATOR_EFFECTS_H_
#define MLEDGE_COORDINATOR_EFFECTS_H_

#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "mledge/coordinator/storage.h"
#include "mledge/core/ids.h"
#include "mledge/v1/admin_service.pb.h"

// What a sans-I/O object (task_run.h) wants done after an event. The driver
// (coordinator.cc) first makes `persist` durable; only then does anything else
// of the same event happen: answers leave, events are shown, files are deleted,
// jobs begin. A job reports its end as an event of its own. Values.

namespace mledge {

// Adds acknowledged, spooled updates to the sum of their round.
struct FoldJob {
  RoundNumber round;
  std::vector<AssignmentId> updates;
};

// Saves the sum of a round, which holds exactly `folded`.
struct CheckpointJob {
  RoundNumber round;
  int slot = 0;
  std::vector<AssignmentId> folded;
};

// Turns the complete sum of a round into a version (publisher.h).
struct PublishJob {
  RoundNumber round;
  VersionNumber base_version;
};

// Adds up what devices that are ready have, in one session of secure
// aggregation: updates of a round, whose sum it saves, or answers of an
// evaluation. Its number was never used before.
struct SecureSessionJob {
  AssignmentKind kind = AssignmentKind::kTrain;
  RoundNumber round;
  VersionNumber base_version;
  uint64_t session_number = 0;
  std::map<AssignmentId, DeviceId> members;
};

// A task has at most one under way.
using Job = std::variant<FoldJob, CheckpointJob, PublishJob, SecureSessionJob>;

struct Effects {
  // Written as one transaction, before all else.
  Transaction persist;
  // Assignments handed out: the device's check-in is answered with it if it
  // waits, else its next one.
  std::vector<AssignmentRecord> issued;
  // Devices that no longer hold the assignment, and how it ended.
  std::vector<AssignmentRecord> ended;
  // Shown to whoever watches; those with a sequence are in `persist` as well.
  std::vector<v1::TaskEvent> events;
  // Spooled updates that nobody needs any more.
  std::vector<AssignmentId> discard;
  std::optional<Job> job;
  // The task has ended; nothing follows.
  bool task_ended = false;

  // Takes over what `later` asks for. Precondition: not both have a job.
  void Append(Effects later);
};

inline void Effects::Append(Effects later) {
  const auto append = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()),
              std::make_move_iterator(from.end()));
  };
  persist.Append(std::move(later.persist));
  append(issued, later.issued);
  append(ended, later.ended);
  append(events, later.events);
  append(discard, later.discard);
  if (later.job.has_value()) job = std::move(later.job);
  task_ended = task_ended || later.task_ended;
}

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_EFFECTS_H_
