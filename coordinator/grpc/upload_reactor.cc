#include "mledge/coordinator/grpc/upload_reactor.h"

#include <span>
#include <utility>

#include "mledge/coordinator/storage_trouble.h"
#include "mledge/core/bytes.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/status.h"

namespace mledge {

UploadReactor::UploadReactor(const ServiceEnvironment& environment,
                             const grpc::CallbackServerContext& context)
    : environment_(environment) {
  absl::StatusOr<AdmittedDevice> device = AdmitDevice(environment, context);
  MutexLock lock(&mutex_);
  if (!device.ok()) {
    // gRPC has not seen this object yet: it cannot die before the constructor
    // has returned.
    ended_ = true;
    Finish(ToGrpcStatus(device.status()));
    return;
  }
  device_ = *std::move(device);
  reading_ = true;
  StartRead(&request_);
}

UploadReactor::Next UploadReactor::Decide() {
  if (ended_ || working_) return {};
  if (failure_.has_value() && !HasBytesToKeep()) {
    ended_ = true;
    // Closed here, so that the next attempt finds it closed.
    writer_.reset();
    return {.end = failure_};
  }
  working_ = true;
  return {.work = true};
}

void UploadReactor::Do(const Next& next) {
  if (next.end.has_value()) {
    Finish(ToGrpcStatus(*next.end));
  } else if (next.work) {
    environment_.executor->Schedule([this] { Work(); });
  }
}

bool UploadReactor::HasBytesToKeep() const {
  return broken_off_ && writer_ != nullptr && !chunks_.empty();
}

void UploadReactor::Fail(absl::Status status) {
  if (!failure_.has_value()) failure_ = std::move(status);
}

void UploadReactor::OnReadDone(bool ok) {
  Next next;
  {
    MutexLock lock(&mutex_);
    reading_ = false;
    if (ok) {
      if (has_header_) {
        TakeChunk();
      } else {
        TakeHeader();
      }
    } else {
      broken_off_ = !failure_.has_value();
      Fail(absl::AbortedError(
          has_header_ ? StrCat("the upload of assignment ",
                               header_.assignment_id(), " ended after ",
                               received_, " of ", header_.size_in_bytes(),
                               " bytes: send the header again to go on")
                      : std::string("the upload ended before its header")));
    }
    next = Decide();
  }
  Do(next);
}

void UploadReactor::OnWriteDone(bool ok) {
  Next next;
  {
    MutexLock lock(&mutex_);
    resume_sent_ = true;
    if (!ok) Fail(absl::CancelledError("the device went away"));
    ReceiveNext();
    next = Decide();
  }
  Do(next);
}

void UploadReactor::TakeHeader() {
  if (request_.message_case() != v1::UploadRequest::kHeader) {
    return Fail(absl::InvalidArgumentError("an upload starts with its header"));
  }
  header_ = request_.header();
  has_header_ = true;
  if (header_.content_sha256().size() != 32 || header_.size_in_bytes() == 0) {
    Fail(absl::InvalidArgumentError(
        "an upload's header needs a content_sha256 of 32 bytes and a size"));
  }
}

void UploadReactor::TakeChunk() {
  if (request_.message_case() != v1::UploadRequest::kChunk) {
    return Fail(
        absl::InvalidArgumentError("after the header only chunks may follow"));
  }
  std::string chunk = std::move(*request_.mutable_chunk());
  if (chunk.size() > kMaximumUploadChunk) {
    return Fail(absl::ResourceExhaustedError(
        StrCat("a chunk of ", chunk.size(), " bytes is larger than the ",
               kMaximumUploadChunk, " that are allowed")));
  }
  if (chunk.size() > header_.size_in_bytes() - received_) {
    return Fail(absl::InvalidArgumentError(
        StrCat("more bytes came than the ", header_.size_in_bytes(),
               " that the header announced")));
  }
  received_ += chunk.size();
  chunks_.push_back(std::move(chunk));
  ReceiveNext();
}

void UploadReactor::ReceiveNext() {
  if (reading_ || failure_.has_value() || !resume_sent_ ||
      received_ == header_.size_in_bytes() ||
      received_ - written_ >= kBytesHeld) {
    return;
  }
  reading_ = true;
  StartRead(&request_);
}

void UploadReactor::Work() {
  enum class Step { kBegin, kWrite, kFinish } step;
  Next next;
  {
    MutexLock lock(&mutex_);
    if (writer_ == nullptr) {
      step = Step::kBegin;
    } else if (written_ == header_.size_in_bytes()) {
      step = Step::kFinish;
    } else {
      step = Step::kWrite;
    }
  }
  switch (step) {
    case Step::kBegin:
      return Begin();
    case Step::kWrite:
      return WriteChunks();
    case Step::kFinish:
      return FinishUpload();
  }
}

void UploadReactor::Begin() {
  v1::UploadHeader header;
  {
    MutexLock lock(&mutex_);
    header = header_;
  }
  if (header.size_in_bytes() > environment_.maximum_upload_bytes) {
    v1::UploadResult refused;
    refused.set_outcome(v1::UploadResult::REFUSED);
    refused.set_reason(StrCat("the update has ", header.size_in_bytes(),
                              " bytes; at most ",
                              environment_.maximum_upload_bytes,
                              " are taken here (maximum_upload_bytes)"));
    return EndWith(refused);
  }
  absl::StatusOr<Coordinator::UploadStart> start =
      environment_.coordinator->BeginUpload(environment_.clock->TimeNow(),
                                            device_.peer, header);
  if (start.ok() && start->result.has_value()) return EndWith(*start->result);
  Next next;
  {
    MutexLock lock(&mutex_);
    working_ = false;
    if (start.ok()) {
      writer_ = std::move(start->writer);
      received_ = written_ = writer_->offset();
      response_.mutable_resume()->set_offset(received_);
      // Goes on in OnWriteDone.
      StartWrite(&response_);
      return;
    }
    Fail(start.status());
    next = Decide();
  }
  Do(next);
}

void UploadReactor::WriteChunks() {
  while (true) {
    std::string chunk;
    SpoolWriter* writer = nullptr;
    Next next;
    {
      MutexLock lock(&mutex_);
      if (chunks_.empty() || (failure_.has_value() && !HasBytesToKeep())) {
        working_ = false;
        if (failure_.has_value() || written_ == header_.size_in_bytes()) {
          next = Decide();
        } else {
          return;
        }
      } else {
        chunk = std::move(chunks_.front());
        chunks_.pop_front();
        writer = writer_.get();
      }
    }
    if (writer == nullptr) return Do(next);
    const absl::Status status = writer->Append(AsBytes(chunk));
    MutexLock lock(&mutex_);
    written_ += chunk.size();
    if (!status.ok()) {
      broken_off_ = false;
      Fail(MayPass(status));
    }
    ReceiveNext();
  }
}

void UploadReactor::FinishUpload() {
  v1::UploadHeader header;
  std::unique_ptr<SpoolWriter> writer;
  {
    MutexLock lock(&mutex_);
    header = header_;
    writer = std::move(writer_);
  }
  environment_.coordinator->FinishUpload(
      environment_.clock->TimeNow(), device_.peer, header, std::move(writer),
      [this](absl::StatusOr<v1::UploadResult> result) {
        if (result.ok()) return EndWith(*result);
        {
          MutexLock lock(&mutex_);
          ended_ = true;
        }
        Finish(ToGrpcStatus(result.status()));
      });
}

void UploadReactor::EndWith(const v1::UploadResult& result) {
  {
    MutexLock lock(&mutex_);
    ended_ = true;
    writer_.reset();
    *response_.mutable_result() = result;
  }
  StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
}

}  // namespace mledge
