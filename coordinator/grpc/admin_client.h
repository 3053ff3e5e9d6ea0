#ifndef MLEDGE_COORDINATOR_GRPC_ADMIN_CLIENT_H_
#define MLEDGE_COORDINATOR_GRPC_ADMIN_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/identity/tls_identity.h"
#include "mledge/v1/admin_service.pb.h"
#include "mledge/v1/signature.pb.h"

// An operator's connection to a coordinator. Calls block. No gRPC in this
// header. Thread-safe.
//
// Codes besides those of admin_service.proto: UNAVAILABLE (no coordinator
// there, or a certificate was not accepted: says what was tried and what the
// other side said), DEADLINE_EXCEEDED.

namespace mledge {

class AdminClient {
 public:
  struct Options {
    // "host:port".
    std::string coordinator;
    // Name expected in its certificate. Default: the host.
    std::string coordinator_name;
    // A call without a stream may take so long.
    absl::Duration timeout = absl::Seconds(30);
    // A watch goes on through restarts of the coordinator that are shorter.
    absl::Duration reconnect_for = absl::Minutes(10);
  };

  // Does not connect yet. INVALID_ARGUMENT: no "host:port".
  static absl::StatusOr<std::unique_ptr<AdminClient>> Create(
      Options options, const TlsIdentity& identity);
  virtual ~AdminClient() = default;

  // The id of the task.
  virtual absl::StatusOr<std::string> SubmitTask(
      const v1::SignedMessage& signed_task, std::string_view package_file) = 0;
  virtual absl::StatusOr<v1::ListTasksResponse> ListTasks() = 0;
  virtual absl::StatusOr<v1::GetTaskResponse> GetTask(
      const std::string& task) = 0;
  virtual absl::Status CancelTask(const std::string& task) = 0;
  virtual absl::StatusOr<v1::ListDevicesResponse> ListDevices() = 0;
  virtual absl::StatusOr<v1::GetPrivacyLedgerResponse> GetPrivacyLedger(
      const std::string& task) = 0;
  // `adoption`: context "ledger-adoption".
  virtual absl::Status AdoptPrivacyLedger(
      const v1::SignedMessage& adoption) = 0;

  // Calls `event` with each event, none twice, until the task has ended (OK).
  // `waiting` is told what happened when the connection broke and is tried
  // again.
  virtual absl::Status WatchTask(
      const std::string& task,
      const std::function<void(const v1::TaskEvent&)>& event,
      const std::function<void(const absl::Status&)>& waiting) = 0;

  struct Model {
    v1::ModelVersion version;
    std::string package_file;
    std::string parameters;  // little-endian float32
  };
  // DATA_LOSS: the parameters are not those that the version names.
  virtual absl::StatusOr<Model> FetchModel(const std::string& task,
                                           std::optional<int64_t> version) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_ADMIN_CLIENT_H_
