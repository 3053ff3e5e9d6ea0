#include "mledge/client/grpc/secure_stream_call.h"

namespace mledge {

void SecureStreamCall::Begin(const v1::SecureAggregationJoin& join) {
  self_ = shared_from_this();
  // Sends come from outside of gRPC's own reactions; as long as this hold
  // lasts, it is not done.
  AddHold();
  {
    MutexLock lock(&mutex_);
    *waiting_.emplace_back().mutable_join() = join;
    MaybeWrite();
  }
  StartRead(&response_);
  StartCall();
}

void SecureStreamCall::MaybeWrite() {
  if (writing_ || writes_ended_ || broken_) return;
  if (!waiting_.empty()) {
    writing_ = true;
    StartWrite(&waiting_.front());
  } else if (closing_) {
    writes_ended_ = true;
    StartWritesDone();
  }
}

void SecureStreamCall::Send(v1::SecaggDeviceMessage message) {
  MutexLock lock(&mutex_);
  if (closing_ || broken_) return;
  *waiting_.emplace_back().mutable_secagg() = std::move(message);
  MaybeWrite();
}

void SecureStreamCall::Close() {
  MutexLock lock(&mutex_);
  if (closing_) return;
  closing_ = true;
  MaybeWrite();
  if (self_ == nullptr) return;  // done already
  cut_off_.Set(std::chrono::system_clock::now() + kEndsWithin,
               [self = self_](bool not_ended) {
                 if (not_ended) self->context_.TryCancel();
               });
}

void SecureStreamCall::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  waiting_.pop_front();
  writing_ = false;
  // Not ok: the stream has broken; the read ends as well, and OnDone says why.
  if (ok) MaybeWrite();
}

void SecureStreamCall::OnReadDone(bool ok) {
  bool wanted = false;
  {
    MutexLock lock(&mutex_);
    if (!ok) broken_ = true;
    wanted = !closing_;
  }
  if (!ok) {
    RemoveHold();
    return;
  }
  if (wanted) {
    on_message_(std::move(response_));
  } else {
    // A coordinator that goes on talking to nobody is cut off.
    context_.TryCancel();
  }
  StartRead(&response_);
}

void SecureStreamCall::OnDone(const grpc::Status& status) {
  done_(&context_, status);
  std::shared_ptr<SecureStreamCall> last;
  MutexLock lock(&mutex_);
  last = std::move(self_);
  cut_off_.Cancel();
}

}  // namespace mledge
