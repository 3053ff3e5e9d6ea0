#ifndef MLEDGE_TASK_INTERNAL_TASK_SECTIONS_H_
#define MLEDGE_TASK_INTERNAL_TASK_SECTIONS_H_

#include <cstdint>

#include "google/protobuf/duration.pb.h"
#include "mledge/task/internal/problems.h"
#include "mledge/v1/task.pb.h"

// Sections of a task that stand for themselves; task/validation.h is the way
// in. Each fills in its defaults and adds what is wrong.

namespace mledge::task_internal {

inline constexpr int64_t kLargestCohort = 1'000'000;

inline double InSeconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

void ValidateModel(v1::ModelReference* model, Problems* problems);
void ValidateLocalTraining(v1::LocalTraining* training, Problems* problems);
// What it asks of other sections it asks of them as they are written.
void ValidateCohort(v1::Task* task, Problems* problems);
// For both: `task`'s other sections are valid already, if they can be.
void ValidatePrivacy(v1::Task* task, Problems* problems);
void ValidateSimulation(v1::Task* task, Problems* problems);

}  // namespace mledge::task_internal

#endif  // MLEDGE_TASK_INTERNAL_TASK_SECTIONS_H_
