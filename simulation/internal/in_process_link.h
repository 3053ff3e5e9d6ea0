#ifndef MLEDGE_SIMULATION_INTERNAL_IN_PROCESS_LINK_H_
#define MLEDGE_SIMULATION_INTERNAL_IN_PROCESS_LINK_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/core/sha256.h"
#include "mledge/simulation/internal/training_pool.h"
#include "mledge/v1/device_service.pb.h"

// The way between simulated devices and the coordinator, in one process. By
// default messages are handed over as they are, and parameters and updates by
// pointer; with `wire`, every message is serialized and parsed, blobs and
// updates pass in the chunks of the protocol, and hashes are formed and
// compared as on a network. Both lead to the same bits. One thread at a time.

namespace mledge::simulation_internal {

// Bytes that a transfer of `size` bytes takes in messages of at most `chunk`.
uint64_t ChunkedBytes(uint64_t size, uint64_t chunk);
inline constexpr uint64_t kFetchChunkInBytes = uint64_t{256} << 10;

class InProcessLink {
 public:
  InProcessLink(Coordinator* coordinator, bool wire)
      : coordinator_(coordinator), wire_(wire) {}

  bool wire() const { return wire_; }

  // The coordinator answers when it has something to say.
  void CheckIn(absl::Time now, const Peer& peer,
               const v1::CheckInRequest& request,
               Coordinator::Done<v1::CheckInResponse> done);
  absl::StatusOr<std::shared_ptr<const std::string>> Fetch(
      const Peer& peer, const Digest& digest);
  absl::StatusOr<Coordinator::UploadStart> BeginUpload(
      absl::Time now, const Peer& peer, const v1::UploadHeader& header);
  // Passes on the update through the writer of BeginUpload.
  void FinishUpload(absl::Time now, const Peer& peer,
                    const v1::UploadHeader& header,
                    std::unique_ptr<SpoolWriter> writer, TrainedUpdate* trained,
                    const UpdateContext& context,
                    Coordinator::Done<v1::UploadResult> done);
  // Masked inputs are bytes with and without `wire`.
  void FinishMaskedUpload(absl::Time now, const Peer& peer,
                          const v1::UploadHeader& header,
                          std::unique_ptr<SpoolWriter> writer,
                          std::string_view bytes,
                          Coordinator::Done<v1::UploadResult> done);
  absl::StatusOr<std::unique_ptr<Coordinator::SecureStream>>
  JoinSecureAggregation(absl::Time now, const Peer& peer,
                        const v1::SecureAggregationJoin& join,
                        Coordinator::SecureSink sink);
  void SendSecurely(absl::Time now, Coordinator::SecureStream& stream,
                    const v1::SecaggDeviceMessage& message);
  void Report(absl::Time now, const Peer& peer,
              const v1::ReportRequest& request,
              Coordinator::Done<v1::ReportResponse> done);

 private:
  absl::Status PassOn(TrainedUpdate* trained, const UpdateContext& context,
                      SpoolWriter* writer) const;

  Coordinator* const coordinator_;
  const bool wire_;
  // Without `wire`: the blobs read last, newest first.
  std::deque<std::pair<Digest, std::shared_ptr<const std::string>>> blobs_;
};

}  // namespace mledge::simulation_internal

#endif  // MLEDGE_SIMULATION_INTERNAL_IN_PROCESS_LINK_H_
