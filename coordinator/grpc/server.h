#ifndef MLEDGE_COORDINATOR_GRPC_SERVER_H_
#define MLEDGE_COORDINATOR_GRPC_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/core/clock.h"
#include "mledge/v1/config.pb.h"

// The coordinator on the network: DeviceService and AdminService over mutual
// TLS 1.3. No gRPC in this header. Certificate, key and root are read again
// when their files change. Thread-safe.

namespace mledge {

class CoordinatorServer {
 public:
  struct Options {
    // "host:port"; port 0: any free one.
    std::string listen;
    v1::IdentityFiles identity;
    std::vector<std::string> trusted_operators;
    std::vector<std::string> trusted_model_signers;
    uint64_t maximum_upload_bytes = uint64_t{4} << 30;
    // A check-in is kept waiting for work at most so long.
    absl::Duration longest_check_in = absl::Seconds(20);
    // Calls under way of one device, over all its connections. It needs three
    // (one to check in or transfer, a stream of secure aggregation, a report);
    // those of connections that broke stay until they are found dead.
    int64_t maximum_calls_of_a_device = 16;
    // For calls that wait for the disk.
    int blocking_threads = 8;
  };

  // Both must outlive the server.
  struct Dependencies {
    Coordinator* coordinator = nullptr;
    Clock* clock = nullptr;
  };

  // UNAVAILABLE: cannot listen there (says why, e.g. "address already in use").
  // INVALID_ARGUMENT: an address that is none, a list of trusted ids that is
  // empty or malformed, identity files as LoadTlsIdentity.
  static absl::StatusOr<std::unique_ptr<CoordinatorServer>> Start(
      Options options, Dependencies dependencies);
  // Ends what Shutdown has not ended.
  virtual ~CoordinatorServer() = default;

  virtual int port() const = 0;
  // "host:port" with the port that was taken.
  virtual std::string address() const = 0;
  // Refuses new calls, lets those under way finish for `grace`, then cancels
  // them. Call Coordinator::Shutdown first: it answers devices that wait.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_SERVER_H_
