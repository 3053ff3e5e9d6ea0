#ifndef MLEDGE_COORDINATOR_GRPC_SUBMIT_REACTOR_H_
#define MLEDGE_COORDINATOR_GRPC_SUBMIT_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <string>

#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/v1/admin_service.pb.h"

// Takes a signed task and its package, has them checked (submission.h) and
// submits them.

namespace mledge {

class SubmitReactor final
    : public grpc::ServerReadReactor<v1::SubmitTaskRequest> {
 public:
  SubmitReactor(const ServiceEnvironment& environment,
                const grpc::CallbackServerContext& context,
                v1::SubmitTaskResponse* response);

  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  void Submit();
  void End(const absl::Status& status);

  const ServiceEnvironment& environment_;
  v1::SubmitTaskResponse* const response_;
  v1::SubmitTaskRequest request_;
  v1::SignedMessage signed_task_;
  bool has_task_ = false;
  bool ended_ = false;
  std::string package_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_SUBMIT_REACTOR_H_
