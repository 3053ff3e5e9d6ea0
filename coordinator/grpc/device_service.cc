#include "mledge/coordinator/grpc/device_service.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "mledge/coordinator/grpc/caller.h"
#include "mledge/coordinator/grpc/secure_reactor.h"
#include "mledge/coordinator/grpc/stream_reactor.h"
#include "mledge/coordinator/grpc/upload_reactor.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/status.h"

namespace mledge {
namespace {

// Answers a call that waits for a coordinator's callback.
template <typename Response>
Coordinator::Done<Response> Answer(DeviceCalls::Lease lease,
                                   grpc::ServerUnaryReactor* reactor,
                                   Response* response) {
  return [lease = std::move(lease), reactor,
          response](absl::StatusOr<Response> result) {
    if (result.ok()) *response = std::move(*result);
    reactor->Finish(ToGrpcStatus(result.status()));
  };
}

// The blob's messages from an offset on.
StreamReactor<v1::FetchChunk>::Source ChunksOf(
    std::shared_ptr<const BlobReader> blob, uint64_t offset,
    DeviceCalls::Lease lease) {
  return [blob = std::move(blob), offset, lease = std::move(lease)]() mutable
         -> absl::StatusOr<std::optional<v1::FetchChunk>> {
    if (offset == blob->size_in_bytes()) return std::nullopt;
    v1::FetchChunk chunk;
    MLEDGE_ASSIGN_OR_RETURN(*chunk.mutable_data(),
                            blob->Read(offset, kFetchChunk));
    offset += chunk.data().size();
    return chunk;
  };
}

}  // namespace

grpc::ServerUnaryReactor* DeviceServiceAdapter::CheckIn(
    grpc::CallbackServerContext* context, const v1::CheckInRequest* request,
    v1::CheckInResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::StatusOr<AdmittedDevice> device =
      AdmitDevice(environment_, *context);
  if (!device.ok()) {
    reactor->Finish(ToGrpcStatus(device.status()));
    return reactor;
  }
  const absl::Time now = environment_.clock->TimeNow();
  // The answer must be back before the device gives up.
  const absl::Time wait_until =
      std::min(absl::FromChrono(context->deadline()) - absl::Seconds(1),
               now + environment_.longest_check_in);
  environment_.executor->Schedule([=, this, device = *device] {
    environment_.coordinator->CheckIn(environment_.clock->TimeNow(),
                                      device.peer, *request, wait_until,
                                      Answer(device.lease, reactor, response));
  });
  return reactor;
}

grpc::ServerWriteReactor<v1::FetchChunk>* DeviceServiceAdapter::Fetch(
    grpc::CallbackServerContext* context, const v1::FetchRequest* request) {
  using Reactor = StreamReactor<v1::FetchChunk>;
  const absl::StatusOr<AdmittedDevice> device =
      AdmitDevice(environment_, *context);
  if (!device.ok()) {
    // At RESOURCE_EXHAUSTED a device gives a fetch up: it means its own disk.
    return new Reactor(absl::IsResourceExhausted(device.status())
                           ? absl::UnavailableError(device.status().message())
                           : device.status());
  }
  const absl::StatusOr<Digest> name = Digest::FromBytes(request->sha256());
  if (!name.ok()) return new Reactor(name.status());
  return new Reactor(
      environment_.executor,
      [this, device = *device, name = *name,
       offset = request->offset()]() -> absl::StatusOr<Reactor::Source> {
        MLEDGE_ASSIGN_OR_RETURN(
            std::shared_ptr<const BlobReader> blob,
            environment_.coordinator->OpenBlob(device.peer, name));
        if (offset > blob->size_in_bytes()) {
          return absl::OutOfRangeError(
              StrCat("offset ", offset, " lies past the ",
                     blob->size_in_bytes(), " bytes of blob ", name.ToHex()));
        }
        return ChunksOf(std::move(blob), offset, device.lease);
      });
}

grpc::ServerBidiReactor<v1::UploadRequest, v1::UploadResponse>*
DeviceServiceAdapter::Upload(grpc::CallbackServerContext* context) {
  return new UploadReactor(environment_, *context);
}

grpc::ServerBidiReactor<v1::SecureAggregationRequest,
                        v1::SecureAggregationResponse>*
DeviceServiceAdapter::SecureAggregation(grpc::CallbackServerContext* context) {
  return new SecureReactor(environment_, *context);
}

grpc::ServerUnaryReactor* DeviceServiceAdapter::Report(
    grpc::CallbackServerContext* context, const v1::ReportRequest* request,
    v1::ReportResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::StatusOr<AdmittedDevice> device =
      AdmitDevice(environment_, *context);
  if (!device.ok()) {
    reactor->Finish(ToGrpcStatus(device.status()));
    return reactor;
  }
  environment_.executor->Schedule([=, this, device = *device] {
    environment_.coordinator->Report(environment_.clock->TimeNow(), device.peer,
                                     *request,
                                     Answer(device.lease, reactor, response));
  });
  return reactor;
}

}  // namespace mledge
