#include "mledge/coordinator/grpc/submit_reactor.h"

#include <utility>

#include "mledge/coordinator/grpc/caller.h"
#include "mledge/coordinator/grpc/submission.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/status.h"

namespace mledge {

SubmitReactor::SubmitReactor(const ServiceEnvironment& environment,
                             const grpc::CallbackServerContext& context,
                             v1::SubmitTaskResponse* response)
    : environment_(environment), response_(response) {
  const absl::StatusOr<Identity> caller = OperatorCaller(context);
  if (!caller.ok()) {
    End(caller.status());
    return;
  }
  StartRead(&request_);
}

void SubmitReactor::OnReadDone(bool ok) {
  if (ended_) return;
  if (!ok) {
    if (!has_task_) {
      return End(absl::InvalidArgumentError(
          "a submission starts with the signed task"));
    }
    environment_.executor->Schedule([this] { Submit(); });
    return;
  }
  switch (request_.message_case()) {
    case v1::SubmitTaskRequest::kSignedTask:
      if (has_task_) {
        return End(absl::InvalidArgumentError("a second signed task came"));
      }
      has_task_ = true;
      signed_task_ = std::move(*request_.mutable_signed_task());
      break;
    case v1::SubmitTaskRequest::kPackageChunk:
      if (!has_task_) {
        return End(absl::InvalidArgumentError(
            "a submission starts with the signed task"));
      }
      if (request_.package_chunk().size() >
          environment_.maximum_upload_bytes - package_.size()) {
        return End(absl::ResourceExhaustedError(
            StrCat("the package is larger than the ",
                   environment_.maximum_upload_bytes,
                   " bytes that are taken here (maximum_upload_bytes)")));
      }
      package_.append(request_.package_chunk());
      break;
    case v1::SubmitTaskRequest::MESSAGE_NOT_SET:
      return End(absl::InvalidArgumentError("an empty message came"));
  }
  StartRead(&request_);
}

void SubmitReactor::Submit() {
  const absl::Time now = environment_.clock->TimeNow();
  absl::StatusOr<Coordinator::Submission> submission = CheckSubmission(
      signed_task_, std::move(package_), *environment_.task_verifier,
      *environment_.package_verifier, now);
  if (!submission.ok()) return End(submission.status());
  environment_.coordinator->SubmitTask(
      now, *std::move(submission), [this](absl::StatusOr<TaskId> task) {
        if (task.ok()) response_->set_task_id(task->value());
        End(task.status());
      });
}

void SubmitReactor::End(const absl::Status& status) {
  ended_ = true;
  Finish(ToGrpcStatus(status));
}

}  // namespace mledge
