#ifndef MLEDGE_IDENTITY_GRPC_PEER_VERIFIER_H_
#define MLEDGE_IDENTITY_GRPC_PEER_VERIFIER_H_

#include <grpcpp/security/credentials.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/mutex.h"
#include "mledge/identity/tls_identity.h"

// The client's end of TLS: our own decision, after the handshake, whether the
// peer is who this process was told to talk to, with the reason why not, where
// gRPC itself says only that "the handshake failed". Thread-safe.

namespace mledge {

// What the last handshake was rejected for; shared by the credentials and
// whoever explains errors, which outlive each other in either order.
class HandshakeFailure {
 public:
  void Set(absl::Status status) {
    MutexLock lock(&mutex_);
    status_ = std::move(status);
  }
  // OK when the last handshake that came as far was accepted.
  absl::Status Get() {
    MutexLock lock(&mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

// Whether that chain (PEM, leaf first) is the peer's. Called by gRPC's threads.
using PeerCheck = std::function<absl::Status(std::string_view chain_pem)>;

// TLS 1.3. `check` decides alone: it has to verify the chain up to a root, the
// role and the name. `identity`: what this process shows; null: nothing.
std::shared_ptr<grpc::ChannelCredentials> CheckedChannelCredentials(
    const TlsIdentity* identity, PeerCheck check,
    std::shared_ptr<HandshakeFailure> failure);

// The host of "host:port" or "[::1]:port". INVALID_ARGUMENT names `what`, the
// setting.
absl::StatusOr<std::string> HostOf(std::string_view what,
                                   const std::string& address);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_PEER_VERIFIER_H_
