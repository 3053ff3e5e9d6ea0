#ifndef MLEDGE_CLIENT_CONNECTION_H_
#define MLEDGE_CLIENT_CONNECTION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/v1/device_service.pb.h"

// The device service as a device sees it. grpc/grpc_connection.h puts it on the
// network; tests and the simulator stand in for it. One attempt a call: whether
// to try again is for the session to say.

namespace mledge {

// Bytes of an update, readable from any offset and more than once.
class UploadSource {
 public:
  virtual ~UploadSource() = default;
  virtual uint64_t size_in_bytes() const = 0;
  // Exactly `size` bytes from `offset` on. OUT_OF_RANGE past the end;
  // DATA_LOSS, UNAVAILABLE: the storage fails.
  virtual absl::StatusOr<std::string> Read(uint64_t offset,
                                           uint64_t size) const = 0;
};

// Takes a blob's bytes as they come; an error ends the fetch and is its result.
using BlobSink = std::function<absl::Status(std::string_view bytes)>;

// A stream of secure aggregation as its driver holds it. Thread-safe.
class SecureStream {
 public:
  virtual ~SecureStream() = default;
  // In this order, after the join; dropped once the stream has broken.
  virtual void Send(v1::SecaggDeviceMessage message) = 0;
  // After what was sent. Messages that still come are dropped.
  virtual void Close() = 0;
};

// Thread-safe. `done` is called exactly once a call, on a thread of the
// connection or before the call returns, never under a lock of the caller's.
// The destructor cancels what is under way and waits for its callbacks.
//
// Codes besides those of device_service.proto: UNAVAILABLE (no coordinator
// there, or it went away), UNAUTHENTICATED (one side's certificate was not
// accepted: says whose and why), DEADLINE_EXCEEDED, CANCELLED.
class Connection {
 public:
  template <typename T>
  using Done = std::function<void(absl::StatusOr<T>)>;

  virtual ~Connection() = default;

  virtual void CheckIn(const v1::CheckInRequest& request,
                       absl::Duration timeout,
                       Done<v1::CheckInResponse> done) = 0;
  // From `offset` on. One call to `sink` at a time, none after `done`.
  virtual void Fetch(const Digest& digest, uint64_t offset, BlobSink sink,
                     absl::Duration timeout,
                     std::function<void(absl::Status)> done) = 0;
  virtual void Upload(const v1::UploadHeader& header,
                      std::shared_ptr<const UploadSource> source,
                      absl::Duration timeout, Done<v1::UploadResult> done) = 0;
  virtual void Report(const v1::ReportRequest& request, absl::Duration timeout,
                      Done<v1::ReportResponse> done) = 0;
  // `on_message` is called for one message at a time, `on_closed` once and last
  // (OK: the coordinator ended the stream); both may be called before this
  // returns. Has no timeout: the coordinator waits for devices.
  virtual std::shared_ptr<SecureStream> OpenSecureAggregation(
      const v1::SecureAggregationJoin& join,
      std::function<void(v1::SecureAggregationResponse)> on_message,
      std::function<void(absl::Status)> on_closed) = 0;
  // Calls under way end with CANCELLED; later calls are possible.
  virtual void CancelAll() = 0;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_CONNECTION_H_
