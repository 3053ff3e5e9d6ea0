#ifndef MLEDGE_COORDINATOR_GRPC_WATCH_REACTOR_H_
#define MLEDGE_COORDINATOR_GRPC_WATCH_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>

#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/grpc/service_environment.h"
#include "mledge/core/mutex.h"
#include "mledge/v1/admin_service.pb.h"

// Passes a task's events on to one watcher until the task ends or the watcher
// goes. Progress that a slow watcher has not taken yet is replaced by newer
// progress; everything else waits for it.

namespace mledge {

class WatchReactor final : public grpc::ServerWriteReactor<v1::TaskEvent> {
 public:
  WatchReactor(const ServiceEnvironment& environment,
               const grpc::CallbackServerContext& context,
               const v1::WatchTaskRequest& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  // What the subscription calls; cut before the reactor dies, because nobody
  // promises that a subscription's end waits for a call under way.
  struct Link {
    Mutex mutex;
    WatchReactor* reactor ABSL_GUARDED_BY(mutex) = nullptr;
  };

  void Subscribe(const TaskId& task);
  void Take(const v1::TaskEvent& event);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MaybeConclude() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Conclude();

  const ServiceEnvironment& environment_;
  const std::shared_ptr<Link> link_;
  // The event that is being written; not touched meanwhile.
  v1::TaskEvent writing_;

  Mutex mutex_;  // after Link::mutex
  std::unique_ptr<Coordinator::Subscription> subscription_
      ABSL_GUARDED_BY(mutex_);
  std::deque<v1::TaskEvent> events_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool subscribed_ ABSL_GUARDED_BY(mutex_) = false;
  bool saw_end_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // nothing more to write
  bool concluding_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_GRPC_WATCH_REACTOR_H_
