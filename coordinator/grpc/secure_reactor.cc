#include "mledge/coordinator/grpc/secure_reactor.h"

#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/status.h"

namespace mledge {

SecureReactor::SecureReactor(const ServiceEnvironment& environment,
                             const grpc::CallbackServerContext& context)
    : environment_(environment), link_(std::make_shared<Link>()) {
  {
    MutexLock lock(&link_->mutex);
    link_->reactor = this;
  }
  absl::StatusOr<AdmittedDevice> device = AdmitDevice(environment, context);
  if (!device.ok()) {
    MutexLock lock(&mutex_);
    concluding_ = true;
    Finish(ToGrpcStatus(device.status()));
    return;
  }
  device_ = *std::move(device);
  StartRead(&request_);
}

void SecureReactor::OnReadDone(bool ok) {
  MutexLock lock(&mutex_);
  if (over_ || concluding_) return;
  if (!ok) {
    End(absl::CancelledError("the device went away"));
    return;
  }
  is_working_ = true;
  environment_.executor->Schedule([this] { Handle(); });
}

// What the coordinator holds of the stream; shared by the copies of its sink.
struct SecureReactor::SinkEnd {
  explicit SinkEnd(std::shared_ptr<Link> to) : link(std::move(to)) {}
  ~SinkEnd() {
    MutexLock lock(&link->mutex);
    if (link->reactor != nullptr) link->reactor->Dropped();
  }
  const std::shared_ptr<Link> link;
};

absl::Status SecureReactor::Join() {
  MLEDGE_ASSIGN_OR_RETURN(
      stream_, environment_.coordinator->JoinSecureAggregation(
                   environment_.clock->TimeNow(), device_.peer, request_.join(),
                   [end = std::make_shared<const SinkEnd>(link_)](
                       const v1::SecureAggregationResponse& response) {
                     MutexLock lock(&end->link->mutex);
                     SecureReactor* const reactor = end->link->reactor;
                     if (reactor != nullptr) reactor->Take(response);
                   }));
  return absl::OkStatus();
}

void SecureReactor::Dropped() {
  MutexLock lock(&mutex_);
  dropped_ = true;
  // The result still leaves; what is being worked on may end it otherwise.
  if (!saw_result_ && !is_working_) End(NothingMoreToSay());
}

absl::Status SecureReactor::NothingMoreToSay() {
  return absl::UnavailableError(
      "the coordinator has ended this stream; the device may come again");
}

void SecureReactor::Handle() {
  absl::Status status;
  if (request_.has_join() && stream_ == nullptr) {
    status = Join();
  } else if (request_.has_secagg() && stream_ != nullptr) {
    stream_->OnMessage(environment_.clock->TimeNow(), request_.secagg());
  } else {
    status = absl::InvalidArgumentError(
        "a stream of secure aggregation begins with one join, and messages of "
        "the session follow");
  }
  MutexLock lock(&mutex_);
  is_working_ = false;
  if (!status.ok()) {
    End(std::move(status));
  } else if (dropped_ && !saw_result_) {
    End(NothingMoreToSay());
  } else if (!over_) {
    StartRead(&request_);
  }
  MaybeConclude();
}

void SecureReactor::Take(const v1::SecureAggregationResponse& response) {
  MutexLock lock(&mutex_);
  if (over_ || saw_result_) return;
  if (waiting_.size() >= kMostWaiting) {
    End(absl::ResourceExhaustedError(
        "the device does not take its messages; it may come again"));
    return;
  }
  saw_result_ = response.has_result();
  waiting_.push_back(response);
  if (!is_writing_) WriteNext();
}

void SecureReactor::WriteNext() {
  writing_ = std::move(waiting_.front());
  waiting_.pop_front();
  is_writing_ = true;
  StartWrite(&writing_);
}

void SecureReactor::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  is_writing_ = false;
  if (!ok) {
    End(absl::CancelledError("the device went away"));
  } else if (!over_ && !waiting_.empty()) {
    WriteNext();
  } else if (saw_result_) {
    End(absl::OkStatus());
  }
  MaybeConclude();
}

void SecureReactor::OnCancel() {
  MutexLock lock(&mutex_);
  End(absl::CancelledError("the device went away"));
}

void SecureReactor::End(absl::Status status) {
  if (!over_) status_ = std::move(status);
  over_ = true;
  MaybeConclude();
}

void SecureReactor::MaybeConclude() {
  if (!over_ || is_writing_ || is_working_ || concluding_) return;
  concluding_ = true;
  environment_.executor->Schedule([this] { Conclude(); });
}

void SecureReactor::Conclude() {
  {
    MutexLock lock(&link_->mutex);
    link_->reactor = nullptr;
  }
  stream_.reset();
  grpc::Status status;
  {
    MutexLock lock(&mutex_);
    status = ToGrpcStatus(status_);
  }
  Finish(status);
}

}  // namespace mledge
