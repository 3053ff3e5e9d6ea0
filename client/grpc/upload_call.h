#ifndef MLEDGE_CLIENT_GRPC_UPLOAD_CALL_H_
#define MLEDGE_CLIENT_GRPC_UPLOAD_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/connection.h"
#include "mledge/client/uploader.h"
#include "mledge/core/mutex.h"
#include "mledge/v1/device_service.pb.h"

// The two streaming calls of the device service as gRPC reactors. Each deletes
// itself after it has called `done`, once. Thread-safe as reactors are.

namespace mledge {

class FetchCall final : public grpc::ClientReadReactor<v1::FetchChunk> {
 public:
  // `sink_status` is what the sink said first that was not OK.
  using Done =
      std::function<void(grpc::ClientContext* context, const grpc::Status&,
                         const absl::Status& sink_status)>;

  FetchCall(BlobSink sink, Done done)
      : sink_(std::move(sink)), done_(std::move(done)) {}

  grpc::ClientContext* context() { return &context_; }
  // After the stub has bound this reactor.
  void Begin();

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  v1::FetchRequest request;

 private:
  grpc::ClientContext context_;
  const BlobSink sink_;
  const Done done_;
  v1::FetchChunk chunk_;
  absl::Status sink_status_;
};

// Drives an Uploader over the stream.
class UploadCall final
    : public grpc::ClientBidiReactor<v1::UploadRequest, v1::UploadResponse> {
 public:
  // `result` is UNKNOWN when the stream ended before the coordinator said
  // anything final; then the status of the stream says why.
  using Done =
      std::function<void(grpc::ClientContext* context, const grpc::Status&,
                         absl::StatusOr<v1::UploadResult> result)>;

  UploadCall(const v1::UploadHeader& header,
             std::shared_ptr<const UploadSource> source, Done done)
      : source_(std::move(source)),
        done_(std::move(done)),
        uploader_(header, source_.get()) {}

  grpc::ClientContext* context() { return &context_; }
  void Begin();

  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  // Sends what the uploader has, if nothing is being sent.
  void MaybeWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  grpc::ClientContext context_;
  const std::shared_ptr<const UploadSource> source_;
  const Done done_;

  // Reads and writes are completed on different threads.
  Mutex mutex_;
  Uploader uploader_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::UploadRequest> request_ ABSL_GUARDED_BY(mutex_);
  v1::UploadResponse response_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool writes_ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_GRPC_UPLOAD_CALL_H_
