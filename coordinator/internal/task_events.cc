#include "mledge/coordinator/internal/task_events.h"

#include <utility>

#include "absl/time/time.h"

namespace mledge {

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  const int64_t nanoseconds = absl::ToUnixNanos(time);
  const int64_t seconds = absl::ToUnixSeconds(time);
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(seconds);
  timestamp.set_nanos(
      static_cast<int32_t>(nanoseconds - seconds * 1'000'000'000));
  return timestamp;
}

v1::TaskState ToMessage(TaskState state) {
  switch (state) {
    case TaskState::kRunning:
      return v1::RUNNING;
    case TaskState::kCompleted:
      return v1::COMPLETED;
    case TaskState::kCancelled:
      return v1::CANCELLED;
    case TaskState::kFailed:
      return v1::FAILED;
  }
  return v1::TASK_STATE_UNSPECIFIED;
}

v1::TaskEvent RoundStartedEvent(v1::TaskEvent event, const Round& round) {
  event.mutable_round_started()->set_cohort_size(round.plan().target);
  event.mutable_round_started()->set_assigned(round.handed_out());
  return event;
}

v1::TaskEvent RoundProgressEvent(v1::TaskEvent event, const Round& round) {
  v1::RoundProgress& progress = *event.mutable_round_progress();
  progress.set_assigned(round.handed_out());
  progress.set_acknowledged(round.acknowledged());
  progress.set_wanted(round.plan().target);
  return event;
}

v1::TaskEvent RoundFailedEvent(v1::TaskEvent event, const Round& round) {
  event.mutable_round_failed()->set_reason(round.failure());
  event.mutable_round_failed()->set_updates(round.acknowledged());
  return event;
}

v1::TaskEvent DeviceFailedEvent(v1::TaskEvent event, const DeviceId& device,
                                std::string reason) {
  event.mutable_device_failed()->set_device_id(device.value());
  event.mutable_device_failed()->set_reason(std::move(reason));
  return event;
}

v1::TaskEvent EvaluatedEvent(v1::TaskEvent event, const TaskPlan& plan,
                             VersionNumber version,
                             const EvaluationSession::Result& result) {
  v1::Evaluated& evaluated = *event.mutable_evaluated();
  evaluated.set_version(version.value());
  evaluated.set_loss(result.loss);
  evaluated.set_metric(result.metric);
  evaluated.set_examples(result.examples);
  evaluated.set_metric_name(plan.metric_name);
  return event;
}

v1::TaskEvent EvaluationSkippedEvent(v1::TaskEvent event, VersionNumber version,
                                     std::string reason) {
  event.mutable_evaluation_skipped()->set_version(version.value());
  event.mutable_evaluation_skipped()->set_reason(std::move(reason));
  return event;
}

v1::TaskEvent TaskEndedEvent(v1::TaskEvent event, const TaskRecord& record) {
  event.mutable_task_ended()->set_state(ToMessage(record.state));
  event.mutable_task_ended()->set_reason(record.reason);
  return event;
}

}  // namespace mledge
