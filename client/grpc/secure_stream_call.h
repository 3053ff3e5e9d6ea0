#ifndef MLEDGE_CLIENT_GRPC_SECURE_STREAM_CALL_H_
#define MLEDGE_CLIENT_GRPC_SECURE_STREAM_CALL_H_

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "mledge/client/connection.h"
#include "mledge/core/mutex.h"
#include "mledge/v1/device_service.pb.h"

// The stream of secure aggregation as a gRPC reactor. It keeps itself alive
// until gRPC is done with it, and its holder may keep it longer. Thread-safe.

namespace mledge {

class SecureStreamCall final
    : public grpc::ClientBidiReactor<v1::SecureAggregationRequest,
                                     v1::SecureAggregationResponse>,
      public SecureStream,
      public std::enable_shared_from_this<SecureStreamCall> {
 public:
  using OnMessage = std::function<void(v1::SecureAggregationResponse)>;
  using Done =
      std::function<void(grpc::ClientContext* context, const grpc::Status&)>;

  SecureStreamCall(OnMessage on_message, Done done)
      : on_message_(std::move(on_message)), done_(std::move(done)) {}

  grpc::ClientContext* context() { return &context_; }
  // After the stub has bound this reactor, which a shared_ptr owns.
  void Begin(const v1::SecureAggregationJoin& join);

  void Send(v1::SecaggDeviceMessage message) override;
  void Close() override;

  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  // Sends what waits, if nothing is being sent.
  void MaybeWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // A coordinator that does not end a stream that this side has closed.
  static constexpr std::chrono::seconds kEndsWithin{2};

  grpc::ClientContext context_;
  grpc::Alarm cut_off_;
  const OnMessage on_message_;
  const Done done_;
  std::shared_ptr<SecureStreamCall> self_;
  v1::SecureAggregationResponse response_;

  // Sends come from any thread, gRPC's answers from its own.
  Mutex mutex_;
  std::deque<v1::SecureAggregationRequest> waiting_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool writes_ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  // Nothing may be started any more: gRPC is, or will soon be, done.
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_GRPC_SECURE_STREAM_CALL_H_
