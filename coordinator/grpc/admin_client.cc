#include "mledge/coordinator/grpc/admin_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/coordinator/grpc/credentials.h"
#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/status.h"
#include "mledge/v1/admin_service.grpc.pb.h"

namespace mledge {
namespace {

class GrpcAdminClient final : public AdminClient {
 public:
  GrpcAdminClient(Options options, std::shared_ptr<grpc::Channel> channel)
      : options_(std::move(options)),
        stub_(v1::AdminService::NewStub(std::move(channel))) {}

  absl::StatusOr<std::string> SubmitTask(
      const v1::SignedMessage& signed_task,
      std::string_view package_file) override {
    grpc::ClientContext context;
    v1::SubmitTaskResponse response;
    const auto writer = stub_->SubmitTask(&context, &response);
    v1::SubmitTaskRequest request;
    *request.mutable_signed_task() = signed_task;
    // A write that fails means that the answer is there already.
    bool open = writer->Write(request);
    while (open && !package_file.empty()) {
      const std::string_view chunk = package_file.substr(0, kFetchChunk);
      request.set_package_chunk(std::string(chunk));
      package_file.remove_prefix(chunk.size());
      open = writer->Write(request);
    }
    writer->WritesDone();
    MLEDGE_RETURN_IF_ERROR(Explain(writer->Finish()));
    return response.task_id();
  }

  absl::StatusOr<v1::ListTasksResponse> ListTasks() override {
    return Call<v1::ListTasksResponse>(&v1::AdminService::Stub::ListTasks,
                                       v1::ListTasksRequest());
  }

  absl::StatusOr<v1::GetTaskResponse> GetTask(
      const std::string& task) override {
    v1::GetTaskRequest request;
    request.set_task_id(task);
    return Call<v1::GetTaskResponse>(&v1::AdminService::Stub::GetTask, request);
  }

  absl::Status CancelTask(const std::string& task) override {
    v1::CancelTaskRequest request;
    request.set_task_id(task);
    return Call<v1::CancelTaskResponse>(&v1::AdminService::Stub::CancelTask,
                                        request)
        .status();
  }

  absl::StatusOr<v1::ListDevicesResponse> ListDevices() override {
    return Call<v1::ListDevicesResponse>(&v1::AdminService::Stub::ListDevices,
                                         v1::ListDevicesRequest());
  }

  absl::StatusOr<v1::GetPrivacyLedgerResponse> GetPrivacyLedger(
      const std::string& task) override {
    v1::GetPrivacyLedgerRequest request;
    request.set_task_id(task);
    return Call<v1::GetPrivacyLedgerResponse>(
        &v1::AdminService::Stub::GetPrivacyLedger, request);
  }

  absl::Status AdoptPrivacyLedger(const v1::SignedMessage& adoption) override {
    v1::AdoptPrivacyLedgerRequest request;
    *request.mutable_adoption() = adoption;
    return Call<v1::AdoptPrivacyLedgerResponse>(
               &v1::AdminService::Stub::AdoptPrivacyLedger, request)
        .status();
  }

  absl::Status WatchTask(
      const std::string& task,
      const std::function<void(const v1::TaskEvent&)>& event,
      const std::function<void(const absl::Status&)>& waiting) override {
    int64_t last_sequence = 0;
    bool ended = false;
    absl::Time reachable = absl::Now();
    absl::Duration pause = absl::Milliseconds(200);
    while (true) {
      grpc::ClientContext context;
      v1::WatchTaskRequest request;
      request.set_task_id(task);
      const auto reader = stub_->WatchTask(&context, request);
      v1::TaskEvent received;
      while (reader->Read(&received)) {
        reachable = absl::Now();
        pause = absl::Milliseconds(200);
        // Sequence 0: live only. Others come again after a reconnect.
        if (received.sequence() != 0 && received.sequence() <= last_sequence) {
          continue;
        }
        last_sequence = std::max(last_sequence, received.sequence());
        ended = ended || received.has_task_ended();
        event(received);
      }
      const absl::Status status = Explain(reader->Finish());
      if (ended) return absl::OkStatus();
      const bool broken = status.ok() || absl::IsUnavailable(status) ||
                          absl::IsCancelled(status);
      if (!broken || (last_sequence == 0 && !status.ok()) ||
          absl::Now() - reachable > options_.reconnect_for) {
        return status.ok() ? absl::UnavailableError(
                                 "the coordinator ended the stream of events")
                           : status;
      }
      waiting(status);
      absl::SleepFor(pause);
      pause = std::min(pause * 2, absl::Seconds(5));
    }
  }

  absl::StatusOr<Model> FetchModel(const std::string& task,
                                   std::optional<int64_t> version) override {
    grpc::ClientContext context;
    v1::FetchModelRequest request;
    request.set_task_id(task);
    if (version.has_value()) request.set_version(*version);
    const auto reader = stub_->FetchModel(&context, request);
    Model model;
    v1::FetchModelChunk chunk;
    while (reader->Read(&chunk)) {
      if (chunk.has_version()) model.version = chunk.version();
      if (chunk.has_package_chunk()) {
        model.package_file += chunk.package_chunk();
      }
      if (chunk.has_parameters_chunk()) {
        model.parameters += chunk.parameters_chunk();
      }
    }
    MLEDGE_RETURN_IF_ERROR(Explain(reader->Finish()));
    if (Sha256Of(model.parameters).ToBytes() !=
        model.version.parameters().sha256()) {
      return absl::DataLossError(
          StrCat("the parameters of version ", model.version.version(),
                 " that came have another SHA-256 than the version names"));
    }
    return model;
  }

 private:
  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(
      grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*,
                                                     const Request&, Response*),
      const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMilliseconds(options_.timeout));
    Response response;
    MLEDGE_RETURN_IF_ERROR(
        Explain((stub_.get()->*method)(&context, request, &response)));
    return response;
  }

  absl::Status Explain(const grpc::Status& status) const {
    absl::Status translated = FromGrpcStatus(status);
    if (absl::IsUnavailable(translated)) {
      return absl::UnavailableError(StrCat(
          "cannot reach the coordinator at ", options_.coordinator, ": ",
          translated.message(),
          ". Is it running there, and do both sides' certificates come from "
          "the same root and hold?"));
    }
    if (absl::IsDeadlineExceeded(translated)) {
      return absl::DeadlineExceededError(StrCat(
          "the coordinator at ", options_.coordinator,
          " did not answer within ", absl::FormatDuration(options_.timeout)));
    }
    return translated;
  }

  const Options options_;
  const std::unique_ptr<v1::AdminService::Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdminClient>> AdminClient::Create(
    Options options, const TlsIdentity& identity) {
  const size_t colon = options.coordinator.rfind(':');
  if (colon == std::string::npos || colon == 0 ||
      colon + 1 == options.coordinator.size()) {
    return absl::InvalidArgumentError(
        StrCat("'", options.coordinator,
               "' is no address of a coordinator; write host:port"));
  }
  grpc::ChannelArguments arguments;
  if (!options.coordinator_name.empty()) {
    arguments.SetSslTargetNameOverride(options.coordinator_name);
  }
  arguments.SetMaxReceiveMessageSize(64 << 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Notices a coordinator that vanished without a word.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(
      options.coordinator, MutualTlsChannelCredentials(identity), arguments);
  return std::make_unique<GrpcAdminClient>(std::move(options),
                                           std::move(channel));
}

}  // namespace mledge
