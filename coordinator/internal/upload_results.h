#ifndef MLEDGE_COORDINATOR_INTERNAL_UPLOAD_RESULTS_H_
#define MLEDGE_COORDINATOR_INTERNAL_UPLOAD_RESULTS_H_

#include <string>

#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/training_assignment.h"
#include "mledge/v1/device_service.pb.h"

// What a device is told about an update that ended one way or another.

namespace mledge {

v1::UploadResult MakeUploadResult(v1::UploadResult::Outcome outcome,
                                  std::string reason);
// `failure`: why the assignment failed, if that is known.
v1::UploadResult UploadResultOf(UpdateOutcome outcome,
                                const AssignmentRecord& record,
                                const std::string& failure);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_UPLOAD_RESULTS_H_
