#include "mledge/coordinator/grpc/admin_service.h"

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "mledge/coordinator/grpc/caller.h"
#include "mledge/coordinator/grpc/stream_reactor.h"
#include "mledge/coordinator/grpc/submit_reactor.h"
#include "mledge/coordinator/grpc/watch_reactor.h"
#include "mledge/core/status_macros.h"
#include "mledge/identity/grpc/status.h"

namespace mledge {
namespace {

// Lets operators in and runs `work`, which calls `finish` once.
using Finish = std::function<void(const absl::Status&)>;
grpc::ServerUnaryReactor* RunForOperator(const ServiceEnvironment& environment,
                                         grpc::CallbackServerContext* context,
                                         std::function<void(Finish)> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::StatusOr<Identity> caller = OperatorCaller(*context);
  if (!caller.ok()) {
    reactor->Finish(ToGrpcStatus(caller.status()));
    return reactor;
  }
  environment.executor->Schedule([reactor, work = std::move(work)] {
    work([reactor](const absl::Status& status) {
      reactor->Finish(ToGrpcStatus(status));
    });
  });
  return reactor;
}

// Version, package, parameters, in this order.
StreamReactor<v1::FetchModelChunk>::Source ChunksOf(
    Coordinator::ModelBlobs blobs) {
  return [blobs = std::move(blobs), sent_version = false, package = uint64_t{0},
          parameters = uint64_t{0}]() mutable
         -> absl::StatusOr<std::optional<v1::FetchModelChunk>> {
    v1::FetchModelChunk chunk;
    if (!sent_version) {
      sent_version = true;
      *chunk.mutable_version() = blobs.version;
    } else if (package < blobs.package->size_in_bytes()) {
      MLEDGE_ASSIGN_OR_RETURN(*chunk.mutable_package_chunk(),
                              blobs.package->Read(package, kFetchChunk));
      package += chunk.package_chunk().size();
    } else if (parameters < blobs.parameters->size_in_bytes()) {
      MLEDGE_ASSIGN_OR_RETURN(*chunk.mutable_parameters_chunk(),
                              blobs.parameters->Read(parameters, kFetchChunk));
      parameters += chunk.parameters_chunk().size();
    } else {
      return std::nullopt;
    }
    return chunk;
  };
}

}  // namespace

grpc::ServerReadReactor<v1::SubmitTaskRequest>* AdminServiceAdapter::SubmitTask(
    grpc::CallbackServerContext* context, v1::SubmitTaskResponse* response) {
  return new SubmitReactor(environment_, *context, response);
}

grpc::ServerUnaryReactor* AdminServiceAdapter::ListTasks(
    grpc::CallbackServerContext* context, const v1::ListTasksRequest* request,
    v1::ListTasksResponse* response) {
  return RunForOperator(
      environment_, context, [this, response](const Finish& finish) {
        for (v1::TaskSummary& task : environment_.coordinator->ListTasks()) {
          *response->add_tasks() = std::move(task);
        }
        finish(absl::OkStatus());
      });
}

grpc::ServerUnaryReactor* AdminServiceAdapter::GetTask(
    grpc::CallbackServerContext* context, const v1::GetTaskRequest* request,
    v1::GetTaskResponse* response) {
  return RunForOperator(
      environment_, context, [this, request, response](const Finish& finish) {
        absl::StatusOr<v1::GetTaskResponse> task =
            environment_.coordinator->GetTask(TaskId(request->task_id()));
        if (task.ok()) *response = std::move(*task);
        finish(task.status());
      });
}

grpc::ServerWriteReactor<v1::TaskEvent>* AdminServiceAdapter::WatchTask(
    grpc::CallbackServerContext* context, const v1::WatchTaskRequest* request) {
  return new WatchReactor(environment_, *context, *request);
}

grpc::ServerUnaryReactor* AdminServiceAdapter::CancelTask(
    grpc::CallbackServerContext* context, const v1::CancelTaskRequest* request,
    v1::CancelTaskResponse* response) {
  return RunForOperator(
      environment_, context, [this, request](const Finish& finish) {
        environment_.coordinator->CancelTask(
            environment_.clock->TimeNow(), TaskId(request->task_id()),
            [finish](const absl::StatusOr<v1::CancelTaskResponse>& result) {
              finish(result.status());
            });
      });
}

grpc::ServerWriteReactor<v1::FetchModelChunk>* AdminServiceAdapter::FetchModel(
    grpc::CallbackServerContext* context,
    const v1::FetchModelRequest* request) {
  using Reactor = StreamReactor<v1::FetchModelChunk>;
  const absl::StatusOr<Identity> caller = OperatorCaller(*context);
  if (!caller.ok()) return new Reactor(caller.status());
  std::optional<VersionNumber> version;
  if (request->has_version()) version = VersionNumber(request->version());
  return new Reactor(environment_.executor,
                     [this, task = TaskId(request->task_id()),
                      version]() -> absl::StatusOr<Reactor::Source> {
                       MLEDGE_ASSIGN_OR_RETURN(
                           Coordinator::ModelBlobs blobs,
                           environment_.coordinator->OpenModel(task, version));
                       return ChunksOf(std::move(blobs));
                     });
}

grpc::ServerUnaryReactor* AdminServiceAdapter::ListDevices(
    grpc::CallbackServerContext* context, const v1::ListDevicesRequest* request,
    v1::ListDevicesResponse* response) {
  return RunForOperator(environment_, context,
                        [this, response](const Finish& finish) {
                          for (v1::DeviceSummary& device :
                               environment_.coordinator->ListDevices()) {
                            *response->add_devices() = std::move(device);
                          }
                          finish(absl::OkStatus());
                        });
}

grpc::ServerUnaryReactor* AdminServiceAdapter::GetPrivacyLedger(
    grpc::CallbackServerContext* context,
    const v1::GetPrivacyLedgerRequest* request,
    v1::GetPrivacyLedgerResponse* response) {
  return RunForOperator(environment_, context,
                        [this, request, response](const Finish& finish) {
                          absl::StatusOr<v1::GetPrivacyLedgerResponse> ledger =
                              environment_.coordinator->GetPrivacyLedger(
                                  TaskId(request->task_id()));
                          if (ledger.ok()) *response = std::move(*ledger);
                          finish(ledger.status());
                        });
}

grpc::ServerUnaryReactor* AdminServiceAdapter::AdoptPrivacyLedger(
    grpc::CallbackServerContext* context,
    const v1::AdoptPrivacyLedgerRequest* request,
    v1::AdoptPrivacyLedgerResponse* response) {
  return RunForOperator(
      environment_, context, [this, request](const Finish& finish) {
        const absl::Time now = environment_.clock->TimeNow();
        const absl::StatusOr<Identity> signer =
            environment_.adoption_verifier->Verify(request->adoption(), now);
        if (!signer.ok()) {
          finish(Annotate(signer.status(),
                          "the adoption is not accepted (trusted_operators)"));
          return;
        }
        Coordinator::Adoption adoption;
        adoption.operator_id = signer->id;
        adoption.signed_adoption = request->adoption();
        if (!adoption.statement.ParseFromString(
                request->adoption().payload())) {
          finish(absl::InvalidArgumentError("what was signed is no adoption"));
          return;
        }
        environment_.coordinator->AdoptPrivacyLedger(
            now, std::move(adoption),
            [finish](
                const absl::StatusOr<v1::AdoptPrivacyLedgerResponse>& result) {
              finish(result.status());
            });
      });
}

}  // namespace mledge
