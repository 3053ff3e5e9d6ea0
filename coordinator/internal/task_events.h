#ifndef MLEDGE_COORDINATOR_INTERNAL_TASK_EVENTS_H_
#define MLEDGE_COORDINATOR_INTERNAL_TASK_EVENTS_H_

#include "google/protobuf/timestamp.pb.h"
#include "mledge/coordinator/evaluation_session.h"
#include "mledge/coordinator/round.h"
#include "mledge/coordinator/task_plan.h"
#include "mledge/v1/admin_service.pb.h"

// What people are told of a task, as messages. `event` comes with task, time
// and round filled in.

namespace mledge {

google::protobuf::Timestamp ToTimestamp(absl::Time time);
v1::TaskState ToMessage(TaskState state);

v1::TaskEvent RoundStartedEvent(v1::TaskEvent event, const Round& round);
v1::TaskEvent RoundProgressEvent(v1::TaskEvent event, const Round& round);
v1::TaskEvent RoundFailedEvent(v1::TaskEvent event, const Round& round);
v1::TaskEvent DeviceFailedEvent(v1::TaskEvent event, const DeviceId& device,
                                std::string reason);
v1::TaskEvent EvaluatedEvent(v1::TaskEvent event, const TaskPlan& plan,
                             VersionNumber version,
                             const EvaluationSession::Result& result);
v1::TaskEvent EvaluationSkippedEvent(v1::TaskEvent event, VersionNumber version,
                                     std::string reason);
v1::TaskEvent TaskEndedEvent(v1::TaskEvent event, const TaskRecord& record);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_TASK_EVENTS_H_
