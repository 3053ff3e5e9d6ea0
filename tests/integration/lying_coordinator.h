#ifndef MLEDGE_TESTS_INTEGRATION_LYING_COORDINATOR_H_
#define MLEDGE_TESTS_INTEGRATION_LYING_COORDINATOR_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/grpc/server.h"
#include "mledge/coordinator/grpc/wake_timer.h"
#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/clock.h"
#include "mledge/core/executor.h"
#include "mledge/core/mutex.h"
#include "mledge/identity/grpc/registrar_client.h"
#include "mledge/identity/signing.h"
#include "mledge/tests/integration/fleet.h"

// A coordinator with the right certificate, keys and state, on real mutual TLS,
// that tells devices what the test wants it to tell. Thread-safe.

namespace mledge {

class LyingCoordinator final : public Coordinator {
 public:
  // Changes what a device is answered at its check-in, before it is sent.
  using Lie = std::function<void(Coordinator& honest, const DeviceId& device,
                                 v1::CheckInResponse* answer)>;

  // In this process, with the fleet's coordinator's identity and, if one runs,
  // its registrar; from then on the fleet's devices and operators talk to it.
  // The lie is told one call at a time.
  LyingCoordinator(Fleet& fleet, Lie lie);
  ~LyingCoordinator() override;

  // What devices reported, in order.
  struct Reported {
    std::string device;
    std::string reason;
  };
  std::vector<Reported> reports() const;
  // That the device has reported with such words; false after two minutes.
  bool WaitForReport(const std::string& device, const std::string& words) const;

  void CheckIn(absl::Time now, const Peer& peer,
               const v1::CheckInRequest& request, absl::Time wait_until,
               Done<v1::CheckInResponse> done) override;
  void Report(absl::Time now, const Peer& peer,
              const v1::ReportRequest& request,
              Done<v1::ReportResponse> done) override;
  // All else is the honest coordinator's.
  absl::StatusOr<UploadStart> BeginUpload(
      absl::Time now, const Peer& peer,
      const v1::UploadHeader& header) override {
    return honest_->BeginUpload(now, peer, header);
  }
  void FinishUpload(absl::Time now, const Peer& peer,
                    const v1::UploadHeader& header,
                    std::unique_ptr<SpoolWriter> writer,
                    Done<v1::UploadResult> done) override {
    honest_->FinishUpload(now, peer, header, std::move(writer),
                          std::move(done));
  }
  absl::StatusOr<std::unique_ptr<SecureStream>> JoinSecureAggregation(
      absl::Time now, const Peer& peer,
      const v1::SecureAggregationJoin& request, SecureSink sink) override {
    return honest_->JoinSecureAggregation(now, peer, request, std::move(sink));
  }
  absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Peer& peer, const Digest& name) override {
    return honest_->OpenBlob(peer, name);
  }
  void SubmitTask(absl::Time now, Submission submission,
                  Done<TaskId> done) override {
    honest_->SubmitTask(now, std::move(submission), std::move(done));
  }
  void CancelTask(absl::Time now, const TaskId& task,
                  Done<v1::CancelTaskResponse> done) override {
    honest_->CancelTask(now, task, std::move(done));
  }
  absl::StatusOr<v1::GetPrivacyLedgerResponse> GetPrivacyLedger(
      const TaskId& task) override {
    return honest_->GetPrivacyLedger(task);
  }
  void AdoptPrivacyLedger(absl::Time now, Adoption adoption,
                          Done<v1::AdoptPrivacyLedgerResponse> done) override {
    honest_->AdoptPrivacyLedger(now, std::move(adoption), std::move(done));
  }
  std::vector<v1::TaskSummary> ListTasks() override {
    return honest_->ListTasks();
  }
  absl::StatusOr<v1::GetTaskResponse> GetTask(const TaskId& task) override {
    return honest_->GetTask(task);
  }
  std::vector<v1::DeviceSummary> ListDevices() override {
    return honest_->ListDevices();
  }
  absl::StatusOr<std::unique_ptr<Subscription>> Watch(
      const TaskId& task,
      std::function<void(const v1::TaskEvent&)> sink) override {
    return honest_->Watch(task, std::move(sink));
  }
  absl::StatusOr<ModelBlobs> OpenModel(
      const TaskId& task, std::optional<VersionNumber> version) override {
    return honest_->OpenModel(task, version);
  }
  void Tick(absl::Time now) override { honest_->Tick(now); }
  void Shutdown(absl::Time now) override { honest_->Shutdown(now); }

 private:
  SecureAggregationServices RegistrarServices(Fleet& fleet);

  RealClock clock_;
  TlsIdentity identity_;
  std::unique_ptr<Signer> signer_;
  std::unique_ptr<SignatureVerifier> own_heads_;
  std::unique_ptr<SqliteStorage> storage_;
  ThreadPool pool_{2, "pool"};
  WakeTimer timer_{&clock_};
  std::unique_ptr<RegistrarClient> registrar_;
  std::unique_ptr<Coordinator> honest_;
  mutable Mutex mutex_;
  const Lie lie_;
  std::vector<Reported> reports_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<CoordinatorServer> server_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_INTEGRATION_LYING_COORDINATOR_H_
