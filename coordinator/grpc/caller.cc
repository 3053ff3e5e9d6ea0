#include "mledge/coordinator/grpc/caller.h"

#include <string_view>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/grpc/caller_certificate.h"

namespace mledge {
namespace {

absl::StatusOr<Identity> CallerIdentity(
    const grpc::ServerContextBase& context) {
  MLEDGE_ASSIGN_OR_RETURN(CallerCertificate caller,
                          CallerOf(context, absl::Now()));
  return std::move(caller.identity);
}

absl::Status WrongRole(const Identity& identity, std::string_view needed) {
  return absl::PermissionDeniedError(
      StrCat("your certificate is that of ", identity.ToString(),
             "; this service is for ", needed,
             ": use a certificate of that role (mledge pki issue)"));
}

}  // namespace

absl::StatusOr<Peer> DeviceCaller(const grpc::ServerContextBase& context) {
  MLEDGE_ASSIGN_OR_RETURN(const Identity identity, CallerIdentity(context));
  switch (identity.role) {
    case Role::kDevice:
      return Peer{DeviceId(identity.id), Peer::Role::kDevice};
    case Role::kEvaluator:
      return Peer{DeviceId(identity.id), Peer::Role::kEvaluator};
    default:
      return WrongRole(identity, "the roles device and evaluator");
  }
}

absl::StatusOr<AdmittedDevice> AdmitDevice(
    const ServiceEnvironment& environment,
    const grpc::ServerContextBase& context) {
  AdmittedDevice device;
  MLEDGE_ASSIGN_OR_RETURN(device.peer, DeviceCaller(context));
  MLEDGE_ASSIGN_OR_RETURN(device.lease,
                          environment.device_calls->Begin(device.peer));
  return device;
}

absl::StatusOr<Identity> OperatorCaller(
    const grpc::ServerContextBase& context) {
  MLEDGE_ASSIGN_OR_RETURN(Identity identity, CallerIdentity(context));
  if (identity.role != Role::kOperator) {
    return WrongRole(identity, "the role operator");
  }
  return identity;
}

}  // namespace mledge
