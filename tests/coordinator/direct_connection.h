#ifndef MLEDGE_TESTS_COORDINATOR_DIRECT_CONNECTION_H_
#define MLEDGE_TESTS_COORDINATOR_DIRECT_CONNECTION_H_

#include <memory>
#include <string>
#include <utility>

#include "mledge/client/connection.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/core/clock.h"
#include "mledge/core/mutex.h"

// A device's connection to a coordinator in the same process: every call on
// the caller's thread, answers from whatever thread the coordinator has them
// on. For tests of threads, where gRPC's own would be in the way.

namespace mledge {

class DirectConnection final : public Connection {
 public:
  // All must outlive it; the coordinator answers its last call before it dies.
  DirectConnection(Coordinator* coordinator, Clock* clock, Peer peer)
      : coordinator_(coordinator), clock_(clock), peer_(std::move(peer)) {}

  void CheckIn(const v1::CheckInRequest& request, absl::Duration,
               Done<v1::CheckInResponse> done) override {
    const absl::Time now = clock_->TimeNow();
    coordinator_->CheckIn(now, peer_, request, now + absl::Seconds(1),
                          std::move(done));
  }

  void Fetch(const Digest& digest, uint64_t offset, BlobSink sink,
             absl::Duration, std::function<void(absl::Status)> done) override {
    const auto blob = coordinator_->OpenBlob(peer_, digest);
    if (!blob.ok()) return done(blob.status());
    const auto bytes = (*blob)->Read(offset, (*blob)->size_in_bytes() - offset);
    done(bytes.ok() ? sink(*bytes) : bytes.status());
  }

  void Upload(const v1::UploadHeader& header,
              std::shared_ptr<const UploadSource> source, absl::Duration,
              Done<v1::UploadResult> done) override {
    const absl::Time now = clock_->TimeNow();
    auto start = coordinator_->BeginUpload(now, peer_, header);
    if (!start.ok()) return done(start.status());
    if (start->result.has_value()) return done(*std::move(start->result));
    const uint64_t offset = start->writer->offset();
    const auto rest = source->Read(offset, source->size_in_bytes() - offset);
    if (!rest.ok()) return done(rest.status());
    const absl::Status written = start->writer->Append(
        {reinterpret_cast<const uint8_t*>(rest->data()), rest->size()});
    if (!written.ok()) return done(written);
    coordinator_->FinishUpload(now, peer_, header, std::move(start->writer),
                               std::move(done));
  }

  void Report(const v1::ReportRequest& request, absl::Duration,
              Done<v1::ReportResponse> done) override {
    coordinator_->Report(clock_->TimeNow(), peer_, request, std::move(done));
  }

  std::shared_ptr<SecureStream> OpenSecureAggregation(
      const v1::SecureAggregationJoin& join,
      std::function<void(v1::SecureAggregationResponse)> on_message,
      std::function<void(absl::Status)> on_closed) override {
    const auto stream = std::make_shared<Stream>(clock_, std::move(on_message),
                                                 std::move(on_closed));
    auto joined = coordinator_->JoinSecureAggregation(
        clock_->TimeNow(), peer_, join,
        [stream](const v1::SecureAggregationResponse& response) {
          stream->OnResponse(response);
        });
    if (joined.ok()) {
      stream->Joined(*std::move(joined));
    } else {
      stream->End(joined.status());
    }
    return stream;
  }

  void CancelAll() override {}

 private:
  class Stream final : public SecureStream {
   public:
    Stream(Clock* clock,
           std::function<void(v1::SecureAggregationResponse)> on_message,
           std::function<void(absl::Status)> on_closed)
        : clock_(clock),
          on_message_(std::move(on_message)),
          on_closed_(std::move(on_closed)) {}

    void Joined(std::shared_ptr<Coordinator::SecureStream> joined) {
      MutexLock lock(&mutex_);
      if (!ended_) joined_ = std::move(joined);
    }
    void OnResponse(const v1::SecureAggregationResponse& response) {
      {
        MutexLock lock(&mutex_);
        if (ended_) return;
      }
      on_message_(response);
      if (response.has_result()) End(absl::OkStatus());
    }
    void Send(v1::SecaggDeviceMessage message) override {
      std::shared_ptr<Coordinator::SecureStream> joined;
      {
        MutexLock lock(&mutex_);
        joined = joined_;
      }
      if (joined != nullptr) joined->OnMessage(clock_->TimeNow(), message);
    }
    void Close() override { End(absl::OkStatus()); }
    void End(absl::Status status) {
      // Ended outside the lock: it may wait for a message that is delivered.
      std::shared_ptr<Coordinator::SecureStream> joined;
      {
        MutexLock lock(&mutex_);
        if (ended_) return;
        ended_ = true;
        joined = std::move(joined_);
      }
      joined.reset();
      on_closed_(std::move(status));
    }

   private:
    Clock* const clock_;
    const std::function<void(v1::SecureAggregationResponse)> on_message_;
    const std::function<void(absl::Status)> on_closed_;
    Mutex mutex_;
    std::shared_ptr<Coordinator::SecureStream> joined_ ABSL_GUARDED_BY(mutex_);
    bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  };

  Coordinator* const coordinator_;
  Clock* const clock_;
  const Peer peer_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_DIRECT_CONNECTION_H_
