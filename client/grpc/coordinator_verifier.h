#ifndef MLEDGE_CLIENT_GRPC_COORDINATOR_VERIFIER_H_
#define MLEDGE_CLIENT_GRPC_COORDINATOR_VERIFIER_H_

#include <grpcpp/security/tls_certificate_verifier.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mledge/core/mutex.h"
#include "mledge/identity/certificate.h"

// Decides, after a TLS handshake, whether the peer is the coordinator that this
// device was told to talk to, and remembers why not: gRPC itself says only that
// "the handshake failed". Thread-safe.

namespace mledge {

// What the last rejected handshake was rejected for; shared by the verifier and
// the connection, which outlive each other in either order.
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

// The pure part. `chain_pem`: leaf first. UNAUTHENTICATED: the chain does not
// lead to `root` at `now`, the role is not coordinator, or the leaf does not
// carry `server_name`; says which, and what to do.
absl::Status CheckCoordinatorCertificate(std::string_view chain_pem,
                                         const Certificate& root,
                                         std::string_view server_name,
                                         absl::Time now);

class CoordinatorVerifier final
    : public grpc::experimental::ExternalCertificateVerifier {
 public:
  CoordinatorVerifier(Certificate root, std::string server_name,
                      std::shared_ptr<HandshakeFailure> failure);

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)> callback,
              grpc::Status* sync_status) override;
  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {
  }

 private:
  const Certificate root_;
  const std::string server_name_;
  const std::shared_ptr<HandshakeFailure> failure_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_GRPC_COORDINATOR_VERIFIER_H_
