#include "mledge/coordinator/grpc/caller.h"

#include <grpc/grpc_security_constants.h>

#include <string_view>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"

namespace mledge {
namespace {

absl::StatusOr<Identity> CallerIdentity(
    const grpc::ServerContextBase& context) {
  const std::vector<grpc::string_ref> certificates =
      context.auth_context()->FindPropertyValues(
          GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (certificates.size() != 1) {
    return absl::UnauthenticatedError(
        "the connection shows no client certificate");
  }
  const std::string_view pem(certificates[0].data(), certificates[0].size());
  const absl::StatusOr<Identity> identity = IdentityFromPem(pem);
  if (!identity.ok()) {
    return absl::PermissionDeniedError(StrCat(
        "your certificate is not accepted: ", identity.status().message()));
  }
  // TLS looked at the dates when the connection began, which may be long ago.
  MLEDGE_ASSIGN_OR_RETURN(const Certificate certificate,
                          Certificate::FromPem(pem));
  if (absl::Now() >= certificate.not_after()) {
    return absl::UnauthenticatedError(
        StrCat("the certificate of ", identity->ToString(), " expired on ",
               absl::FormatTime(certificate.not_after(), absl::UTCTimeZone()),
               " while this connection was open: connect again with a new "
               "one"));
  }
  return identity;
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
