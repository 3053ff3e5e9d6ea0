#ifndef MLEDGE_COORDINATOR_GRPC_UPLOAD_REACTOR_H_
#define MLEDGE_COORDINATOR_GRPC_UPLOAD_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/grpc/caller.h"
#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/core/mutex.h"
#include "mledge/v1/device_service.pb.h"

// One upload: header → resume → chunks → result (device_service.proto). While
// one chunk is written to the spool, the next are being received; no more are
// asked for while `kBytesHeld` wait in memory. A broken upload leaves its bytes
// in the spool, and the next one goes on behind them.
//
// The protocol's steps run on the environment's executor, one at a time
// (`working_`); gRPC's threads only hand over what came in. Whoever finds a
// failure leaves it in `failure_`; it ends the call once no step is running, so
// that the object cannot die under one.

namespace mledge {

class UploadReactor final
    : public grpc::ServerBidiReactor<v1::UploadRequest, v1::UploadResponse> {
 public:
  UploadReactor(const ServiceEnvironment& environment,
                const grpc::CallbackServerContext& context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  static constexpr uint64_t kBytesHeld = uint64_t{2} << 20;

  // What a thread has to do once it has let go of the lock.
  struct Next {
    bool work = false;
    std::optional<absl::Status> end;
  };
  Next Decide() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(const Next& next);

  void TakeHeader() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeChunk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReceiveNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a device that broke off had sent goes to the spool before the call
  // ends, so that the next attempt is spared it.
  bool HasBytesToKeep() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // On the executor; each ends with Do, or with a write or call under way.
  void Work();
  void Begin();
  void WriteChunks();
  void FinishUpload();
  void EndWith(const v1::UploadResult& result);

  const ServiceEnvironment& environment_;
  AdmittedDevice device_;
  // Touched by the one read, or the one write, that is under way.
  v1::UploadRequest request_;
  v1::UploadResponse response_;

  Mutex mutex_;
  v1::UploadHeader header_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<SpoolWriter> writer_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> chunks_ ABSL_GUARDED_BY(mutex_);
  // Offsets behind what has come, and behind what the spool has.
  uint64_t received_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t written_ ABSL_GUARDED_BY(mutex_) = 0;
  bool has_header_ ABSL_GUARDED_BY(mutex_) = false;
  bool resume_sent_ ABSL_GUARDED_BY(mutex_) = false;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool working_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_off_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_UPLOAD_REACTOR_H_
