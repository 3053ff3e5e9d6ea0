#ifndef MLEDGE_CLI_TASK_MODEL_H_
#define MLEDGE_CLI_TASK_MODEL_H_

#include "absl/status/statusor.h"
#include "mledge/model/package.h"
#include "mledge/v1/task.pb.h"

namespace mledge {

// The model that a task file names: its package, unverified, or a built-in one
// created with the task's seed. FAILED_PRECONDITION: a package with another
// hash than the task gives. Codes of ReadFile and of the package's parser.
absl::StatusOr<ModelPackage> OpenTaskModel(const v1::Task& task);

}  // namespace mledge

#endif  // MLEDGE_CLI_TASK_MODEL_H_
