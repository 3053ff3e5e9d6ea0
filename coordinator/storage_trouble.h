#ifndef MLEDGE_COORDINATOR_STORAGE_TROUBLE_H_
#define MLEDGE_COORDINATOR_STORAGE_TROUBLE_H_

#include "absl/status/status.h"

namespace mledge {

// A failure of the coordinator's storage as devices are told of it: another
// disk, or another process on this one, may take tomorrow what this one refuses
// today, so none of the codes at which a device drops its update.
inline absl::Status MayPass(const absl::Status& storage_failure) {
  switch (storage_failure.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kResourceExhausted:
      return storage_failure;
    default:
      return absl::UnavailableError(storage_failure.message());
  }
}

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_STORAGE_TROUBLE_H_
