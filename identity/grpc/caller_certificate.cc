#include "mledge/identity/grpc/caller_certificate.h"

#include <grpc/grpc_security_constants.h>

#include <string_view>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"

namespace mledge {

absl::StatusOr<CallerCertificate> CallerOf(
    const grpc::ServerContextBase& context, absl::Time now) {
  const std::vector<grpc::string_ref> certificates =
      context.auth_context()->FindPropertyValues(
          GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (certificates.size() != 1) {
    return absl::UnauthenticatedError(
        "the connection shows no client certificate");
  }
  const std::string_view pem(certificates[0].data(), certificates[0].size());
  const absl::StatusOr<Identity> identity = IdentityFromPem(pem);
  const absl::StatusOr<Certificate> certificate = Certificate::FromPem(pem);
  if (!identity.ok() || !certificate.ok()) {
    return absl::PermissionDeniedError(
        StrCat("your certificate is not accepted: ",
               identity.ok() ? certificate.status().message()
                             : identity.status().message()));
  }
  if (now >= certificate->not_after()) {
    return absl::UnauthenticatedError(
        StrCat("the certificate of ", identity->ToString(), " expired on ",
               absl::FormatTime(certificate->not_after(), absl::UTCTimeZone()),
               " while this connection was open: connect again with a new one "
               "(mledge pki issue or enroll)"));
  }
  return CallerCertificate{*identity, certificate->serial()};
}

}  // namespace mledge
