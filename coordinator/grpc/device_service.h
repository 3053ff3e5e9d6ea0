#ifndef MLEDGE_COORDINATOR_GRPC_DEVICE_SERVICE_H_
#define MLEDGE_COORDINATOR_GRPC_DEVICE_SERVICE_H_

#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/v1/device_service.grpc.pb.h"

// DeviceService over a Coordinator: checks who calls, moves the call to a
// thread that may block, and waits for nobody. Thread-safe.

namespace mledge {

class DeviceServiceAdapter final : public v1::DeviceService::CallbackService {
 public:
  // `environment` must outlive every call.
  explicit DeviceServiceAdapter(const ServiceEnvironment* environment)
      : environment_(*environment) {}

  grpc::ServerUnaryReactor* CheckIn(grpc::CallbackServerContext* context,
                                    const v1::CheckInRequest* request,
                                    v1::CheckInResponse* response) override;
  grpc::ServerWriteReactor<v1::FetchChunk>* Fetch(
      grpc::CallbackServerContext* context,
      const v1::FetchRequest* request) override;
  grpc::ServerBidiReactor<v1::UploadRequest, v1::UploadResponse>* Upload(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<v1::SecureAggregationRequest,
                          v1::SecureAggregationResponse>*
  SecureAggregation(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context,
                                   const v1::ReportRequest* request,
                                   v1::ReportResponse* response) override;

 private:
  const ServiceEnvironment& environment_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_DEVICE_SERVICE_H_
