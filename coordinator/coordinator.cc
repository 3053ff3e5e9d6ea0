#include "mledge/coordinator/coordinator.h"

#include <algorithm>
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(
    Options options, Dependencies dependencies, absl::Time now) {
  CHECK(dependencies.storage != nullptr);
  CHECK(dependencies.sign_version != nullptr);
  CHECK(dependencies.wake_at != nullptr);
  auto coordinator =
      std::make_unique<CoordinatorImpl>(options, std::move(dependencies));
  MLEDGE_RETURN_IF_ERROR(coordinator->Recover(now));
  return coordinator;
}

CoordinatorImpl::CoordinatorImpl(Options options, Dependencies dependencies)
    : options_(options),
      dependencies_(std::move(dependencies)),
      feed_(dependencies_.storage),
      executor_(options_.synchronous || dependencies_.pool == nullptr
                    ? static_cast<Executor*>(&turns_)
                    : dependencies_.pool) {}

CoordinatorImpl::~CoordinatorImpl() {
  std::vector<Answer> answers;
  std::vector<DeviceRegistry::Parked> parked;
  std::vector<std::shared_ptr<SecureSessions>> secure;
  {
    MutexLock lock(&mutex_);
    shut_down_ = true;
    while (running_ > 0) idle_.Wait(&mutex_);
    for (const auto& [id, context] : tasks_) {
      if (context->secure != nullptr) secure.push_back(context->secure);
    }
  }
  // May lead to more work.
  for (const auto& sessions : secure) sessions->Stop();
  {
    MutexLock lock(&mutex_);
    while (running_ > 0) idle_.Wait(&mutex_);
    answers.swap(batch_.answers);
    parked = devices_.TakeAllParked();
  }
  const absl::Status gone =
      absl::CancelledError("the coordinator has stopped; try again later");
  for (const Answer& answer : answers) answer(gone);
  for (const DeviceRegistry::Parked& done : parked) done(gone);
}

absl::Status CoordinatorImpl::Available() const {
  if (!fenced_.ok()) return absl::UnavailableError(fenced_.message());
  if (shut_down_) {
    return absl::UnavailableError(
        "the coordinator is shutting down; try again later");
  }
  return absl::OkStatus();
}

absl::Time CoordinatorImpl::Advance(absl::Time now) {
  // Callers' clocks may be read in another order than their calls arrive. More
  // than that is a clock that was set back; to wait until it has caught up
  // would be to miss every deadline until then.
  constexpr absl::Duration kMostReordering = absl::Minutes(1);
  if (now_ - now > kMostReordering) {
    LOG(WARNING) << "the clock went back by " << now_ - now
                 << "; deadlines are moved to match";
    now_ = now;
    clock_went_back_ = true;
  }
  now_ = std::max(now_, now);
  return now_;
}

// Time.

void CoordinatorImpl::Tick(absl::Time now) {
  {
    MutexLock lock(&mutex_);
    now = Advance(now);
    const bool clock_went_back = std::exchange(clock_went_back_, false);
    if (wake_at_ <= now || clock_went_back) wake_at_ = absl::InfiniteFuture();
    if (clock_went_back && !commit_status_.ok()) retry_commit_at_ = now;
    DeviceRegistry::Due due = devices_.Tick(now);
    for (Done<v1::CheckInResponse>& done : due.hung_up) {
      AnswerComeBack(std::move(done), "no work at the moment");
    }
    for (const DeviceId& device : due.gone) {
      for (auto& [id, context] : tasks_) context->run->DeviceLeaves(device);
    }
    for (auto& [id, context] : tasks_) TickSecureSessions(*context, now);
    // A deadline is not held against devices whose updates could not be
    // recorded: first the storage must take records again.
    if (retry_commit_at_ <= now) {
      retry_commit_at_ = absl::InfiniteFuture();
    } else if (commit_status_.ok()) {
      for (auto& [id, context] : tasks_) {
        if (clock_went_back || context->run->NextTime() <= now) {
          Apply(*context, context->run->Tick(now));
        }
      }
    }
    Settle();
  }
  RunGathered();
}

void CoordinatorImpl::Shutdown(absl::Time now) {
  {
    MutexLock lock(&mutex_);
    Advance(now);
    shut_down_ = true;
    for (Done<v1::CheckInResponse>& done : devices_.TakeAllParked()) {
      AnswerComeBack(std::move(done), "the coordinator is shutting down");
    }
    for (const auto& [id, context] : tasks_) {
      if (context->secure == nullptr) continue;
      WithSessions(*context,
                   [](SecureSessions& sessions) { sessions.EndStreams(); });
    }
  }
  RunGathered();
  MutexLock lock(&mutex_);
  while (running_ > 0) idle_.Wait(&mutex_);
}

}  // namespace mledge
