// The part of TaskRun that says what becomes of failures: of devices, and of
// jobs.
#include <utility>

#include "mledge/coordinator/internal/task_events.h"
#include "mledge/coordinator/task_run.h"
#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge {

Effects TaskRun::DeviceFails(absl::Time now, const AssignmentId& id,
                             const std::string& reason) {
  Effects effects;
  const AssignmentRecord* const before = FindAssignment(id);
  const bool was_open =
      before != nullptr && before->state == AssignmentState::kIssued;
  if (round_ != nullptr && round_->Find(id) != nullptr) {
    // Closing or publishing: the assignment has ended, nothing to do.
    round_->DeviceFails(id, reason).IgnoreError();
    ShowProgress(now, effects);
  } else if (EvaluationSession* evaluation = FindEvaluation(id)) {
    evaluation->DeviceFails(id, reason).IgnoreError();
  }
  const AssignmentRecord* const after = FindAssignment(id);
  if (was_open && after->state == AssignmentState::kFailed) {
    TellFailure(now, *after, reason, effects);
  }
  Advance(now, effects);
  return effects;
}

void TaskRun::TellFailure(absl::Time now, const AssignmentRecord& failed,
                          const std::string& reason, Effects& effects) {
  if (told_failures_ >= static_cast<int64_t>(kToldFailures)) return;
  ++told_failures_;
  v1::TaskEvent event =
      DeviceFailedEvent(MakeEvent(now, failed.round), failed.device, reason);
  Remember(event);
  Store(std::move(event), effects);
}

void TaskRun::Remember(const v1::TaskEvent& event) {
  device_failures_.push_back(event);
  if (device_failures_.size() > kToldFailures) device_failures_.pop_front();
}

Effects TaskRun::JobFailed(absl::Time now, const absl::Status& status,
                           JobFailure failure) {
  Effects effects;
  const std::optional<Job> failed = std::exchange(job_, std::nullopt);
  CHECK(failed.has_value());
  const RoundNumber round =
      std::visit([](const auto& job) { return job.round; }, *failed);
  if (round_ == nullptr || round_->plan().round != round) {
    Advance(now, effects);
    return effects;
  }
  round_->session().Abandon();
  switch (failure) {
    case JobFailure::kRetry:
      retry_at_ = now + kRetryPause;
      break;
    case JobFailure::kRoundFails:
      round_->Fail(std::string(status.message())).IgnoreError();
      break;
    case JobFailure::kTaskFails:
      EndTask(now, TaskState::kFailed,
              StrCat("round ", round.value(), ": ", status.message()), effects);
      break;
  }
  Advance(now, effects);
  return effects;
}

}  // namespace mledge
