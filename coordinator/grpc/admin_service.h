#ifndef MLEDGE_COORDINATOR_GRPC_ADMIN_SERVICE_H_
#define MLEDGE_COORDINATOR_GRPC_ADMIN_SERVICE_H_

#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/v1/admin_service.grpc.pb.h"

// AdminService over a Coordinator, for operators. Thread-safe.

namespace mledge {

class AdminServiceAdapter final : public v1::AdminService::CallbackService {
 public:
  // `environment` must outlive every call.
  explicit AdminServiceAdapter(const ServiceEnvironment* environment)
      : environment_(*environment) {}

  grpc::ServerReadReactor<v1::SubmitTaskRequest>* SubmitTask(
      grpc::CallbackServerContext* context,
      v1::SubmitTaskResponse* response) override;
  grpc::ServerUnaryReactor* ListTasks(grpc::CallbackServerContext* context,
                                      const v1::ListTasksRequest* request,
                                      v1::ListTasksResponse* response) override;
  grpc::ServerUnaryReactor* GetTask(grpc::CallbackServerContext* context,
                                    const v1::GetTaskRequest* request,
                                    v1::GetTaskResponse* response) override;
  grpc::ServerWriteReactor<v1::TaskEvent>* WatchTask(
      grpc::CallbackServerContext* context,
      const v1::WatchTaskRequest* request) override;
  grpc::ServerUnaryReactor* CancelTask(
      grpc::CallbackServerContext* context,
      const v1::CancelTaskRequest* request,
      v1::CancelTaskResponse* response) override;
  grpc::ServerWriteReactor<v1::FetchModelChunk>* FetchModel(
      grpc::CallbackServerContext* context,
      const v1::FetchModelRequest* request) override;
  grpc::ServerUnaryReactor* ListDevices(
      grpc::CallbackServerContext* context,
      const v1::ListDevicesRequest* request,
      v1::ListDevicesResponse* response) override;
  grpc::ServerUnaryReactor* GetPrivacyLedger(
      grpc::CallbackServerContext* context,
      const v1::GetPrivacyLedgerRequest* request,
      v1::GetPrivacyLedgerResponse* response) override;
  grpc::ServerUnaryReactor* AdoptPrivacyLedger(
      grpc::CallbackServerContext* context,
      const v1::AdoptPrivacyLedgerRequest* request,
      v1::AdoptPrivacyLedgerResponse* response) override;

 private:
  const ServiceEnvironment& environment_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_ADMIN_SERVICE_H_
