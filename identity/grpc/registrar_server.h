#ifndef MLEDGE_IDENTITY_GRPC_REGISTRAR_SERVER_H_
#define MLEDGE_IDENTITY_GRPC_REGISTRAR_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/clock.h"
#include "mledge/identity/registrar/registrar.h"

// The registrar on the network: RegistrarService over mutual TLS 1.3 and, where
// asked for, EnrollmentService on a port of its own, with the server's
// certificate only. No gRPC in this header. Certificate, key and root are read
// again when their files change. Thread-safe.

namespace mledge {

class RegistrarServer {
 public:
  struct Options {
    // "host:port"; port 0: any free one.
    std::string listen;
    // Empty: nobody can enroll.
    std::string enroll_listen;
    // PEM files: chain (leaf, registrar, root), key, root. The chain shows the
    // root, so that a device that knows no more than its fingerprint can check.
    std::string certificate_file;
    std::string private_key_file;
    std::string root_file;
  };

  // Both must outlive the server.
  struct Dependencies {
    Registrar* registrar = nullptr;
    Clock* clock = nullptr;
  };

  // UNAVAILABLE: cannot listen there. INVALID_ARGUMENT: an address that is
  // none. Else as ReadFile.
  static absl::StatusOr<std::unique_ptr<RegistrarServer>> Start(
      Options options, Dependencies dependencies);
  // Ends what Shutdown has not ended.
  virtual ~RegistrarServer() = default;

  // "host:port" with the port that was taken; the second empty where nobody can
  // enroll.
  virtual std::string address() const = 0;
  virtual std::string enroll_address() const = 0;
  // Refuses new calls, lets those under way finish for `grace`, then cancels
  // them.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_REGISTRAR_SERVER_H_
