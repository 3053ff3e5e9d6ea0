// Effects, commits and jobs of the driver.
#include <algorithm>
#include <iterator>
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/coordinator/storage_trouble.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {
namespace {

// After so many published versions and checkpoints, blobs that nobody names are
// freed.
constexpr int64_t kBlobsPerCollection = 16;

// Worth another try: the disk may have room again, the store may answer.
bool MayWorkLater(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kPermissionDenied:
      return true;
    default:
      return false;
  }
}

TaskRun::JobFailure JudgeFailure(const Job& job, const absl::Status& status) {
  // Without a checkpoint the sum is still in memory and the updates on disk.
  if (MayWorkLater(status) || std::holds_alternative<CheckpointJob>(job)) {
    return TaskRun::JobFailure::kRetry;
  }
  // An update that is gone spoils its round; parameters that are gone, or no
  // longer finite, would spoil every round to come.
  return std::holds_alternative<FoldJob>(job) ? TaskRun::JobFailure::kRoundFails
                                              : TaskRun::JobFailure::kTaskFails;
}

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

// Jobs.

void CoordinatorImpl::RunJob(TaskContext* context, const Job& job) {
  TaskRun& run = *context->run;
  if (const auto* const fold = std::get_if<FoldJob>(&job)) {
    FinishJob(*context, job, Fold(*context, *fold),
              [&run](absl::Time now) { return run.FoldDone(now); });
    return;
  }
  if (const auto* const session = std::get_if<SecureSessionJob>(&job)) {
    RunSecureSession(*context, *session);
    return;
  }
  BeginBlobUse();
  if (std::holds_alternative<CheckpointJob>(job)) {
    const absl::StatusOr<Digest> sum =
        dependencies_.storage->PutBlob(context->sum->Serialize());
    FinishJob(*context, job, sum.status(),
              [&](absl::Time now) { return run.CheckpointDone(now, *sum); });
  } else {
    const auto& publish = std::get<PublishJob>(job);
    absl::Time now;
    TaskRecord record;
    VersionRecord base;
    {
      MutexLock lock(&mutex_);
      now = now_;
      record = run.record();
      base = context->versions.at(publish.base_version);
    }
    absl::Status status;
    if (context->publisher == nullptr) {
      absl::StatusOr<std::unique_ptr<Publisher>> publisher = Publisher::Create(
          {.storage = dependencies_.storage,
           .pool = dependencies_.pool,
           .sign_version = dependencies_.sign_version,
           .noise_random = &NoiseRandom()},
          context->task, context->private_task, context->layout, record, base);
      status = publisher.status();
      if (publisher.ok()) context->publisher = *std::move(publisher);
    }
    TaskRun::Publication publication;
    if (status.ok()) {
      const AggregationSum& sum = context->sum->sum();
      absl::StatusOr<VersionRecord> version =
          context->publisher->Publish(now, publish.round, sum);
      status = version.status();
      if (version.ok()) {
        publication.version = *std::move(version);
        publication.bytes_sent = context->bytes_sent->load();
      }
      if (version.ok() && context->private_task != nullptr) {
        // No sum but the noised one is told of.
        absl::StatusOr<double> spent = EpsilonSpent(*context);
        if (spent.ok()) publication.epsilon_spent = *spent;
        status = spent.status();
      } else if (version.ok()) {
        const double examples = sum.Scalar(kExamplesScalar);
        publication.examples = static_cast<int64_t>(examples);
        if (examples > 0) {
          publication.training_loss = sum.Scalar(kLossSumScalar) / examples;
          publication.training_metric = sum.Scalar(kMetricSumScalar) / examples;
        }
      }
    }
    FinishJob(*context, job, status, [&](absl::Time at) {
      Effects effects = run.PublishDone(at, publication);
      if (effects.persist.versions.empty()) {
        // Its round ended meanwhile: nobody may see what it came to.
        context->publisher.reset();
        return effects;
      }
      // The moments of the version before are of no use to anybody now, and its
      // noise would only be a danger.
      if (base.optimizer_state.has_value() || base.noise_state.has_value()) {
        base.optimizer_state.reset();
        base.noise_state.reset();
        effects.persist.versions.insert(effects.persist.versions.begin(), base);
      }
      return effects;
    });
  }
}

absl::Status CoordinatorImpl::Fold(TaskContext& context, const FoldJob& job) {
  if (context.sum == nullptr || context.sum_round != job.round) {
    MLEDGE_ASSIGN_OR_RETURN(context.sum, MakeTrainingSum(context));
    context.sum_round = job.round;
  }
  std::vector<std::unique_ptr<SpooledUpdate>> updates;
  std::vector<const UpdateView*> views;
  for (const AssignmentId& id : job.updates) {
    absl::StatusOr<std::unique_ptr<SpooledUpdate>> update =
        dependencies_.storage->OpenSpooled(id);
    if (!update.ok()) {
      return Annotate(update.status(),
                      StrCat("acknowledged update of assignment ", id.value(),
                             " cannot be read"));
    }
    views.push_back(&(*update)->view());
    updates.push_back(*std::move(update));
  }
  return context.sum->Fold(views, dependencies_.pool);
}

void CoordinatorImpl::FinishJob(
    TaskContext& context, const Job& job, const absl::Status& status,
    const std::function<Effects(absl::Time)>& done) {
  const bool stored_blobs = !std::holds_alternative<FoldJob>(job);
  if (stored_blobs && !status.ok()) EndBlobUse();
  {
    MutexLock lock(&mutex_);
    Effects effects;
    if (status.ok()) {
      effects = done(now_);
    } else {
      LOG(ERROR) << "task " << context.id() << ": " << status;
      effects = context.run->JobFailed(now_, status, JudgeFailure(job, status));
    }
    if (stored_blobs && status.ok()) {
      // With the record that names them; before a collection that follows.
      batch_.then.push_back([this] { EndBlobUse(); });
    }
    Apply(context, std::move(effects));
    if (stored_blobs && status.ok() &&
        ++blobs_since_collection_ >= kBlobsPerCollection) {
      batch_.then.push_back([this] { CollectGarbage(); });
    }
    Settle();
  }
  RunGathered();
}

// Garbage.

void CoordinatorImpl::BeginBlobUse() {
  MutexLock lock(&mutex_);
  while (collecting_) idle_.Wait(&mutex_);
  ++blob_uses_;
}

void CoordinatorImpl::EndBlobUse() {
  MutexLock lock(&mutex_);
  --blob_uses_;
}

void CoordinatorImpl::CollectGarbage() {
  {
    MutexLock lock(&mutex_);
    // Another publication or the next task's end will see to it.
    if (blob_uses_ > 0 || collecting_) return;
    collecting_ = true;
    blobs_since_collection_ = 0;
  }
  if (const absl::Status status = dependencies_.storage->CollectGarbage();
      !status.ok()) {
    LOG(WARNING) << "blobs that nobody needs stay: " << status;
  }
  MutexLock lock(&mutex_);
  collecting_ = false;
  idle_.SignalAll();
}

}  // namespace mledge
