#include "mledge/coordinator/grpc/watch_reactor.h"

#include <utility>

#include "mledge/coordinator/grpc/caller.h"
#include "mledge/identity/grpc/status.h"

namespace mledge {

WatchReactor::WatchReactor(const ServiceEnvironment& environment,
                           const grpc::CallbackServerContext& context,
                           const v1::WatchTaskRequest& request)
    : environment_(environment), link_(std::make_shared<Link>()) {
  {
    MutexLock lock(&link_->mutex);
    link_->reactor = this;
  }
  const absl::StatusOr<Identity> caller = OperatorCaller(context);
  if (!caller.ok()) {
    MutexLock lock(&mutex_);
    concluding_ = true;
    Finish(ToGrpcStatus(caller.status()));
    return;
  }
  environment_.executor->Schedule(
      [this, task = TaskId(request.task_id())] { Subscribe(task); });
}

void WatchReactor::Subscribe(const TaskId& task) {
  absl::StatusOr<std::unique_ptr<Coordinator::Subscription>> subscription =
      environment_.coordinator->Watch(
          task, [link = link_](const v1::TaskEvent& event) {
            MutexLock lock(&link->mutex);
            if (link->reactor != nullptr) link->reactor->Take(event);
          });
  MutexLock lock(&mutex_);
  subscribed_ = true;
  if (subscription.ok()) {
    subscription_ = *std::move(subscription);
  } else {
    over_ = true;
    status_ = subscription.status();
  }
  MaybeConclude();
}

void WatchReactor::Take(const v1::TaskEvent& event) {
  MutexLock lock(&mutex_);
  if (over_ || saw_end_) return;
  saw_end_ = event.has_task_ended();
  if (!events_.empty() && events_.back().has_round_progress()) {
    // Whatever comes now says more than progress that nobody has taken.
    events_.pop_back();
  }
  events_.push_back(event);
  if (!is_writing_) WriteNext();
}

void WatchReactor::WriteNext() {
  writing_ = std::move(events_.front());
  events_.pop_front();
  is_writing_ = true;
  StartWrite(&writing_);
}

void WatchReactor::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  is_writing_ = false;
  if (!ok) {
    over_ = true;
    status_ = absl::CancelledError("the watcher went away");
  } else if (!over_ && !events_.empty()) {
    WriteNext();
  } else if (saw_end_) {
    over_ = true;
  }
  MaybeConclude();
}

void WatchReactor::OnCancel() {
  MutexLock lock(&mutex_);
  if (!over_) status_ = absl::CancelledError("the watcher went away");
  over_ = true;
  MaybeConclude();
}

void WatchReactor::MaybeConclude() {
  if (!over_ || !subscribed_ || is_writing_ || concluding_) return;
  concluding_ = true;
  environment_.executor->Schedule([this] { Conclude(); });
}

void WatchReactor::Conclude() {
  {
    MutexLock lock(&link_->mutex);
    link_->reactor = nullptr;
  }
  std::unique_ptr<Coordinator::Subscription> subscription;
  grpc::Status status;
  {
    MutexLock lock(&mutex_);
    subscription = std::move(subscription_);
    status = ToGrpcStatus(status_);
  }
  subscription.reset();
  Finish(status);
}

}  // namespace mledge
