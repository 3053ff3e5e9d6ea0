#ifndef MLEDGE_TESTS_COORDINATOR_GRPC_FAKE_COORDINATOR_H_
#define MLEDGE_TESTS_COORDINATOR_GRPC_FAKE_COORDINATOR_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mledge/coordinator/coordinator.h"
#include "mledge/core/mutex.h"
#include "mledge/core/strings.h"

// A coordinator without rounds: remembers what it was called with, and keeps
// uploads in memory as the real one keeps them on disk (resumable, one writer
// at a time, same content again is a success, other content is refused).
// Thread-safe.

namespace mledge {

class MemoryBlob final : public BlobReader {
 public:
  explicit MemoryBlob(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size_in_bytes() const override { return bytes_.size(); }
  absl::StatusOr<std::string> Read(uint64_t offset,
                                   uint64_t size) const override {
    return bytes_.substr(offset, size);
  }

 private:
  const std::string bytes_;
};

class FakeCoordinator final : public Coordinator {
 public:
  struct Upload {
    std::string bytes;
    bool is_open = false;
    bool is_acknowledged = false;
  };

  void CheckIn(absl::Time now, const Peer& peer,
               const v1::CheckInRequest& request, absl::Time wait_until,
               Done<v1::CheckInResponse> done) override {
    MutexLock lock(&mutex_);
    check_ins_.push_back({peer, request, wait_until - now});
    v1::CheckInResponse response;
    response.mutable_come_back()->set_reason(peer.id.value());
    done(response);
  }

  absl::StatusOr<UploadStart> BeginUpload(
      absl::Time, const Peer& peer, const v1::UploadHeader& header) override {
    MutexLock lock(&mutex_);
    if (header.assignment_id() != "assignment-of-" + peer.id.value()) {
      return absl::PermissionDeniedError("the assignment is another device's");
    }
    Upload& upload = uploads_[header.assignment_id()];
    if (upload.is_open) return absl::AbortedError("another upload is open");
    UploadStart start;
    if (upload.is_acknowledged) {
      start.result.emplace().set_outcome(v1::UploadResult::ACKNOWLEDGED);
      return start;
    }
    upload.is_open = true;
    start.writer = std::make_unique<Writer>(this, header.assignment_id());
    return start;
  }

  void FinishUpload(absl::Time, const Peer&, const v1::UploadHeader& header,
                    std::unique_ptr<SpoolWriter> writer,
                    Done<v1::UploadResult> done) override {
    const absl::StatusOr<Digest> digest = writer->Sync();
    writer.reset();
    v1::UploadResult result;
    {
      MutexLock lock(&mutex_);
      Upload& upload = uploads_[header.assignment_id()];
      upload.is_acknowledged = digest->ToBytes() == header.content_sha256();
      result.set_outcome(upload.is_acknowledged ? v1::UploadResult::ACKNOWLEDGED
                                                : v1::UploadResult::REFUSED);
    }
    done(result);
  }

  // Greets with a revocation list, answers each message with an outcome that
  // repeats the device's words, and ends after "enough".
  // After "drop it" the coordinator has nothing more to say.
  class EchoStream final : public SecureStream {
   public:
    EchoStream(FakeCoordinator* coordinator, SecureSink sink)
        : coordinator_(coordinator), sink_(std::move(sink)) {
      v1::SecureAggregationResponse greeting;
      greeting.mutable_revocation_list()->set_payload("a list");
      sink_(greeting);
    }
    ~EchoStream() override {
      MutexLock lock(&coordinator_->mutex_);
      ++coordinator_->streams_ended_;
    }
    void OnMessage(absl::Time,
                   const v1::SecaggDeviceMessage& message) override {
      v1::SecureAggregationResponse response;
      if (message.leave().reason() == "drop it") {
        sink_ = nullptr;
        return;
      }
      if (message.leave().reason() == "enough") {
        response.mutable_result()->set_outcome(v1::UploadResult::TOO_LATE);
      } else {
        response.mutable_secagg()->mutable_outcome()->set_reason(
            message.leave().reason());
      }
      sink_(response);
    }

   private:
    FakeCoordinator* const coordinator_;
    SecureSink sink_;
  };
  absl::StatusOr<std::unique_ptr<SecureStream>> JoinSecureAggregation(
      absl::Time, const Peer& peer, const v1::SecureAggregationJoin& request,
      SecureSink sink) override {
    if (request.assignment_id() != "assignment-of-" + peer.id.value()) {
      return absl::PermissionDeniedError("the assignment is another device's");
    }
    return std::make_unique<EchoStream>(this, std::move(sink));
  }
  int streams_ended() {
    MutexLock lock(&mutex_);
    return streams_ended_;
  }

  void Report(absl::Time, const Peer& peer, const v1::ReportRequest& request,
              Done<v1::ReportResponse> done) override {
    MutexLock lock(&mutex_);
    reports_.emplace_back(peer.id.value(), request.reason());
    done(v1::ReportResponse());
  }

  absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Peer&, const Digest& name) override {
    MutexLock lock(&mutex_);
    const auto it = blobs_.find(name);
    if (it == blobs_.end()) return absl::NotFoundError("no such blob");
    return std::make_shared<const MemoryBlob>(it->second);
  }

