#include "mledge/client/grpc/upload_call.h"

namespace mledge {

void FetchCall::Begin() {
  StartRead(&chunk_);
  StartCall();
}

void FetchCall::OnReadDone(bool ok) {
  if (!ok) return;
  sink_status_ = sink_(chunk_.data());
  if (!sink_status_.ok()) {
    context_.TryCancel();
    return;
  }
  StartRead(&chunk_);
}

void FetchCall::OnDone(const grpc::Status& status) {
  done_(&context_, status, sink_status_);
  delete this;
}

void UploadCall::Begin() {
  {
    MutexLock lock(&mutex_);
    MaybeWrite();  // the header
  }
  StartRead(&response_);
  StartCall();
}

void UploadCall::MaybeWrite() {
  if (writing_ || writes_ended_ || !failure_.ok()) return;
  absl::StatusOr<std::optional<v1::UploadRequest>> next =
      uploader_.NextRequest();
  if (!next.ok()) {
    Fail(next.status());
    return;
  }
  request_ = *std::move(next);
  if (request_.has_value()) {
    writing_ = true;
    StartWrite(&*request_);
  } else if (uploader_.all_sent() || uploader_.result().has_value()) {
    writes_ended_ = true;
    StartWritesDone();
  }
}

void UploadCall::Fail(absl::Status status) {
  if (failure_.ok()) failure_ = std::move(status);
  context_.TryCancel();
}

void UploadCall::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  // Not ok: the stream has broken, and OnDone says why.
  if (ok) MaybeWrite();
}

void UploadCall::OnReadDone(bool ok) {
  if (!ok) return;
  MutexLock lock(&mutex_);
  if (absl::Status status = uploader_.OnResponse(response_); !status.ok()) {
    Fail(std::move(status));
    return;
  }
  MaybeWrite();
  StartRead(&response_);
}

void UploadCall::OnDone(const grpc::Status& status) {
  absl::StatusOr<v1::UploadResult> result =
      absl::UnknownError("the upload has no result");
  {
    MutexLock lock(&mutex_);
    if (uploader_.result().has_value()) {
      result = *uploader_.result();
    } else if (!failure_.ok()) {
      result = failure_;
    }
  }
  done_(&context_, status, std::move(result));
  delete this;
}

}  // namespace mledge
