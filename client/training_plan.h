#ifndef MLEDGE_CLIENT_TRAINING_PLAN_H_
#define MLEDGE_CLIENT_TRAINING_PLAN_H_

#include <memory>

#include "mledge/aggregation/secagg/update_codec.h"
#include "mledge/client/local_trainer.h"
#include "mledge/client/update_pipeline.h"
#include "mledge/core/ids.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/v1/device_service.pb.h"
#include "mledge/v1/task.pb.h"

// From what the operator signed and what the coordinator resolved to what the
// trainer and the update pipeline take. Both arguments have been checked
// (assignment_check.h). Pure functions.

namespace mledge {

TrainingPlan MakeTrainingPlan(const v1::Task& task,
                              const v1::Assignment& assignment,
                              const DeviceId& device);

// `privacy`: null where the task is not private.
UpdatePipeline::Options MakePipelineOptions(
    const v1::Task& task, const v1::Assignment& assignment,
    std::shared_ptr<const PrivateTask> privacy);

// How the update becomes the integers that are added up.
secagg::UpdateCodecOptions MakeCodecOptions(const v1::SecureAssignment& secure);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_TRAINING_PLAN_H_
