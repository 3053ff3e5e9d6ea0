#ifndef MLEDGE_COORDINATOR_GRPC_SECURE_REACTOR_H_
#define MLEDGE_COORDINATOR_GRPC_SECURE_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>

#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/grpc/caller.h"
#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/core/mutex.h"
#include "mledge/v1/device_service.pb.h"

// One device's stream of secure aggregation: its join, then messages in both
// directions until the assignment ends or either side goes. Messages of the
// device are handed on one at a time, on the environment's executor; the next
// one is read when that is done. What it does not take in time ends the stream:
// the session's messages to one device are few.

namespace mledge {

class SecureReactor final
    : public grpc::ServerBidiReactor<v1::SecureAggregationRequest,
                                     v1::SecureAggregationResponse> {
 public:
  SecureReactor(const ServiceEnvironment& environment,
                const grpc::CallbackServerContext& context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  static constexpr size_t kMostWaiting = 64;

  // What the coordinator calls; cut before the reactor dies.
  struct Link {
    Mutex mutex;
    SecureReactor* reactor ABSL_GUARDED_BY(mutex) = nullptr;
  };

  struct SinkEnd;

  void Handle();
  absl::Status Join();
  void Take(const v1::SecureAggregationResponse& response);
  // The coordinator has no more to say here.
  void Dropped();
  static absl::Status NothingMoreToSay();
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MaybeConclude() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Conclude();

  const ServiceEnvironment& environment_;
  const std::shared_ptr<Link> link_;
  AdmittedDevice device_;
  // Touched by the one read, or by the work on it, that is under way.
  v1::SecureAggregationRequest request_;
  std::unique_ptr<Coordinator::SecureStream> stream_;
  v1::SecureAggregationResponse writing_;

  Mutex mutex_;  // after Link::mutex
  std::deque<v1::SecureAggregationResponse> waiting_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_working_ ABSL_GUARDED_BY(mutex_) = false;
  bool dropped_ ABSL_GUARDED_BY(mutex_) = false;
  bool saw_result_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // nothing more to write
  bool concluding_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_SECURE_REACTOR_H_
