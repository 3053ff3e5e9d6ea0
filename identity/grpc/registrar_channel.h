#ifndef MLEDGE_IDENTITY_GRPC_REGISTRAR_CHANNEL_H_
#define MLEDGE_IDENTITY_GRPC_REGISTRAR_CHANNEL_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "mledge/identity/grpc/peer_verifier.h"
#include "mledge/identity/grpc/registrar_verifier.h"
#include "mledge/identity/tls_identity.h"

// How a connection to the registrar is made, and what its failures mean. For
// this folder only.

namespace mledge {

struct RegistrarChannel {
  std::shared_ptr<grpc::Channel> channel;
  std::shared_ptr<HandshakeFailure> rejection;
  std::string address;

  // What a person can act on.
  absl::Status Explain(const grpc::Status& status) const;
};

// `name` empty: the host of `address`. `identity` null: shows no certificate,
// and `expected` names a fingerprint.
absl::StatusOr<RegistrarChannel> ConnectToRegistrar(
    const std::string& address, const std::string& name,
    RegistrarExpectation expected, const TlsIdentity* identity);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_REGISTRAR_CHANNEL_H_
