#ifndef MLEDGE_IDENTITY_GRPC_REGISTRAR_VERIFIER_H_
#define MLEDGE_IDENTITY_GRPC_REGISTRAR_VERIFIER_H_

#include <grpcpp/security/tls_certificate_verifier.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mledge/core/mutex.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/certificate.h"

// Decides, after a TLS handshake, whether the peer is the registrar that this
// process was told to talk to, and remembers why not: gRPC itself says only
// that "the handshake failed". Thread-safe.

namespace mledge {

// Whom to take for the registrar.
struct RegistrarExpectation {
  // Either the root that is trusted, or, for who has none yet, its fingerprint:
  // then the peer has to send the root at the end of its chain.
  std::optional<Certificate> root;
  std::optional<Digest> root_fingerprint;
  // Name or address that the peer's certificate must carry.
  std::string name;
};

// The pure part. `chain_pem`: leaf first. UNAUTHENTICATED: the chain does not
// lead to the root at `now`, the role is not registrar-server, or the leaf is
// for another name; says which, and what to do.
absl::Status CheckRegistrarCertificate(std::string_view chain_pem,
                                       const RegistrarExpectation& expected,
                                       absl::Time now);

// What the last handshake was rejected for; shared by the verifier and the
// client, which outlive each other in either order.
class RegistrarRejection {
 public:
  void Set(absl::Status status) {
    MutexLock lock(&mutex_);
    status_ = std::move(status);
  }
  absl::Status Get() {
    MutexLock lock(&mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

class RegistrarVerifier final
    : public grpc::experimental::ExternalCertificateVerifier {
 public:
  RegistrarVerifier(RegistrarExpectation expected,
                    std::shared_ptr<RegistrarRejection> rejection)
      : expected_(std::move(expected)), rejection_(std::move(rejection)) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)> callback,
              grpc::Status* sync_status) override;
  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {
  }

 private:
  const RegistrarExpectation expected_;
  const std::shared_ptr<RegistrarRejection> rejection_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_REGISTRAR_VERIFIER_H_
