#ifndef MLEDGE_COORDINATOR_TRAINING_ASSIGNMENT_H_
#define MLEDGE_COORDINATOR_TRAINING_ASSIGNMENT_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mledge/coordinator/storage.h"

// One piece of work that one device holds: to train from a base version, or to
// evaluate it. Issued once, it ends in one of three ways and never moves again:
//
//   issued → acknowledged   the update is on disk and counts
//          → failed         the device gave up, or its update was refused
//          → expired        the round or the time ended first
//
// A value; not thread-safe. The device's own end of it: client/ and
// device_service.proto.

namespace mledge {

class TrainingAssignment {
 public:
  explicit TrainingAssignment(AssignmentRecord record)
      : record_(std::move(record)) {}

  const AssignmentRecord& record() const { return record_; }
  bool open() const { return record_.state == AssignmentState::kIssued; }
  // Why it failed; not stored, so empty after a restart.
  const std::string& reason() const { return reason_; }

  // All: FAILED_PRECONDITION when it has ended already.
  absl::Status Acknowledge(const Digest& content);
  absl::Status Fail(std::string reason);
  absl::Status Expire();

  static bool IsLegalMove(AssignmentState from, AssignmentState to) {
    return from == AssignmentState::kIssued && to != AssignmentState::kIssued;
  }

 private:
  absl::Status Move(AssignmentState to);

  AssignmentRecord record_;
  std::string reason_;
};

// Assignments of one session that were handed out, or ended, since somebody
// last asked. One that was handed out and ended since is in both.
struct AssignmentChanges {
  std::vector<AssignmentRecord> issued;
  std::vector<AssignmentRecord> ended;
};

// How a session of secure aggregation ended for those whose masked inputs are
// here. What is in neither list holds its update still.
struct SecureSessionEnd {
  std::map<AssignmentId, Digest> counted;  // with the masked input's hash
  // Used up in vain, or did not do its part; why.
  std::map<AssignmentId, std::string> lost;
};

// Acknowledges what was counted and fails what was lost, of `assignments` that
// are open; `ended` is called with each.
void SettleSession(const SecureSessionEnd& end,
                   std::map<AssignmentId, TrainingAssignment>& assignments,
                   const std::function<void(const TrainingAssignment&)>& ended);

// Expected outcomes of an update that arrived complete and valid.
enum class UpdateOutcome {
  kAcknowledged,  // it counts
  kAgain,         // it counted before, with the same content
  kOtherContent,  // another content counted before
  kTooLate,       // the round closed or the assignment expired
  kGivenUp,       // the assignment had failed
};

// The outcome for an assignment that takes no update any more.
UpdateOutcome JudgeUpdate(const AssignmentRecord& record,
                          const Digest& content);

// The id of an assignment: 32 hexadecimal digits, the same wherever the same
// device is given the same work at the same time, so that a simulation and a
// fleet agree. `record` without its id; assumes that no device is handed one
// ordinal twice for training, nor two evaluations of a version at one time.
AssignmentId MakeAssignmentId(const AssignmentRecord& record);

std::string_view ToString(AssignmentState state);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_TRAINING_ASSIGNMENT_H_
