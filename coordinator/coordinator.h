#ifndef MLEDGE_COORDINATOR_COORDINATOR_H_
#define MLEDGE_COORDINATOR_COORDINATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/secagg/session_cryptography.h"
#include "mledge/coordinator/storage.h"
#include "mledge/core/executor.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_random.h"
#include "mledge/identity/witness.h"
#include "mledge/v1/admin_service.pb.h"
#include "mledge/v1/device_service.pb.h"
#include "mledge/v1/model.pb.h"
#include "mledge/v1/privacy.pb.h"
#include "mledge/v1/signature.pb.h"

// The coordinator as a library: all tasks, their rounds and devices. It drives
// the sans-I/O objects (round.h, aggregation_session.h, task_run.h), carries
// out the effects they return against the storage and the pool, and lets no
// answer leave before what it promises is durable. grpc/ puts it on the
// network, simulation/ on a virtual clock: the same object in both.
//
// Thread-safe. Callbacks run on the calling thread or on the pool, exactly
// once, never under a lock. Destroy it before storage and pool, after the
// callers have gone; callbacks that still wait are called with CANCELLED.

namespace mledge {

// What tasks with secure aggregation need of the registrar.
struct SecureAggregationServices {
  // Must outlive the coordinator. Null: such tasks are refused.
  Witness* witness = nullptr;
  // Asks for the registrar's newest list, not yet verified, before each
  // session. `done` runs exactly once, now or on another thread.
  std::function<void(
      std::function<void(absl::StatusOr<v1::SignedMessage>)> done)>
      revocation_list;
  std::string root_pem;
  // Certificates of the registrar, which devices need not send.
  std::vector<std::string> issuers_pem;
  int64_t registrar_sessions_per_day = 1000;
  // For what nobody's call brings the time along.
  std::function<absl::Time()> time_now;
  const secagg::SessionCryptography* cryptography =
      &secagg::SessionCryptography::Default();
};

// What private tasks need.
struct PrivacyServices {
  // Draws the coordinator's noise; must outlive the coordinator. Null: the
  // system's. A predictable one marks every ledger "not private" for ever.
  SecretRandom* random = nullptr;
  // Noise and claims are those of the deployment that a simulation stands for,
  // with so many devices a round. 0: this is no simulation.
  int64_t noise_cohort = 0;
  // Signs a ledger's head with the coordinator's key, and says whether this
  // coordinator, an earlier process included, has signed a head that somebody
  // shows. Null: private tasks are refused.
  std::function<absl::StatusOr<v1::SignedMessage>(const v1::LedgerHead&)>
      sign_ledger_head;
  std::function<absl::Status(const v1::SignedMessage&, absl::Time)>
      verify_ledger_head;
};

// Who calls, from the certificate and from nowhere else.
struct Peer {
  enum class Role { kDevice, kEvaluator };
  DeviceId id;
  Role role = Role::kDevice;
};

class Coordinator {
 public:
  struct Options {
    uint64_t maximum_update_bytes = uint64_t{4} << 30;
    // A checkpoint of the sum is saved after so many folded updates.
    int64_t updates_per_checkpoint = 16;
    // Folding starts when so many acknowledged updates wait, or at the round's
    // end.
    int64_t updates_per_fold = 4;
    // What a device is told that has to come back: the pause between polls.
    absl::Duration come_back_after = absl::Seconds(5);
    // And one that no running task will ever ask again (privacy.participations
    // are used up).
    absl::Duration come_back_late = absl::Hours(1);
    // Everything that a call causes is done when the call returns, callbacks
    // included, and the pool only shares loops: for a driver on a virtual
    // clock. Always so without a pool.
    bool synchronous = false;
  };

  struct Dependencies {
    CoordinatorStorage* storage = nullptr;  // required
    // For folding, validating and publishing. Null: on the calling thread.
    ThreadPool* pool = nullptr;
    // Signs a version statement with the coordinator's key. Required.
    std::function<absl::StatusOr<v1::SignedMessage>(
        const v1::VersionStatement&)>
        sign_version;
    // Called when `Tick` wants to be called at a time (the earliest asked for
    // counts). Required.
    std::function<void(absl::Time)> wake_at;
    // Called once when another coordinator has taken over the storage: from
    // then on every call is refused with UNAVAILABLE, and the process should
    // end. Optional.
    std::function<void(const absl::Status&)> on_taken_over = nullptr;
    SecureAggregationServices secure_aggregation = {};
    PrivacyServices privacy = {};
  };

  // Takes up what the storage holds: tasks go on where they were.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Create(
      Options options, Dependencies dependencies, absl::Time now);
  virtual ~Coordinator() = default;

  template <typename T>
  using Done = std::function<void(absl::StatusOr<T>)>;

  // Devices.

  // Answers at once with an assignment when there is one; else keeps the caller
  // until there is, at most until `wait_until`, and then answers `come_back`.
  // A later check-in of the same device ends the wait of an earlier one.
  virtual void CheckIn(absl::Time now, const Peer& peer,
                       const v1::CheckInRequest& request, absl::Time wait_until,
                       Done<v1::CheckInResponse> done) = 0;