  void SubmitTask(absl::Time, Submission submission,
                  Done<TaskId> done) override {
    MutexLock lock(&mutex_);
    const TaskId id(submission.task.name());
    submissions_.push_back(std::move(submission));
    done(id);
  }
  void CancelTask(absl::Time, const TaskId& task,
                  Done<v1::CancelTaskResponse> done) override {
    if (task != TaskId("known")) return done(absl::NotFoundError("no task"));
    done(v1::CancelTaskResponse());
  }
  absl::StatusOr<v1::GetPrivacyLedgerResponse> GetPrivacyLedger(
      const TaskId& task) override {
    v1::GetPrivacyLedgerResponse response;
    response.set_mechanism(task.value());
    return response;
  }
  void AdoptPrivacyLedger(absl::Time, Adoption adoption,
                          Done<v1::AdoptPrivacyLedgerResponse> done) override {
    {
      MutexLock lock(&mutex_);
      adoptions_.push_back(std::move(adoption));
    }
    done(v1::AdoptPrivacyLedgerResponse());
  }
  std::vector<Adoption> adoptions() {
    MutexLock lock(&mutex_);
    return adoptions_;
  }

  std::vector<v1::TaskSummary> ListTasks() override {
    v1::TaskSummary task;
    task.set_task_id("known");
    return {task};
  }
  absl::StatusOr<v1::GetTaskResponse> GetTask(const TaskId& task) override {
    if (task != TaskId("known")) {
      return absl::NotFoundError(StrCat("there is no task ", task.value()));
    }
    v1::GetTaskResponse response;
    response.mutable_summary()->set_task_id("known");
    return response;
  }
  std::vector<v1::DeviceSummary> ListDevices() override {
    v1::DeviceSummary device;
    device.set_device_id("device-1");
    return {device};
  }

  absl::StatusOr<std::unique_ptr<Subscription>> Watch(
      const TaskId& task,
      std::function<void(const v1::TaskEvent&)> sink) override {
    if (task != TaskId("known")) return absl::NotFoundError("no task");
    for (const v1::TaskEvent& event : events()) sink(event);
    return std::make_unique<Subscription>();
  }

  absl::StatusOr<ModelBlobs> OpenModel(
      const TaskId& task, std::optional<VersionNumber> version) override {
    ModelBlobs blobs;
    blobs.version.set_version(version.value_or(VersionNumber(7)).value());
    const std::string parameters(700'000, 'p');
    blobs.version.mutable_parameters()->set_sha256(
        Sha256Of(std::string_view(parameters)).ToBytes());
    blobs.package = std::make_shared<const MemoryBlob>("the package");
    blobs.parameters = std::make_shared<const MemoryBlob>(parameters);
    return blobs;
  }

  void Tick(absl::Time) override {}
  void Shutdown(absl::Time) override {}

  struct CheckInCall {
    Peer peer;
    v1::CheckInRequest request;
    absl::Duration wait;
  };
  std::vector<CheckInCall> check_ins() {
    MutexLock lock(&mutex_);
    return check_ins_;
  }
  std::vector<std::pair<std::string, std::string>> reports() {
    MutexLock lock(&mutex_);
    return reports_;
  }
  std::vector<Submission> submissions() {
    MutexLock lock(&mutex_);
    return submissions_;
  }
  Upload upload(const std::string& assignment) {
    MutexLock lock(&mutex_);
    return uploads_[assignment];
  }
  void set_upload(const std::string& assignment, std::string bytes) {
    MutexLock lock(&mutex_);
    uploads_[assignment].bytes = std::move(bytes);
  }
  Digest AddBlob(std::string bytes) {
    MutexLock lock(&mutex_);
    const Digest name = Sha256Of(std::string_view(bytes));
    blobs_[name] = std::move(bytes);
    return name;
  }
  void set_append_status(absl::Status status) {
    MutexLock lock(&mutex_);
    append_status_ = std::move(status);
  }
  // A round, its progress, and the end of the task.
  static std::vector<v1::TaskEvent> events() {
    std::vector<v1::TaskEvent> events(3);
    events[0].set_sequence(1);
    events[0].mutable_round_started()->set_assigned(4);
    events[1].mutable_round_progress()->set_acknowledged(2);
    events[2].set_sequence(2);
    events[2].mutable_task_ended()->set_state(v1::COMPLETED);
    return events;
  }

 private:
  class Writer final : public SpoolWriter {
   public:
    Writer(FakeCoordinator* owner, std::string assignment)
        : owner_(owner), assignment_(std::move(assignment)) {}
    ~Writer() override {
      MutexLock lock(&owner_->mutex_);
      owner_->uploads_[assignment_].is_open = false;
    }
    uint64_t offset() const override {
      MutexLock lock(&owner_->mutex_);
      return owner_->uploads_[assignment_].bytes.size();
    }
    absl::Status Append(std::span<const uint8_t> bytes) override {
      MutexLock lock(&owner_->mutex_);
      if (!owner_->append_status_.ok()) return owner_->append_status_;
      owner_->uploads_[assignment_].bytes.append(
          reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return absl::OkStatus();
    }
    absl::StatusOr<Digest> Sync() override {
      MutexLock lock(&owner_->mutex_);
      return Sha256Of(std::string_view(owner_->uploads_[assignment_].bytes));
    }

   private:
    FakeCoordinator* const owner_;
    const std::string assignment_;
  };

  Mutex mutex_;
  int streams_ended_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<CheckInCall> check_ins_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<std::string, std::string>> reports_
      ABSL_GUARDED_BY(mutex_);
  std::vector<Submission> submissions_ ABSL_GUARDED_BY(mutex_);
  std::vector<Adoption> adoptions_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Upload> uploads_ ABSL_GUARDED_BY(mutex_);
  std::map<Digest, std::string> blobs_ ABSL_GUARDED_BY(mutex_);
  absl::Status append_status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_GRPC_FAKE_COORDINATOR_H_
