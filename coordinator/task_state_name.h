#ifndef MLEDGE_COORDINATOR_TASK_STATE_NAME_H_
#define MLEDGE_COORDINATOR_TASK_STATE_NAME_H_

#include <string_view>

#include "mledge/v1/admin_service.pb.h"

// A task's state as people read it, at the shell and in a run's manifest.

namespace mledge {

// "running", "completed", "cancelled", "failed", "set aside"; else
// "unknown".
std::string_view TaskStateName(v1::TaskState state);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_TASK_STATE_NAME_H_
