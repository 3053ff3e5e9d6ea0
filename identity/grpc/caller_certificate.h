#ifndef MLEDGE_IDENTITY_GRPC_CALLER_CERTIFICATE_H_
#define MLEDGE_IDENTITY_GRPC_CALLER_CERTIFICATE_H_

#include <grpcpp/server_context.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/identity/identity.h"

// Who makes a call, from the certificate that TLS verified. TLS looks at the
// dates when a connection begins, and never again; here they are looked at with
// each call. What the caller may do is for the service to say.

namespace mledge {

struct CallerCertificate {
  Identity identity;
  std::string serial;
};

// UNAUTHENTICATED: no certificate (cannot happen over our credentials), or one
// that has expired since. PERMISSION_DENIED: its identity cannot be read.
absl::StatusOr<CallerCertificate> CallerOf(
    const grpc::ServerContextBase& context, absl::Time now);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_CALLER_CERTIFICATE_H_
