// Effects and commits of the driver.
#include <algorithm>
#include <iterator>
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/coordinator/storage_trouble.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {
namespace {

template <typename T>
void MoveTo(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()),
            std::make_move_iterator(from.end()));
}

}  // namespace

bool CoordinatorImpl::Batch::empty() const {
  return transaction.empty() && answers.empty() && events.empty() &&
         discard.empty() && published.empty() && then.empty();
}

void CoordinatorImpl::Batch::Append(Batch later) {
  transaction.Append(std::move(later.transaction));
  MoveTo(answers, later.answers);
  MoveTo(events, later.events);
  MoveTo(discard, later.discard);
  MoveTo(published, later.published);
  MoveTo(then, later.then);
}

void CoordinatorImpl::Apply(TaskContext& context, Effects effects) {
  for (const VersionRecord& version : effects.persist.versions) {
    context.versions[version.version] = version;
    batch_.published.emplace_back(&context, version);
  }
  batch_.transaction.Append(std::move(effects.persist));
  if (effects.task_ended && !context.versions.empty()) {
    // No round follows that would need the noise, or remove it.
    VersionRecord& newest = context.versions.rbegin()->second;
    if (std::exchange(newest.noise_state, std::nullopt).has_value()) {
      batch_.transaction.versions.push_back(newest);
    }
  }
  for (const AssignmentRecord& record : effects.issued) Issue(context, record);
  for (const AssignmentRecord& record : effects.ended) {
    DeviceRegistry::Entry& entry = devices_.FindOrAdd(record.device);
    if (entry.held.has_value() && entry.held->assignment == record.id) {
      entry.held.reset();
    }
    if (record.state == AssignmentState::kAcknowledged) {
      ++entry.record.acknowledged;
    } else {
      if (record.state == AssignmentState::kFailed) ++entry.record.failed;
      // What there is of an upload goes nowhere.
      batch_.discard.push_back(record.id);
    }
    batch_.transaction.devices.push_back(entry.record);
    TellEndOfAssignment(context, record);
  }
  MoveTo(batch_.events, effects.events);
  MoveTo(batch_.discard, effects.discard);
  if (effects.job.has_value()) {
    batch_.then.push_back([this, &context, job = *std::move(effects.job)] {
      RunJob(&context, job);
    });
  }
  if (effects.task_ended) {
    if (context.secure != nullptr) {
      WithSessions(context, [now = now_](SecureSessions& sessions) {
        sessions.Abort(now, "the task has ended");
      });
    }
    absl::erase_if(fetchable_, [&context](const auto& blob) {
      return blob.second == &context;
    });
    batch_.then.push_back([this] { CollectGarbage(); });
  }
}

void CoordinatorImpl::Issue(TaskContext& context,
                            const AssignmentRecord& record) {
  DeviceRegistry::Entry& entry = devices_.FindOrAdd(record.device);
  // No other task may draw it any more.
  for (auto& [id, task] : tasks_) task->run->DeviceLeaves(record.device);
  entry.held = {record.task, record.id, record.expires_at};
  if (record.kind == AssignmentKind::kTrain) {
    entry.record.assignments[record.task] = record.ordinal.value() + 1;
    entry.record.last_assigned[record.task] = record.issued_at;
  }
  batch_.transaction.devices.push_back(entry.record);
  if (Done<v1::CheckInResponse> parked = devices_.StopWaiting(entry)) {
    AnswerAssignment(context, record, std::move(parked));
  }
}

void CoordinatorImpl::Settle() {
  // The task that was served longest ago comes first. While the storage takes
  // nothing, nothing new is begun.
  while (commit_status_.ok() && !shut_down_) {
    TaskContext* next = nullptr;
    for (const auto& [id, context] : tasks_) {
      if ((next == nullptr || context->last_served < next->last_served) &&
          context->run->Hungry(now_)) {
        next = context.get();
      }
    }
    if (next == nullptr) break;
    Effects effects = next->run->TakeDevices(now_);
    if (effects.issued.empty()) {
      Apply(*next, std::move(effects));
      break;
    }
    next->last_served = ++serving_turn_;
    Apply(*next, std::move(effects));
  }
  if (!committing_ && !batch_.empty()) {
    committing_ = true;
    Later([this] { CommitGathered(); });
  }
  absl::Time next = std::min(devices_.NextTime(), retry_commit_at_);
  if (commit_status_.ok()) {
    for (const auto& [id, context] : tasks_) {
      next = std::min(next, context->run->NextTime());
    }
  }
  WakeAt(next);
}

