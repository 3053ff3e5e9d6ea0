#include "mledge/coordinator/task_state_name.h"

namespace mledge {

std::string_view TaskStateName(v1::TaskState state) {
  switch (state) {
    case v1::RUNNING:
      return "running";
    case v1::COMPLETED:
      return "completed";
    case v1::CANCELLED:
      return "cancelled";
    case v1::FAILED:
      return "failed";
    case v1::SET_ASIDE:
      return "set aside";
    default:
      return "unknown";
  }
}

}  // namespace mledge