  // Where the bytes of an update go: a writer, or the outcome at once.
  struct UploadStart {
    std::optional<v1::UploadResult> result;
    std::unique_ptr<SpoolWriter> writer;  // null when there is a result
  };
  // PERMISSION_DENIED: the assignment is another device's. NOT_FOUND: no such
  // assignment. ABORTED: another upload of it is open. RESOURCE_EXHAUSTED,
  // UNAVAILABLE: the storage takes nothing at the moment, whatever its reason:
  // a device gives up an update only where trying again is of no use.
  virtual absl::StatusOr<UploadStart> BeginUpload(
      absl::Time now, const Peer& peer, const v1::UploadHeader& header) = 0;
  // After the last byte. Syncs, compares hashes, validates, records, and then
  // answers. As above, and ABORTED: the bytes are not those announced; they are
  // thrown away, and the upload begins anew.
  virtual void FinishUpload(absl::Time now, const Peer& peer,
                            const v1::UploadHeader& header,
                            std::unique_ptr<SpoolWriter> writer,
                            Done<v1::UploadResult> done) = 0;

  // A device that holds the finished update of an assignment with `secure` and
  // is connected, as long as the stream lives. `sink` gets what the device is
  // to be told: one call at a time, in order, never under a lock, possibly
  // before this call returns and for a moment after the stream's end.
  class SecureStream {
   public:
    virtual ~SecureStream() = default;
    virtual void OnMessage(absl::Time now,
                           const v1::SecaggDeviceMessage& message) = 0;
  };
  // Where a stream's messages go. When the coordinator destroys its last copy
  // it has no more to say on this stream: after the result, because the device
  // opened another one, or because it shuts down.
  using SecureSink = std::function<void(const v1::SecureAggregationResponse&)>;
  // Codes as BeginUpload; INVALID_ARGUMENT: not a secure assignment.
  virtual absl::StatusOr<std::unique_ptr<SecureStream>> JoinSecureAggregation(
      absl::Time now, const Peer& peer,
      const v1::SecureAggregationJoin& request, SecureSink sink) = 0;

  virtual void Report(absl::Time now, const Peer& peer,
                      const v1::ReportRequest& request,
                      Done<v1::ReportResponse> done) = 0;

  // Blobs that devices may fetch: tasks, packages, parameters of running tasks.
  // `bytes_sent` of the task grows by what is read. NOT_FOUND: no such blob.
  // UNAVAILABLE: the peer has too many open.
  virtual absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Peer& peer, const Digest& name) = 0;

  // Operators.

  // `task` was validated and its signature and the package's were verified by
  // the caller; `signed_task` and `package_file` are stored as they are.
  struct Submission {
    v1::Task task;
    std::string signed_task;  // serialized SignedMessage
    std::string package_file;
    std::string submitted_by;  // operator id
  };
  virtual void SubmitTask(absl::Time now, Submission submission,
                          Done<TaskId> done) = 0;
  virtual void CancelTask(absl::Time now, const TaskId& task,
                          Done<v1::CancelTaskResponse> done) = 0;
  // What a private task has spent. NOT_FOUND: no such task.
  // FAILED_PRECONDITION: it is not private.
  virtual absl::StatusOr<v1::GetPrivacyLedgerResponse> GetPrivacyLedger(
      const TaskId& task) = 0;
  // An operator takes up a private task whose ledger lacks what devices know.
  // `statement` was signed by `operator_id`, as `signed_adoption`, which the
  // caller has verified. NOT_FOUND, FAILED_PRECONDITION: there is nothing to
  // adopt, something else by now, or it cannot be done; says what to do.
  struct Adoption {
    v1::LedgerAdoptionStatement statement;
    std::string operator_id;
    v1::SignedMessage signed_adoption;
  };
  virtual void AdoptPrivacyLedger(
      absl::Time now, Adoption adoption,
      Done<v1::AdoptPrivacyLedgerResponse> done) = 0;
  virtual std::vector<v1::TaskSummary> ListTasks() = 0;
  virtual absl::StatusOr<v1::GetTaskResponse> GetTask(const TaskId& task) = 0;
  virtual std::vector<v1::DeviceSummary> ListDevices() = 0;

  // Calls `sink` with each event of the task, stored ones first, until it has
  // passed on `task_ended` or the subscription is destroyed. Never under a
  // lock; one call at a time, in order.
  class Subscription {
   public:
    virtual ~Subscription() = default;
  };
  virtual absl::StatusOr<std::unique_ptr<Subscription>> Watch(
      const TaskId& task, std::function<void(const v1::TaskEvent&)> sink) = 0;

  // The package as submitted and a version's parameters.
  struct ModelBlobs {
    v1::ModelVersion version;
    std::shared_ptr<const BlobReader> package;
    std::shared_ptr<const BlobReader> parameters;
  };
  virtual absl::StatusOr<ModelBlobs> OpenModel(
      const TaskId& task, std::optional<VersionNumber> version) = 0;

  // Time.

  // Expires what is due.
  virtual void Tick(absl::Time now) = 0;
  // Finishes what has begun (folds, checkpoints), answers waiting check-ins
  // with `come_back`, and refuses new work with UNAVAILABLE.
  virtual void Shutdown(absl::Time now) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_COORDINATOR_H_