void CoordinatorImpl::WakeAt(absl::Time time) {
  if (time >= wake_at_ || shut_down_) return;
  wake_at_ = time;
  Later([this, time] { dependencies_.wake_at(time); });
}

void CoordinatorImpl::Later(std::function<void()> work) {
  gathered_.push_back(std::move(work));
}

void CoordinatorImpl::RunGathered() {
  std::vector<std::function<void()>> work;
  {
    MutexLock lock(&mutex_);
    work.swap(gathered_);
    running_ += static_cast<int64_t>(work.size());
  }
  for (std::function<void()>& piece : work) {
    executor_->Schedule([this, piece = std::move(piece)] {
      piece();
      MutexLock lock(&mutex_);
      if (--running_ == 0) idle_.SignalAll();
    });
  }
}

void CoordinatorImpl::CommitGathered() {
  for (;;) {
    Batch batch;
    {
      MutexLock lock(&mutex_);
      if (batch_.empty()) {
        committing_ = false;
        break;
      }
      batch = std::exchange(batch_, {});
    }
    if (!batch.transaction.empty()) {
      if (const absl::Status status =
              dependencies_.storage->Commit(batch.transaction);
          !status.ok()) {
        CommitFailed(std::move(batch), status);
        break;
      }
      MutexLock lock(&mutex_);
      commit_status_ = absl::OkStatus();
      retry_commit_at_ = absl::InfiniteFuture();
    }
    if (!batch.published.empty()) {
      MutexLock lock(&mutex_);
      for (const auto& [context, version] : batch.published) {
        context->served = std::max(context->served, version.version);
        if (!context->run->ended()) fetchable_[version.parameters] = context;
      }
    }
    for (const Answer& answer : batch.answers) answer(absl::OkStatus());
    feed_.Publish(batch.events);
    if (!batch.discard.empty()) {
      if (const absl::Status status =
              dependencies_.storage->DiscardSpooled(batch.discard);
          !status.ok()) {
        LOG(WARNING) << "spooled updates that are done with stay: " << status;
      }
    }
    MutexLock lock(&mutex_);
    for (std::function<void()>& work : batch.then) Later(std::move(work));
    if (batch_.empty()) Settle();
  }
  RunGathered();
}

void CoordinatorImpl::CommitFailed(Batch batch, const absl::Status& status) {
  std::vector<Answer> answers;
  bool taken_over = false;
  {
    MutexLock lock(&mutex_);
    if (commit_status_.ok()) {
      LOG(ERROR) << "the storage takes no records: " << status;
    }
    answers = std::exchange(batch.answers, {});
    MoveTo(answers, batch_.answers);
    batch_.answers.clear();
    batch.Append(std::exchange(batch_, {}));
    // Progress that nobody saw in time is of no interest later.
    std::erase_if(batch.events, [](const v1::TaskEvent& event) {
      return event.sequence() == 0;
    });
    batch_ = std::move(batch);
    commit_status_ = status;
    committing_ = false;
    if (status.code() == absl::StatusCode::kFailedPrecondition) {
      taken_over = fenced_.ok();
      fenced_ = status;
    } else {
      retry_commit_at_ = now_ + TaskRun::kRetryPause;
      WakeAt(retry_commit_at_);
    }
  }
  const absl::Status told =
      Annotate(MayPass(status),
               "the coordinator could not record this, try again later");
  for (const Answer& answer : answers) answer(told);
  if (taken_over && dependencies_.on_taken_over != nullptr) {
    dependencies_.on_taken_over(status);
  }
}

}  // namespace mledge
