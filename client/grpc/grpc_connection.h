#ifndef MLEDGE_CLIENT_GRPC_GRPC_CONNECTION_H_
#define MLEDGE_CLIENT_GRPC_GRPC_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/client/connection.h"
#include "mledge/identity/tls_identity.h"

// The device service over gRPC and mutual TLS 1.3. The linked gRPC cannot be
// told to leave out TLS 1.2, so this is set for all TLS connections of the
// process (identity/tls_policy.h). There is no plaintext mode: the
// coordinator's certificate must lead to the device's own root, carry the role
// coordinator and the expected name, and the device's certificate is always
// shown. Reconnects by itself; thread-safe.

namespace mledge {

struct GrpcConnectionOptions {
  // "host:port" of the coordinator. Required.
  std::string target;
  // Name or address that the coordinator's certificate must carry. Empty: the
  // host of `target`.
  std::string server_name;
  // An idle connection is probed after this long, because routers forget; a
  // probe without answer for `keepalive_timeout` ends it.
  absl::Duration keepalive_interval = absl::Seconds(60);
  absl::Duration keepalive_timeout = absl::Seconds(20);
  // Pauses between attempts to connect grow from the first to the second.
  absl::Duration first_reconnect = absl::Milliseconds(200);
  absl::Duration last_reconnect = absl::Seconds(10);
};

// INVALID_ARGUMENT: no target, or one without port. UNAUTHENTICATED: the
// device's own certificate is of no use (says why). Does not connect yet.
absl::StatusOr<std::unique_ptr<Connection>> CreateGrpcConnection(
    const GrpcConnectionOptions& options, const TlsIdentity& identity);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_GRPC_GRPC_CONNECTION_H_
