#ifndef MLEDGE_COORDINATOR_EVALUATION_SESSION_H_
#define MLEDGE_COORDINATOR_EVALUATION_SESSION_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/aggregator.h"
#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/training_assignment.h"

// How good one version is, asked of one evaluator or of a cohort of devices
// while the next round is under way. Each answers with sums over its examples,
// which are added up exactly, so their order does not matter. Done when all
// have answered or the deadline has come; whoever is slower is done without.
// Sans-I/O, not thread-safe.

namespace mledge {

class EvaluationSession {
 public:
  struct Plan {
    TaskId task;
    VersionNumber version;
    RoundNumber round;    // that published the version
    int64_t devices = 1;  // asked; 1 for an evaluator
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
  void Tick(absl::Time now);
  // As Round::EndBy.
  void EndBy(absl::Time latest) {
    plan_.deadline = std::min(plan_.deadline, latest);
  }
  // Ends it without a result.
  void Cancel();

  bool done() const { return done_; }
  // Nothing when nobody answered or there was no example.
  std::optional<Result> result() const;
  AssignmentChanges TakeChanges();

 private:
  void Finish();
  void Ended(const TrainingAssignment& assignment);

  Plan plan_;
  const std::unique_ptr<Aggregator> sum_;
  std::map<AssignmentId, TrainingAssignment> assignments_;
  std::set<DeviceId> asked_;
  int64_t open_ = 0;
  int64_t acknowledged_ = 0;
  bool done_ = false;
  AssignmentChanges changes_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_EVALUATION_SESSION_H_
