#ifndef MLEDGE_COORDINATOR_AGGREGATION_SESSION_H_
#define MLEDGE_COORDINATOR_AGGREGATION_SESSION_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/ids.h"

// Whose updates are in one sum, and how far each has come. The plain session:
// it admits devices that hold a finished, acknowledged update, and each update
// goes
//
//   admitted → folding → folded → saved (its spool file may go)
//
// exactly once. One piece of work (a fold or a checkpoint) is under way at a
// time, because both use the one sum. Order of calls: Admit in any order; then
// Begin… and the matching Finish… or Abandon; Close once; complete() after
// that. Sans-I/O, not thread-safe. What adds up: aggregation/aggregator.h.

namespace mledge {

class AggregationSession {
 public:
  struct Options {
    // A fold begins when so many updates wait, or the session is closed.
    int64_t updates_per_fold = 4;
    // And takes at most so many, because all are held open at once.
    int64_t maximum_updates_per_fold = 32;
    // A checkpoint begins when so many folded updates are not saved.
    int64_t updates_per_checkpoint = 16;
  };
  // What is in the last checkpoint of a session that goes on after a restart.
  AggregationSession(Options options, std::span<const AssignmentId> saved);
  explicit AggregationSession(Options options)
      : AggregationSession(options, {}) {}

  // FAILED_PRECONDITION: closed. ALREADY_EXISTS: admitted before.
  absl::Status Admit(const AssignmentId& assignment);
  // Admits no more; what is admitted is folded without waiting for company.
  void Close() { closed_ = true; }

  // The updates to fold next, in the order of their ids; empty when work is
  // under way or there is too little to do.
  std::vector<AssignmentId> BeginFold();
  // All updates in the sum now, which the checkpoint must name; empty likewise.
  std::vector<AssignmentId> BeginCheckpoint();
  // FAILED_PRECONDITION: no fold, or no checkpoint, is under way.
  absl::Status FinishFold();
  // Returns those that no earlier checkpoint held: their spool files may go.
  absl::StatusOr<std::vector<AssignmentId>> FinishCheckpoint();
  // The work under way failed and left the sum as it was; it may begin again.
  void Abandon();

  bool busy() const { return work_ != Work::kNone; }
  // Closed and all of it in the sum: the sum may be published.
  bool complete() const { return closed_ && !busy() && waiting_ == 0; }
  int64_t admitted() const { return static_cast<int64_t>(stages_.size()); }
  // Every spooled update that is not discarded yet.
  std::vector<AssignmentId> Spooled() const;

 private:
  enum class Stage { kAdmitted, kFolding, kFolded, kSaved };
  enum class Work { kNone, kFold, kCheckpoint };

  std::vector<AssignmentId> AtStage(Stage stage) const;

  const Options options_;
  std::map<AssignmentId, Stage> stages_;
  std::vector<AssignmentId> under_way_;
  int64_t waiting_ = 0;  // admitted or folding
  int64_t unsaved_ = 0;  // folded and not saved
  bool closed_ = false;
  Work work_ = Work::kNone;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_AGGREGATION_SESSION_H_
