#ifndef MLEDGE_COORDINATOR_GRPC_DEVICE_CALLS_H_
#define MLEDGE_COORDINATOR_GRPC_DEVICE_CALLS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/core/mutex.h"

// How many calls each device has under way, over all of its connections, so
// that none can use up the memory and the file descriptors that all share.
// gRPC bounds the calls of one connection, and nothing bounds connections.
// Thread-safe.

namespace mledge {

class DeviceCalls {
 public:
  explicit DeviceCalls(int64_t most_of_a_device)
      : most_of_a_device_(most_of_a_device) {}

  // Held while a call is under way; may outlive this object.
  using Lease = std::shared_ptr<const void>;
  // RESOURCE_EXHAUSTED: the device has as many as it may have.
  absl::StatusOr<Lease> Begin(const Peer& peer);

 private:
  // A device and an evaluator of one id are two.
  using Caller = std::pair<DeviceId, Peer::Role>;
  struct Count {
    Mutex mutex;
    std::map<Caller, int64_t> under_way ABSL_GUARDED_BY(mutex);
  };

  const int64_t most_of_a_device_;
  const std::shared_ptr<Count> count_ = std::make_shared<Count>();
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_DEVICE_CALLS_H_
