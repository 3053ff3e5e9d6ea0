#ifndef MLEDGE_COORDINATOR_TASK_PLAN_H_
#define MLEDGE_COORDINATOR_TASK_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "mledge/coordinator/aggregation_session.h"
#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/task_privacy.h"
#include "mledge/core/ids.h"
#include "mledge/core/sha256.h"
#include "mledge/v1/task.pb.h"

// What the coordinator needs to know of a task, in the units in which it counts
// (devices, updates, absl::Duration), resolved once from the validated task.
// A value.

namespace mledge {

struct TaskPlan {
  TaskId task;
  uint64_t seed = 1;
  std::string population;

  int64_t target = 1;           // updates that a round wants
  int64_t minimum = 1;          // without which it fails
  int64_t assigned = 1;         // devices that get an assignment
  int64_t minimum_waiting = 1;  // devices that wait when a round starts
  // Of a device, where cohorts are Poisson samples of all who wait; `target`
  // is the expected number then.
  std::optional<double> sampling_probability;
  absl::Duration deadline = absl::InfiniteDuration();
  absl::Duration minimum_interval = absl::ZeroDuration();
  AggregationSession::Options session;
  bool secure = false;  // updates leave the devices only inside a sum

  int64_t evaluate_every = 0;  // rounds; 0: never
  bool evaluate_on_devices = false;
  int64_t evaluation_devices = 1;
  // Of devices, without which a secure evaluation is skipped.
  int64_t evaluation_minimum = 1;
  absl::Duration evaluation_deadline = absl::InfiniteDuration();

  int64_t rounds = 1;  // that complete, then the task ends
  std::optional<double> target_metric;
  // Of the package's metric.
  std::string metric_name;
  bool higher_metric_is_better = true;

  // Whether what devices have of such an assignment leaves them inside a sum
  // only. Evaluators report in the clear.
  bool IsSecure(AssignmentKind kind) const {
    return secure && (kind == AssignmentKind::kTrain || evaluate_on_devices);
  }
  std::optional<PrivacyPlan> privacy;  // of private tasks

  // Whether a version is to be evaluated: every so many, and the last.
  bool EvaluationIsDue(VersionNumber version) const;
};

// Everything but the session's options, the metric and privacy. Precondition:
// the task was validated (task/validation.h).
TaskPlan ResolveTask(const v1::Task& task);

// The devices' learning rate when the `nth` round to complete (from 1) is
// trained: a failed round does not move the schedule on.
double LearningRateOfRound(const v1::LocalTraining& training, int64_t nth);

// 32 public bytes that all devices of a round share.
Digest RoundSeed(uint64_t task_seed, const TaskId& task, RoundNumber round);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_TASK_PLAN_H_
