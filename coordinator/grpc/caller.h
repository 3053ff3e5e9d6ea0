#ifndef MLEDGE_COORDINATOR_GRPC_CALLER_H_
#define MLEDGE_COORDINATOR_GRPC_CALLER_H_

#include <grpcpp/server_context.h>

#include "absl/status/statusor.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/identity/identity.h"

// Who makes a call, from the certificate that TLS verified, and whether the
// service is for that role. A device has no other way to say who it is.

namespace mledge {

// Codes of CallerOf (identity/grpc/caller_certificate.h). PERMISSION_DENIED:
// also a certificate of another role.
absl::StatusOr<Peer> DeviceCaller(const grpc::ServerContextBase& context);
// The same, counted among the device's calls for as long as the lease is held.
// Also RESOURCE_EXHAUSTED: it has too many under way.
struct AdmittedDevice {
  Peer peer;
  DeviceCalls::Lease lease;
};
absl::StatusOr<AdmittedDevice> AdmitDevice(
    const ServiceEnvironment& environment,
    const grpc::ServerContextBase& context);
absl::StatusOr<Identity> OperatorCaller(const grpc::ServerContextBase& context);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_CALLER_H_
