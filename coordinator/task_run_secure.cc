// TaskRun's part in secure aggregation: who is ready, and sessions of the round
// and of evaluations, one after the other.
#include <utility>

#include "mledge/coordinator/task_run.h"
#include "mledge/core/logging.h"

namespace mledge {

TaskRun::Readiness TaskRun::DeviceReady(absl::Time now,
                                        const AssignmentId& id) {
  Readiness readiness;
  if (round_ != nullptr && round_->Find(id) != nullptr) {
    readiness.waits = *round_->Ready(now, id);
    ShowProgress(now, readiness.effects);
  } else if (EvaluationSession* const evaluation = FindEvaluation(id)) {
    readiness.waits = *evaluation->Ready(now, id);
  }
  Advance(now, readiness.effects);
  return readiness;
}

Effects TaskRun::DeviceNotReady(absl::Time now, const AssignmentId& id) {
  Effects effects;
  if (round_ != nullptr && round_->Find(id) != nullptr) {
    round_->NotReady(id);
    ShowProgress(now, effects);
  } else if (EvaluationSession* const evaluation = FindEvaluation(id)) {
    evaluation->NotReady(id);
  }
  return effects;
}

void TaskRun::MaskedInputArrived(const AssignmentId& id,
                                 uint64_t size_in_bytes) {
  if (round_ != nullptr && round_->Find(id) != nullptr) {
    round_bytes_received_ += size_in_bytes;
  }
  record_.bytes_received += size_in_bytes;
}

std::optional<Job> TaskRun::JobOfEvaluations(
    std::optional<VersionNumber> before, Effects& effects) {
  for (const auto& evaluation : evaluations_) {
    if (!evaluation->session_is_due() ||
        (before.has_value() && evaluation->plan().version >= *before)) {
      continue;
    }
    return MakeSecureSession({.kind = AssignmentKind::kEvaluate,
                              .round = evaluation->plan().round,
                              .base_version = evaluation->plan().version},
                             evaluation->BeginSession(), effects);
  }
  return std::nullopt;
}

SecureSessionJob TaskRun::MakeSecureSession(
    SecureSessionJob job, const std::vector<AssignmentId>& members,
    Effects& effects) {
  // On disk before the session is offered to anybody.
  job.session_number = ++record_.secure_session;
  effects.persist.tasks.push_back(record_);
  for (const AssignmentId& id : members) {
    job.members[id] = FindAssignment(id)->device;
  }
  return job;
}

SecureSessionJob TaskRun::TakeSecureSession() {
  std::optional<Job> done = std::exchange(job_, std::nullopt);
  CHECK(done.has_value() && std::holds_alternative<SecureSessionJob>(*done));
  return std::get<SecureSessionJob>(*std::move(done));
}

Effects TaskRun::SecureSessionDone(absl::Time now, const SecureSessionEnd& end,
                                   const Digest& sum) {
  Effects effects;
  const RoundNumber round = TakeSecureSession().round;
  if (round_ != nullptr && round_->plan().round == round) {
    round_->SessionDone(end);
    // In one transaction with the assignments' ends: whoever is acknowledged
    // is in the saved sum.
    CheckpointRecord checkpoint = {.task = plan_.task,
                                   .round = round,
                                   .slot = checkpoint_slot_,
                                   .sum = sum};
    for (const auto& [id, content] : end.counted) {
      checkpoint.folded.push_back(id);
    }
    effects.persist.checkpoints.push_back(std::move(checkpoint));
    ShowProgress(now, effects);
  }
  Advance(now, effects);
  return effects;
}

Effects TaskRun::SecureEvaluationDone(absl::Time now,
                                      const SecureSessionEnd& end,
                                      const AggregationSum& sum) {
  Effects effects;
  const VersionNumber version = TakeSecureSession().base_version;
  // What it says is stored in one transaction with the assignments' ends.
  if (EvaluationSession* const evaluation = FindEvaluation(version)) {
    evaluation->SessionDone(end, sum);
  }
  Advance(now, effects);
  return effects;
}

Effects TaskRun::SecureSessionAborted(absl::Time now,
                                      const SecureSessionEnd& end,
                                      const std::string& reason) {
  Effects effects;
  const SecureSessionJob job = TakeSecureSession();
  if (job.kind == AssignmentKind::kEvaluate) {
    if (EvaluationSession* const evaluation =
            FindEvaluation(job.base_version)) {
      // The registrar's log of versions may have gone past an older one, and
      // does not go back: it is not tried again, as after its deadline.
      const bool older =
          round_ != nullptr && job.base_version < round_->plan().base_version;
      evaluation->SessionAborted(older ? absl::InfiniteFuture() : now, end,
                                 reason);
      retry_at_ = now + kSessionPause;
    }
  } else if (round_ != nullptr && round_->plan().round == job.round) {
    round_->SessionAborted(now, end, reason);
    if (!round_->ended()) {
      retry_at_ = now + kSessionPause;
      ShowProgress(now, effects);
    }
  }
  Advance(now, effects);
  return effects;
}

}  // namespace mledge
