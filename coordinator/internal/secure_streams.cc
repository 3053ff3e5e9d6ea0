#include "mledge/coordinator/internal/secure_streams.h"

#include <utility>

namespace mledge {

void SecureStreams::Join(const AssignmentId& assignment, const DeviceId& device,
                         uint64_t number, Coordinator::SecureSink sink) {
  streams_[assignment] = {device, number, std::move(sink)};
}

void SecureStreams::Leave(const AssignmentId& assignment, uint64_t number) {
  if (DeviceOf(assignment, number) != nullptr) streams_.erase(assignment);
}

const DeviceId* SecureStreams::DeviceOf(const AssignmentId& assignment,
                                        uint64_t number) const {
  const auto found = streams_.find(assignment);
  return found != streams_.end() && found->second.number == number
             ? &found->second.device
             : nullptr;
}

void SecureStreams::Send(const AssignmentId& assignment,
                         const v1::SecureAggregationResponse& response) const {
  const auto found = streams_.find(assignment);
  if (found != streams_.end()) found->second.sink(response);
}

void SecureStreams::SendToAll(
    const v1::SecureAggregationResponse& response) const {
  for (const auto& [assignment, stream] : streams_) stream.sink(response);
}

void SecureStreams::End(const AssignmentId& assignment,
                        const v1::UploadResult& result) {
  v1::SecureAggregationResponse response;
  *response.mutable_result() = result;
  Send(assignment, response);
  streams_.erase(assignment);
}

void SecureStreams::Clear() { streams_.clear(); }

}  // namespace mledge
