#ifndef MLEDGE_TESTS_CLIENT_FAKE_COORDINATOR_H_
#define MLEDGE_TESTS_CLIENT_FAKE_COORDINATOR_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mledge/client/connection.h"
#include "mledge/core/mutex.h"
#include "mledge/core/sha256.h"
#include "mledge/tests/client/session_world.h"

// The coordinator's side for one device, in memory and as strict as the real
// one: the same assignment until it is over, partial uploads kept, an update
// acknowledged once. Thread-safe.

namespace mledge {

class FakeCoordinator {
 public:
  // Hands out `assignments`, one after the other.
  FakeCoordinator(std::map<Digest, SessionWorld::Blob> blobs,
                  std::vector<v1::Assignment> assignments)
      : blobs_(std::move(blobs)), assignments_(std::move(assignments)) {}

  v1::CheckInResponse CheckIn() {
    MutexLock lock(&mutex_);
    ++check_ins_;
    if (next_ == assignments_.size()) return ComeBackAfter(absl::Seconds(5));
    return Handing(assignments_[next_]);
  }

  absl::StatusOr<SessionWorld::Blob> Blob(const Digest& digest) {
    MutexLock lock(&mutex_);
    ++fetches_;
    const auto blob = blobs_.find(digest);
    if (blob == blobs_.end()) return absl::NotFoundError("no such blob");
    return blob->second;
  }

  // The offset from which the update is wanted, or the outcome.
  absl::StatusOr<v1::UploadResponse> BeginUpload(
      const v1::UploadHeader& header) {
    MutexLock lock(&mutex_);
    v1::UploadResponse response;
    const auto done = acknowledged_.find(header.assignment_id());
    if (done != acknowledged_.end()) {
      const bool same =
          Sha256Of(done->second).ToBytes() == header.content_sha256();
      *response.mutable_result() = Outcome(same ? v1::UploadResult::ACKNOWLEDGED
                                                : v1::UploadResult::REFUSED);
      if (!same) ++conflicts_;
      return response;
    }
    if (next_ == assignments_.size() ||
        assignments_[next_].assignment_id() != header.assignment_id()) {
      return absl::NotFoundError("no such assignment");
    }
    std::pair<std::string, std::string>& partial =
        partial_[header.assignment_id()];
    if (partial.first != header.content_sha256()) {
      if (!partial.first.empty()) ++conflicts_;
      partial = {header.content_sha256(), ""};
    }
    response.mutable_resume()->set_offset(partial.second.size());
    return response;
  }

  // More bytes; the outcome once they are all there.
  std::optional<v1::UploadResult> Take(const v1::UploadHeader& header,
                                       std::string_view bytes) {
    MutexLock lock(&mutex_);
    std::string& partial = partial_[header.assignment_id()].second;
    partial.append(bytes);
    bytes_received_ += bytes.size();
    if (partial.size() < header.size_in_bytes()) return std::nullopt;
    if (Sha256Of(partial).ToBytes() != header.content_sha256()) {
      return Outcome(v1::UploadResult::REFUSED);
    }
    if (!header.session().empty()) {
      masked_inputs_[header.session()] = partial;
      return Outcome(v1::UploadResult::RECEIVED);
    }
    if (!acknowledged_.emplace(header.assignment_id(), partial).second) {
      ++conflicts_;
    } else {
      ++next_;
    }
    return Outcome(v1::UploadResult::ACKNOWLEDGED);
  }

  void Report(const v1::ReportRequest& request) {
    MutexLock lock(&mutex_);
    reports_.push_back(request.reason());
    if (next_ < assignments_.size() &&
        assignments_[next_].assignment_id() == request.assignment_id()) {
      ++next_;
    }
  }

  // Contents by assignment.
  std::map<std::string, std::string> acknowledged() {
    MutexLock lock(&mutex_);
    return acknowledged_;
  }
  // By session.
  std::map<std::string, std::string> masked_inputs() {
    MutexLock lock(&mutex_);
    return masked_inputs_;
  }
  std::vector<std::string> reports() {
    MutexLock lock(&mutex_);
    return reports_;
  }
  // Updates that came with other content than before for their assignment.
  int conflicts() {
    MutexLock lock(&mutex_);
    return conflicts_;
  }
  int check_ins() {
    MutexLock lock(&mutex_);
    return check_ins_;
  }
  int fetches() {
    MutexLock lock(&mutex_);
    return fetches_;
  }
  size_t bytes_received() {
    MutexLock lock(&mutex_);
    return bytes_received_;
  }

