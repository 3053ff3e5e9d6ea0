#ifndef MLEDGE_COORDINATOR_EVALUATION_SESSION_H_
#define MLEDGE_COORDINATOR_EVALUATION_SESSION_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/coordinator/secure_gathering.h"
#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/training_assignment.h"

// How good one version is, asked of one evaluator or of a cohort of devices
// while the next round is under way. Each answers with sums over its examples,
// which are added up exactly, so their order does not matter. Done when all
// have answered or the deadline has come; whoever is slower is done without.
//
// Where devices evaluate in a task with secure aggregation, nobody's answer
// arrives by itself: as in a secure round (round.h), devices say that they are
// ready, and those who are, when all are or at the deadline with the minimum,
// go through one session. Sans-I/O, not thread-safe.

namespace mledge {

// An empty sum of the answers of so many evaluators or devices.
std::unique_ptr<Aggregator> MakeEvaluationSum(int64_t devices);

class EvaluationSession {
 public:
  struct Plan {
    TaskId task;
    VersionNumber version;
    RoundNumber round;    // that published the version
    int64_t devices = 1;  // asked; 1 for an evaluator
    bool secure = false;
    int64_t minimum = 1;  // of a secure one, without which it is skipped
    absl::Time deadline;
  };
  // Means over all examples.
  struct Result {
    double loss = 0;
    double metric = 0;
    int64_t examples = 0;
  };

  explicit EvaluationSession(Plan plan);

  const Plan& plan() const { return plan_; }
  // How many more devices it would ask now.
  int64_t wanted() const;
  // A device is asked once.
  const std::set<DeviceId>& asked() const { return asked_; }
  const TrainingAssignment* Find(const AssignmentId& id) const;
  const std::map<AssignmentId, TrainingAssignment>& assignments() const {
    return assignments_;
  }

  // FAILED_PRECONDITION: asked before, or done.
  absl::StatusOr<AssignmentRecord> Assign(absl::Time now,
                                          const DeviceId& device,
                                          AssignmentOrdinal ordinal);
  // Takes up an assignment after a restart. `update`: of an acknowledged one;
  // INVALID_ARGUMENT when it does not fit.
  absl::Status Restore(AssignmentRecord record, const UpdateView* update);
  // INVALID_ARGUMENT: not the sums of an evaluation.
  absl::Status Validate(const UpdateView& update) const {
    return sum_->Validate(update);
  }
  // `update` was validated. NOT_FOUND: no assignment of this session.
  absl::StatusOr<UpdateOutcome> Acknowledge(absl::Time now,
                                            const AssignmentId& id,
                                            const Digest& content,
                                            const UpdateView& update);
  absl::Status DeviceFails(const AssignmentId& id, std::string reason);

  // Secure evaluations; as in Round.
  absl::StatusOr<bool> Ready(absl::Time now, const AssignmentId& id);
  void NotReady(const AssignmentId& id) { gathering_.Remove(id); }
  bool session_is_due() const {
    return closing_ && !done_ && !gathering_.under_way();
  }
  std::vector<AssignmentId> BeginSession() {
    return gathering_.Begin(plan_.devices);
  }
  // `sum`: of EvaluationAggregationSpec's scalars.
  void SessionDone(const SecureSessionEnd& end, const AggregationSum& sum);
  void SessionAborted(absl::Time now, const SecureSessionEnd& end,
                      std::string_view reason);

  void Tick(absl::Time now);
  // As Round::EndBy.
  void EndBy(absl::Time latest) {
    plan_.deadline = std::min(plan_.deadline, latest);
  }
  // When Tick has something to do.
  absl::Time NextTime() const {
    return done_ || closing_ ? absl::InfiniteFuture() : plan_.deadline;
  }
  // Ends it without a result.
  void Cancel();

  bool done() const { return done_; }
  // Nothing when nobody answered or there was no example.
  std::optional<Result> result() const;
  // Why there is none, of one that is done.
  std::string failure() const;
  AssignmentChanges TakeChanges();

 private:
  absl::StatusOr<TrainingAssignment*> FindOwn(const AssignmentId& id);
  void Settle(const SecureSessionEnd& end);
  void Finish();
  void Ended(const TrainingAssignment& assignment);

  Plan plan_;
  const std::unique_ptr<Aggregator> sum_;
  std::map<AssignmentId, TrainingAssignment> assignments_;
  std::set<DeviceId> asked_;
  int64_t open_ = 0;
  int64_t acknowledged_ = 0;
  SecureGathering gathering_;
  bool closing_ = false;  // those who are ready go through a session
  bool done_ = false;
  std::string failure_;
  AssignmentChanges changes_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_EVALUATION_SESSION_H_
