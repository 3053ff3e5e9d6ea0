#ifndef MLEDGE_COORDINATOR_GRPC_CREDENTIALS_H_
#define MLEDGE_COORDINATOR_GRPC_CREDENTIALS_H_

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/v1/config.pb.h"

// TLS 1.3 with certificates on both sides, for both ends of a connection.

namespace mledge {

// Reads the files again every few seconds.
std::shared_ptr<grpc::ServerCredentials> MutualTlsServerCredentials(
    const v1::IdentityFiles& files);

std::shared_ptr<grpc::ChannelCredentials> MutualTlsChannelCredentials(
    const TlsIdentity& identity);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_CREDENTIALS_H_