 private:
  Mutex mutex_;
  const std::map<Digest, SessionWorld::Blob> blobs_;
  const std::vector<v1::Assignment> assignments_;
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::string> acknowledged_ ABSL_GUARDED_BY(mutex_);
  // Content hash and bytes so far.
  std::map<std::string, std::pair<std::string, std::string>> partial_
      ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> masked_inputs_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> reports_ ABSL_GUARDED_BY(mutex_);
  int conflicts_ ABSL_GUARDED_BY(mutex_) = 0;
  int check_ins_ ABSL_GUARDED_BY(mutex_) = 0;
  int fetches_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t bytes_received_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Carries calls to a FakeCoordinator at once. A check-in that brings nothing is
// answered on the spot, as ComeBack.
class FakeConnection final : public Connection {
 public:
  explicit FakeConnection(FakeCoordinator* coordinator)
      : coordinator_(coordinator) {}

  void CheckIn(const v1::CheckInRequest&, absl::Duration,
               Done<v1::CheckInResponse> done) override {
    if (absl::Status status = Broken(); !status.ok()) return done(status);
    done(coordinator_->CheckIn());
  }
  void Fetch(const Digest& digest, uint64_t offset, BlobSink sink,
             absl::Duration, std::function<void(absl::Status)> done) override {
    if (absl::Status status = Broken(); !status.ok()) return done(status);
    const absl::StatusOr<SessionWorld::Blob> blob = coordinator_->Blob(digest);
    if (!blob.ok()) return done(blob.status());
    done(sink(std::string_view(**blob).substr(offset)));
  }
  void Upload(const v1::UploadHeader& header,
              std::shared_ptr<const UploadSource> source, absl::Duration,
              Done<v1::UploadResult> done) override {
    if (absl::Status status = Broken(); !status.ok()) return done(status);
    const auto begun = coordinator_->BeginUpload(header);
    if (!begun.ok()) return done(begun.status());
    if (begun->has_result()) return done(begun->result());
    const uint64_t offset = begun->resume().offset();
    const auto bytes = source->Read(offset, source->size_in_bytes() - offset);
    if (!bytes.ok()) return done(bytes.status());
    const auto result = coordinator_->Take(header, *bytes);
    if (result.has_value()) return done(*result);
    done(absl::UnavailableError("the upload ended early"));
  }
  void Report(const v1::ReportRequest& request, absl::Duration,
              Done<v1::ReportResponse> done) override {
    if (absl::Status status = Broken(); !status.ok()) return done(status);
    coordinator_->Report(request);
    done(v1::ReportResponse());
  }
  std::shared_ptr<SecureStream> OpenSecureAggregation(
      const v1::SecureAggregationJoin& join,
      std::function<void(v1::SecureAggregationResponse)> on_message,
      std::function<void(absl::Status)> on_closed) override {
    if (absl::Status status = Broken(); !status.ok()) {
      on_closed(status);
    } else if (secure_aggregation) {
      secure_aggregation(join, std::move(on_message), std::move(on_closed));
    } else {
      on_closed(absl::UnimplementedError("this coordinator sees all updates"));
    }
    return std::make_shared<Silence>();
  }
  void CancelAll() override {}

  // What the coordinator says on each stream of secure aggregation, whatever
  // the device says.
  std::function<void(const v1::SecureAggregationJoin&,
                     std::function<void(v1::SecureAggregationResponse)>,
                     std::function<void(absl::Status)>)>
      secure_aggregation;

  // The next calls fail with UNAVAILABLE.
  void BreakNext(int calls) {
    MutexLock lock(&mutex_);
    broken_ = calls;
  }

 private:
  class Silence final : public SecureStream {
   public:
    void Send(v1::SecaggDeviceMessage) override {}
    void Close() override {}
  };

  absl::Status Broken() {
    MutexLock lock(&mutex_);
    if (broken_ == 0) return absl::OkStatus();
    --broken_;
    return absl::UnavailableError("broken by the test");
  }

  FakeCoordinator* const coordinator_;
  Mutex mutex_;
  int broken_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_CLIENT_FAKE_COORDINATOR_H_
