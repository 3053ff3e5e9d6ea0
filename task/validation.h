#ifndef MLEDGE_TASK_VALIDATION_H_
#define MLEDGE_TASK_VALIDATION_H_

#include "absl/status/status.h"
#include "mledge/v1/config.pb.h"
#include "mledge/v1/task.pb.h"

// The one place where defaults are filled in and ranges and combinations are
// checked. Whatever a comment in task.proto, data.proto or config.proto calls a
// default is written out here, so that later readers never ask "and if it is
// unset?", and what an operator signs says everything.
//
// Errors are INVALID_ARGUMENT with one line for each problem found; a line
// names the field's path, the value and what to write instead. Thread-safe.

namespace mledge {

// Idempotent. On error the task is partly filled in and must not be used.
absl::Status ValidateTask(v1::Task* task);

absl::Status ValidateDeviceConfig(v1::DeviceConfig* config);
absl::Status ValidateCoordinatorConfig(v1::CoordinatorConfig* config);
absl::Status ValidateRegistrarConfig(v1::RegistrarConfig* config);

}  // namespace mledge

#endif  // MLEDGE_TASK_VALIDATION_H_
