#ifndef MLEDGE_COORDINATOR_GRPC_SERVICE_ENVIRONMENT_H_
#define MLEDGE_COORDINATOR_GRPC_SERVICE_ENVIRONMENT_H_

#include <cstdint>

#include "absl/time/time.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/grpc/device_calls.h"
#include "mledge/core/clock.h"
#include "mledge/core/executor.h"
#include "mledge/identity/signing.h"

// What the services and their reactors share. gRPC has few threads of its own
// (two on a small machine): everything that may touch the disk runs on
// `executor`.

namespace mledge {

struct ServiceEnvironment {
  Coordinator* coordinator = nullptr;
  Executor* executor = nullptr;
  Clock* clock = nullptr;
  DeviceCalls* device_calls = nullptr;
  const SignatureVerifier* task_verifier = nullptr;
  const SignatureVerifier* package_verifier = nullptr;
  const SignatureVerifier* adoption_verifier = nullptr;
  uint64_t maximum_upload_bytes = 0;
  absl::Duration longest_check_in = absl::Seconds(20);
};

// Sizes of pieces on the wire, as the protocol says them.
inline constexpr size_t kMaximumUploadChunk = size_t{1} << 20;
inline constexpr size_t kFetchChunk = size_t{256} << 10;
// A whole message: a chunk and its frame, or a signed task.
inline constexpr int kMaximumMessage = (1 << 20) + (64 << 10);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_SERVICE_ENVIRONMENT_H_
