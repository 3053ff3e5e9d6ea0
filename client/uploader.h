#ifndef MLEDGE_CLIENT_UPLOADER_H_
#define MLEDGE_CLIENT_UPLOADER_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/connection.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/ids.h"
#include "mledge/v1/device_service.pb.h"

// Step 4 of the way of the data: one attempt to upload one update, without I/O.
// Chunked (no message grows with the model), resumable (the coordinator says
// from where it wants the bytes), idempotent (keyed by assignment and content
// hash). The connection turns its messages into those of a stream and back; a
// failed attempt is followed by a new Uploader, which goes on where the
// coordinator stands. Next: coordinator/round.h. Not thread-safe.

namespace mledge {

// A quarter of what the protocol allows: copies of it stay in a core's cache.
// Every chunk but the last has this size.
inline constexpr uint64_t kUploadChunkInBytes = uint64_t{1} << 18;

v1::UploadHeader MakeUploadHeader(const AssignmentId& assignment,
                                  const FinishedUpdate& update);

// Order of calls: 1. NextRequest, which is the header; 2. OnResponse with each
// message of the coordinator, and NextRequest whenever it has something to
// send, until result() is set.
class Uploader {
 public:
  // `source` must outlive the uploader and have the header's size
  // (else the first NextRequest fails with FAILED_PRECONDITION).
  Uploader(v1::UploadHeader header, const UploadSource* source,
           uint64_t chunk_size_in_bytes = kUploadChunkInBytes);

  // What to send now: the header, a chunk, or nothing (none: wait for the
  // coordinator, or everything has been sent). Errors are the source's.
  absl::StatusOr<std::optional<v1::UploadRequest>> NextRequest();

  // INVALID_ARGUMENT: an empty message, an offset past the end, a second
  // resume, a result without an outcome; DATA_LOSS: "acknowledged" or
  // "received" before all bytes were sent.
  absl::Status OnResponse(const v1::UploadResponse& response);

  // Everything has been sent that the coordinator asked for.
  bool all_sent() const {
    return resumed_ && offset_ == header_.size_in_bytes();
  }
  const std::optional<v1::UploadResult>& result() const { return result_; }
  uint64_t bytes_sent() const { return bytes_sent_; }

 private:
  const v1::UploadHeader header_;
  const UploadSource* const source_;
  const uint64_t chunk_size_in_bytes_;
  bool header_sent_ = false;
  bool resumed_ = false;
  uint64_t offset_ = 0;
  uint64_t bytes_sent_ = 0;
  std::optional<v1::UploadResult> result_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_UPLOADER_H_
