#ifndef MLEDGE_IDENTITY_GRPC_REGISTRAR_SERVICE_H_
#define MLEDGE_IDENTITY_GRPC_REGISTRAR_SERVICE_H_

#include <string>

#include "mledge/core/clock.h"
#include "mledge/core/executor.h"
#include "mledge/identity/registrar/registrar.h"
#include "mledge/v1/registrar_service.grpc.pb.h"

// The registrar's two services: who calls, from the certificate that TLS
// verified, and messages to calls of Registrar and back. gRPC has few threads
// of its own: everything that touches the disk runs on `executor`. Thread-safe.

namespace mledge {

struct RegistrarEnvironment {
  Registrar* registrar = nullptr;
  Executor* executor = nullptr;
  Clock* clock = nullptr;
  std::string root_pem;  // what enrolled devices get
};

class RegistrarServiceAdapter final
    : public v1::RegistrarService::CallbackService {
 public:
  explicit RegistrarServiceAdapter(const RegistrarEnvironment* environment)
      : environment_(*environment) {}

  grpc::ServerUnaryReactor* IssueCertificate(
      grpc::CallbackServerContext* context,
      const v1::IssueCertificateRequest* request,
      v1::IssueCertificateResponse* response) override;
  grpc::ServerUnaryReactor* GetRevocationList(
      grpc::CallbackServerContext* context,
      const v1::GetRevocationListRequest* request,
      v1::GetRevocationListResponse* response) override;
  grpc::ServerUnaryReactor* WitnessDirectory(
      grpc::CallbackServerContext* context,
      const v1::WitnessDirectoryRequest* request,
      v1::WitnessDirectoryResponse* response) override;
  grpc::ServerUnaryReactor* WitnessSets(
      grpc::CallbackServerContext* context,
      const v1::WitnessSetsRequest* request,
      v1::WitnessSetsResponse* response) override;
  grpc::ServerUnaryReactor* AppendVersion(
      grpc::CallbackServerContext* context,
      const v1::AppendVersionRequest* request,
      v1::AppendVersionResponse* response) override;
  grpc::ServerUnaryReactor* Revoke(grpc::CallbackServerContext* context,
                                   const v1::RevokeRequest* request,
                                   v1::RevokeResponse* response) override;
  grpc::ServerUnaryReactor* CreateEnrollmentToken(
      grpc::CallbackServerContext* context,
      const v1::CreateEnrollmentTokenRequest* request,
      v1::CreateEnrollmentTokenResponse* response) override;
  grpc::ServerUnaryReactor* ListIssued(
      grpc::CallbackServerContext* context,
      const v1::ListIssuedRequest* request,
      v1::ListIssuedResponse* response) override;

 private:
  const RegistrarEnvironment& environment_;
};

class EnrollmentServiceAdapter final
    : public v1::EnrollmentService::CallbackService {
 public:
  explicit EnrollmentServiceAdapter(const RegistrarEnvironment* environment)
      : environment_(*environment) {}

  grpc::ServerUnaryReactor* Enroll(grpc::CallbackServerContext* context,
                                   const v1::EnrollRequest* request,
                                   v1::EnrollResponse* response) override;

 private:
  const RegistrarEnvironment& environment_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_REGISTRAR_SERVICE_H_
