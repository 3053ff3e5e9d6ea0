#ifndef MLEDGE_COORDINATOR_INTERNAL_SECURE_STREAMS_H_
#define MLEDGE_COORDINATOR_INTERNAL_SECURE_STREAMS_H_

#include <cstdint>
#include <map>

#include "mledge/coordinator/coordinator.h"
#include "mledge/core/ids.h"
#include "mledge/v1/device_service.pb.h"

// The streams of the devices that take what they have to secure aggregation:
// one for each assignment, the newest that its device opened. Not thread-safe.

namespace mledge {

class SecureStreams {
 public:
  // Takes the place of the assignment's stream, which ends: what its device
  // still expects comes on the new one.
  void Join(const AssignmentId& assignment, const DeviceId& device,
            uint64_t number, Coordinator::SecureSink sink);
  // Only if it is the assignment's stream still.
  void Leave(const AssignmentId& assignment, uint64_t number);

  // The device whose stream that is; null if it is not the assignment's any
  // more.
  const DeviceId* DeviceOf(const AssignmentId& assignment,
                           uint64_t number) const;
  bool Has(const AssignmentId& assignment) const {
    return streams_.contains(assignment);
  }
  // To whom it concerns, if it is connected.
  void Send(const AssignmentId& assignment,
            const v1::SecureAggregationResponse& response) const;
  void SendToAll(const v1::SecureAggregationResponse& response) const;
  // The last word on an assignment.
  void End(const AssignmentId& assignment, const v1::UploadResult& result);
  // Ends all without a word: devices come back.
  void Clear();

 private:
  struct Stream {
    DeviceId device;
    uint64_t number = 0;
    Coordinator::SecureSink sink;
  };
  std::map<AssignmentId, Stream> streams_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_SECURE_STREAMS_H_
