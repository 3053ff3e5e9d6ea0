#ifndef MLEDGE_COORDINATOR_GRPC_STREAM_REACTOR_H_
#define MLEDGE_COORDINATOR_GRPC_STREAM_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/executor.h"
#include "mledge/identity/grpc/status.h"

// Sends a stream of messages that a function makes one after another: it runs
// on an executor, because it reads the disk, and only when the message before
// has left, so that one message is in memory. An empty optional ends the
// stream.

namespace mledge {

template <typename Message>
class StreamReactor final : public grpc::ServerWriteReactor<Message> {
 public:
  using Source = std::function<absl::StatusOr<std::optional<Message>>()>;

  // `open` runs first, on the executor, and returns the source or the status
  // with which the call ends.
  StreamReactor(Executor* executor,
                std::function<absl::StatusOr<Source>()> open)
      : executor_(executor) {
    executor_->Schedule([this, open = std::move(open)] {
      absl::StatusOr<Source> source = open();
      if (!source.ok()) {
        this->Finish(ToGrpcStatus(source.status()));
        return;
      }
      source_ = *std::move(source);
      SendNext();
    });
  }
  // For callers who are not let in.
  explicit StreamReactor(const absl::Status& status) : executor_(nullptr) {
    this->Finish(ToGrpcStatus(status));
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      this->Finish(
          grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
      return;
    }
    executor_->Schedule([this] { SendNext(); });
  }
  void OnDone() override { delete this; }

 private:
  void SendNext() {
    absl::StatusOr<std::optional<Message>> next = source_();
    if (!next.ok()) {
      this->Finish(ToGrpcStatus(next.status()));
    } else if (!next->has_value()) {
      this->Finish(grpc::Status::OK);
    } else {
      message_ = **std::move(next);
      this->StartWrite(&message_);
    }
  }

  Executor* const executor_;
  Source source_;
  Message message_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_STREAM_REACTOR_H_
