#ifndef MLEDGE_COORDINATOR_ROUND_H_
#define MLEDGE_COORDINATOR_ROUND_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/coordinator/aggregation_session.h"
#include "mledge/coordinator/secure_gathering.h"
#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/training_assignment.h"
#include "mledge/core/ids.h"

// One synchronous round: assignments are handed out to more devices than are
// needed, the first `target` updates go into one AggregationSession,
// whoever comes later is too late, and the sum becomes a version. It ends in
// one of two ways, whatever devices do:
//
//   collecting ──target reached, or deadline with ≥ minimum──▶ closing
//   closing ──everything is in the sum──▶ publishing ──▶ completed
//   collecting ──deadline with fewer, or cancelled──▶ failed
//   closing, publishing ──cancelled, or the sum cannot be used──▶ failed
//
// The round of a Poisson sample closes when everybody in the sample has
// delivered or given up, at once where the sample is empty.
//
// With secure aggregation nobody's update arrives by itself: devices say that
// they are ready, and the round closes when the target of them waits, or at
// the deadline with the minimum. Closing then is one session of secure
// aggregation, and one more move is legal:
//
//   closing ──the session came to nothing, before the deadline──▶ collecting
//
// with the devices whose updates are not used up, and new ones for the others.
//
// `NextState` is that picture as a table; a move that is not in it is refused
// with FAILED_PRECONDITION and changes nothing. Sans-I/O: time comes with each
// event, records that changed are collected with TakeChanges. Not thread-safe.
// What comes before: cohort_selection.h. What comes next: publisher.h.

namespace mledge {

struct RoundPlan {
  TaskId task;
  RoundNumber round;
  VersionNumber base_version;
  int64_t minimum = 1;   // updates without which the round fails
  int64_t target = 1;    // updates at which it closes
  int64_t assigned = 1;  // devices that are to hold or have finished it
  absl::Time started_at;
  absl::Time deadline;
  AggregationSession::Options session;
  bool secure = false;
  // A Poisson sample: exactly those who are assigned at the start, without
  // deadline; `target` is what was expected.
  bool sampled = false;
};

class Round {
 public:
  enum class State { kCollecting, kClosing, kPublishing, kCompleted, kFailed };
  enum class Event {
    kAssign,
    kAcknowledge,
    kDeviceFails,
    kClose,    // target reached, or deadline with at least the minimum
    kFail,     // deadline with fewer, cancelled, sum unusable
    kReopen,   // the session of secure aggregation came to nothing
    kPublish,  // everything is in the sum
    kPublished,
  };
  // The state after a legal move; none where the move is illegal.
  static std::optional<State> NextState(State state, Event event);

  explicit Round(RoundPlan plan);
  // After a restart: the round as its records say. `saved`: what the
  // checkpoint that was restored holds. Follow with Tick.
  Round(RoundPlan plan, std::vector<AssignmentRecord> assignments,
        std::span<const AssignmentId> saved);

  const RoundPlan& plan() const { return plan_; }
  State state() const { return state_; }
  bool ended() const {
    return state_ == State::kCompleted || state_ == State::kFailed;
  }
  const std::string& failure() const { return failure_; }
  RoundRecord record() const;

  // How many more devices it would take on now.
  int64_t wanted() const;
  int64_t acknowledged() const { return acknowledged_; }
  int64_t failed_devices() const { return failed_; }
  int64_t handed_out() const {
    return static_cast<int64_t>(assignments_.size());
  }
  // A device takes part in a round once.
  bool Knows(const DeviceId& device) const { return devices_.contains(device); }
  const TrainingAssignment* Find(const AssignmentId& id) const;
  const std::map<AssignmentId, TrainingAssignment>& assignments() const {
    return assignments_;
  }

  // FAILED_PRECONDITION: not collecting, or the device takes part already.
  absl::StatusOr<AssignmentRecord> Assign(absl::Time now,
                                          const DeviceId& device,
                                          AssignmentOrdinal ordinal);

  // A complete and valid update has arrived. NOT_FOUND: no assignment of this
  // round.
  absl::StatusOr<UpdateOutcome> Acknowledge(absl::Time now,
                                            const AssignmentId& id,
                                            const Digest& content);

  // Secure rounds, instead of Acknowledge: a device that holds its finished
  // update waits for a session. True: it does; false: the assignment has ended.
  // NOT_FOUND: no assignment of this round.
  absl::StatusOr<bool> Ready(absl::Time now, const AssignmentId& id);
  // It is not connected any more.
  void NotReady(const AssignmentId& id) { gathering_.Remove(id); }
  bool session_is_due() const {
    return plan_.secure && state_ == State::kClosing &&
           !gathering_.under_way() && !session_done_;
  }
  // The first `target` of those who are ready. Precondition: session_is_due().
  std::vector<AssignmentId> BeginSession() {
    CHECK(session_is_due());
    return gathering_.Begin(plan_.target);
  }
  // Precondition of both: a session is under way. There is a sum.
  void SessionDone(const SecureSessionEnd& end);
  // There is none: collects on, or fails when the time is up.
  void SessionAborted(absl::Time now, const SecureSessionEnd& end,
                      std::string_view reason);
  int64_t ready() const { return gathering_.ready(); }
  // The sum holds everything that it will.
  bool sum_is_complete() const {
    return plan_.secure ? session_done_ : session_->complete();
  }

  // The device cannot do it, or its update was refused. Nothing happens where
  // the assignment has ended already. NOT_FOUND: no assignment of this round.
  absl::Status DeviceFails(const AssignmentId& id, std::string reason);
  // Closes or fails a round whose deadline has come.
  void Tick(absl::Time now);
  // Moves a later deadline: a clock that was set back does not lengthen what
  // was begun before.
  void EndBy(absl::Time latest) {
    plan_.deadline = std::min(plan_.deadline, latest);
  }
  // FAILED_PRECONDITION: not legal in this state.
  absl::Status Fail(std::string reason);
  absl::Status BeginPublishing();
  absl::Status Published();

  AggregationSession& session() { return *session_; }
  const AggregationSession& session() const { return *session_; }

  // Assignments that changed since the last call.
  AssignmentChanges TakeChanges();

 private:
  absl::Status Move(Event event);
  // All updates that the round waits for are here.
  bool IsFull() const {
    return plan_.sampled ? open_ == 0 : acknowledged_ >= plan_.target;
  }
  void Close();
  void ExpireOpen();
  // NOT_FOUND: no assignment of this round.
  absl::StatusOr<TrainingAssignment*> FindOwn(const AssignmentId& id);
  void Settle(const SecureSessionEnd& end);
  void Ended(const TrainingAssignment& assignment);

  RoundPlan plan_;
  State state_ = State::kCollecting;
  std::string failure_;
  std::map<AssignmentId, TrainingAssignment> assignments_;
  std::set<DeviceId> devices_;
  int64_t open_ = 0;
  int64_t acknowledged_ = 0;
  int64_t failed_ = 0;
  std::unique_ptr<AggregationSession> session_;  // of a plain round
  SecureGathering gathering_;                    // of a secure one
  bool session_done_ = false;
  AssignmentChanges changes_;
};

std::string_view ToString(Round::State state);
std::string_view ToString(Round::Event event);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_ROUND_H_
