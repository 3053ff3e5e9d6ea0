// What operators ask of the driver.
#include <algorithm>
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/coordinator/internal/task_events.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/v1/signature.pb.h"

namespace mledge {
namespace {

// What an operator signed; a signature over the same bytes differs each time.
std::string PayloadOf(const std::string& signed_task) {
  v1::SignedMessage message;
  if (!message.ParseFromString(signed_task)) return signed_task;
  return message.payload();
}

v1::ModelVersion ToMessage(const VersionRecord& record) {
  v1::ModelVersion version;
  version.set_version(record.version.value());
  version.mutable_parameters()->set_sha256(record.parameters.ToBytes());
  version.mutable_parameters()->set_size_in_bytes(
      record.parameters_size_in_bytes);
  version.set_round(record.round.value());
  *version.mutable_published_at() = ToTimestamp(record.published_at);
  return version;
}

}  // namespace

// Submission.

absl::StatusOr<bool> CoordinatorImpl::IsSubmitted(
    const Submission& submission) {
  const TaskId id(submission.task.name());
  TaskRecord record;
  {
    MutexLock lock(&mutex_);
    const absl::StatusOr<TaskContext*> context = FindTask(id);
    if (absl::IsNotFound(context.status())) return false;
    MLEDGE_RETURN_IF_ERROR(context.status());
    record = (*context)->run->record();
  }
  MLEDGE_ASSIGN_OR_RETURN(
      const std::string signed_task,
      ReadVerifiedBlob(*dependencies_.storage, record.signed_task));
  if (PayloadOf(signed_task) == PayloadOf(submission.signed_task) &&
      record.package == Sha256Of(submission.package_file)) {
    return true;
  }
  return absl::AlreadyExistsError(
      StrCat("task \"", id.value(),
             "\" exists with other content; give the new one another name"));
}

void CoordinatorImpl::SubmitTask(absl::Time now, Submission submission,
                                 Done<TaskId> done) {
  const TaskId id(submission.task.name());
  absl::Status refused = ValidateId("task name", id.value());
  {
    MutexLock lock(&mutex_);
    Advance(now);
    if (refused.ok()) refused = Available();
    if (refused.ok() && !submitting_.insert(id).second) {
      refused = absl::AbortedError(
          StrCat("task \"", id.value(), "\" is being submitted already"));
    }
    if (refused.ok()) {
      auto work = std::make_shared<Submission>(std::move(submission));
      Later([this, work, done] { StoreSubmission(std::move(*work), done); });
    }
  }
  if (!refused.ok()) {
    done(refused);
    return;
  }
  RunGathered();
}

void CoordinatorImpl::StoreSubmission(Submission submission,
                                      Done<TaskId> done) {
  const TaskId id(submission.task.name());
  const auto fail = [&](const absl::Status& status) {
    {
      MutexLock lock(&mutex_);
      submitting_.erase(id);
    }
    done(status);
  };
  const absl::StatusOr<bool> submitted = IsSubmitted(submission);
  if (!submitted.ok()) return fail(submitted.status());
  if (*submitted) {
    {
      MutexLock lock(&mutex_);
      submitting_.erase(id);
      // Not before the first submission is on disk.
      AnswerWhenDurable(done, id);
      Settle();
    }
    RunGathered();
    return;
  }
  absl::StatusOr<LoadedTask> loaded =
      LoadTask(submission.task, submission.signed_task, submission.package_file,
               LoadOptionsOf());
  if (!loaded.ok()) return fail(loaded.status());
  if (absl::Status able = CheckServices(*loaded->context); !able.ok()) {
    return fail(able);
  }
  absl::Time now;
  {
    MutexLock lock(&mutex_);
    now = now_;
  }
  TaskRecord record;
  record.id = id;
  record.submitted_by = submission.submitted_by;
  record.submitted_at = now;
  BeginBlobUse();
  absl::StatusOr<VersionRecord> version;
  const absl::Status stored = [&]() -> absl::Status {
    MLEDGE_ASSIGN_OR_RETURN(record.signed_task, dependencies_.storage->PutBlob(
                                                    submission.signed_task));
    MLEDGE_ASSIGN_OR_RETURN(record.package, dependencies_.storage->PutBlob(
                                                submission.package_file));
    version = StoreVersion({.storage = dependencies_.storage,
                            .pool = dependencies_.pool,
                            .sign_version = dependencies_.sign_version},
                           now, id, record.package, RoundNumber(0),
                           VersionNumber(0), loaded->initial_parameters);
    return version.status();
  }();
  if (!stored.ok()) {
    EndBlobUse();
    return fail(stored);
  }
  TaskContext& context = *loaded->context;
  context.signed_task_size_in_bytes = submission.signed_task.size();
  Effects effects;
  std::optional<TaskPrivacy> privacy;
  if (loaded->plan.privacy.has_value()) {
    absl::StatusOr<TaskPrivacy> created = TaskPrivacy::Create(
        now, *loaded->plan.privacy, Ledger(context.task_sha256),
        WhyNotPrivate(), id, &effects.persist);
    if (!created.ok()) {
      EndBlobUse();
      return fail(created.status());
    }
    privacy = *std::move(created);
    record.ledger = privacy->ledger().head();
  }
  context.run = std::make_unique<TaskRun>(std::move(loaded->plan), record,
                                          std::move(privacy), &NoiseRandom());
  {
    MutexLock lock(&mutex_);
    submitting_.erase(id);
    AddContext(std::move(loaded->context));
    effects.persist.tasks.push_back(record);
    effects.persist.versions.push_back(*std::move(version));
    Apply(context, std::move(effects));
    batch_.then.push_back([this] { EndBlobUse(); });
    AnswerWhenDurable(done, id);
    Settle();
  }
  RunGathered();
}

void CoordinatorImpl::AddContext(std::unique_ptr<TaskContext> context) {
  TaskContext& added = *context;
  const TaskId id = added.id();
  added.last_served = serving_turn_;
  tasks_[id] = std::move(context);
  if (added.run->ended()) return;
  StartSecureSessions(added);
  fetchable_[added.run->record().signed_task] = &added;
  fetchable_[added.run->record().package] = &added;
  std::vector<DeviceRegistry::Entry*> waiting;
  devices_.ForEach([&waiting](DeviceRegistry::Entry& entry) {
    if (entry.waits) waiting.push_back(&entry);
  });
  for (DeviceRegistry::Entry* const entry : waiting) AddWaiting(added, *entry);
}

void CoordinatorImpl::CancelTask(absl::Time now, const TaskId& task,
                                 Done<v1::CancelTaskResponse> done) {
  absl::Status refused;
  {
    MutexLock lock(&mutex_);
    now = Advance(now);
    refused = Available();
    const auto set_aside = set_aside_.find(task);
    const absl::StatusOr<TaskContext*> found = FindTask(task);
    if (refused.ok() && set_aside != set_aside_.end() &&
        set_aside->second.record.state == TaskState::kRunning) {
      CancelSetAside(set_aside->second.record, done);
      Settle();
    } else if (refused.ok() && !found.ok()) {
      refused = found.status();
    } else if (refused.ok()) {
      TaskContext& context = **found;
      const TaskState state = context.run->record().state;
      if (state == TaskState::kCompleted || state == TaskState::kFailed) {
        refused = absl::FailedPreconditionError(
            StrCat("task \"", task.value(),
                   "\" has ended: ", context.run->record().reason));
      } else {
        Apply(context, context.run->Cancel(now));
        AnswerWhenDurable(done, v1::CancelTaskResponse());
        Settle();
      }
    }
  }
  if (!refused.ok()) {
    done(refused);
    return;
  }
  RunGathered();
}

// It has ended once that is on the disk, and not before: a restart would take
// it up again.
void CoordinatorImpl::CancelSetAside(TaskRecord record,
                                     Done<v1::CancelTaskResponse> done) {
  record.state = TaskState::kCancelled;
  record.reason = "cancelled by an operator";
  const auto note = [this, record] {
    MutexLock lock(&mutex_);
    set_aside_.at(record.id).record = record;
  };
  batch_.transaction.tasks.push_back(record);
  batch_.answers.push_back(
      [note, done = std::move(done)](const absl::Status& durable) {
        if (!durable.ok()) return done(durable);
        note();
        done(v1::CancelTaskResponse());
      });
  // Where the disk takes it later than the caller waits.
  batch_.then.push_back(note);
}

// Questions.

absl::StatusOr<TaskContext*> CoordinatorImpl::FindTask(const TaskId& task) {
  if (const auto found = tasks_.find(task); found != tasks_.end()) {
    return found->second.get();
  }
  if (const auto found = set_aside_.find(task); found != set_aside_.end()) {
    return absl::DataLossError(found->second.why);
  }
  return absl::NotFoundError(StrCat("no task \"", task.value(), "\""));
}

v1::TaskSummary CoordinatorImpl::Summarize(const TaskContext& context) const {
  const TaskRun& run = *context.run;
  const TaskRecord& record = run.record();
  v1::TaskSummary summary;
  summary.set_task_id(record.id.value());
  summary.set_state(ToMessage(record.state));
  summary.set_reason(record.reason);
  summary.set_round(record.round.value());
  summary.set_rounds(run.plan().rounds);
  summary.set_version(record.version.value());
  if (run.loss().has_value()) summary.set_loss(*run.loss());
  if (run.metric().has_value()) summary.set_metric(*run.metric());
  summary.set_metric_name(run.plan().metric_name);
  *summary.mutable_submitted_at() = ToTimestamp(record.submitted_at);
  summary.set_submitted_by(record.submitted_by);
  summary.set_bytes_received(record.bytes_received);
  summary.set_bytes_sent(context.bytes_sent->load());
  summary.set_skipped_evaluations(run.skipped_evaluations());
  summary.set_hindrance(run.Hindrance());
  return summary;
}

v1::TaskSummary CoordinatorImpl::SummarizeSetAside(const TaskSetAside& task) {
  const TaskRecord& record = task.record;
  v1::TaskSummary summary;
  summary.set_task_id(record.id.value());
  summary.set_state(record.state == TaskState::kRunning
                        ? v1::SET_ASIDE
                        : ToMessage(record.state));
  summary.set_reason(task.why);
  summary.set_round(record.round.value());
  summary.set_version(record.version.value());
  *summary.mutable_submitted_at() = ToTimestamp(record.submitted_at);
  summary.set_submitted_by(record.submitted_by);
  summary.set_bytes_received(record.bytes_received);
  summary.set_bytes_sent(record.bytes_sent);
  return summary;
}

std::vector<v1::TaskSummary> CoordinatorImpl::ListTasks() {
  std::vector<v1::TaskSummary> tasks;
  MutexLock lock(&mutex_);
  for (const auto& [id, context] : tasks_) {
    tasks.push_back(Summarize(*context));
  }
  for (const auto& [id, task] : set_aside_) {
    tasks.push_back(SummarizeSetAside(task));
  }
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const v1::TaskSummary& a, const v1::TaskSummary& b) {
                     return a.submitted_at().seconds() <
                            b.submitted_at().seconds();
                   });
  return tasks;
}

absl::StatusOr<v1::GetTaskResponse> CoordinatorImpl::GetTask(
    const TaskId& task) {
  MutexLock lock(&mutex_);
  MLEDGE_ASSIGN_OR_RETURN(const TaskContext* const context, FindTask(task));
  v1::GetTaskResponse response;
  *response.mutable_summary() = Summarize(*context);
  *response.mutable_task() = context->task;
  for (const auto& [number, version] : context->versions) {
    if (number > context->served) break;
    *response.add_versions() = ToMessage(version);
  }
  for (const v1::TaskEvent& event : context->run->device_failures()) {
    *response.add_device_failures() = event;
  }
  return response;
}

std::vector<v1::DeviceSummary> CoordinatorImpl::ListDevices() {
  std::vector<v1::DeviceSummary> devices;
  {
    MutexLock lock(&mutex_);
    devices_.ForEach([&devices](const DeviceRegistry::Entry& entry) {
      const DeviceRecord& record = entry.record;
      v1::DeviceSummary& summary = devices.emplace_back();
      summary.set_device_id(record.id.value());
      summary.set_role(record.role);
      *summary.mutable_last_seen() = ToTimestamp(record.last_seen);
      summary.set_population(record.population);
      summary.set_software(record.software);
      int64_t assignments = 0;
      for (const auto& [task, count] : record.assignments) {
        assignments += count;
      }
      summary.set_assignments(assignments);
      summary.set_acknowledged(record.acknowledged);
      summary.set_failed(record.failed);
    });
  }
  std::sort(devices.begin(), devices.end(),
            [](const v1::DeviceSummary& a, const v1::DeviceSummary& b) {
              return a.device_id() < b.device_id();
            });
  return devices;
}

absl::StatusOr<std::unique_ptr<Coordinator::Subscription>>
CoordinatorImpl::Watch(const TaskId& task,
                       std::function<void(const v1::TaskEvent&)> sink) {
  {
    MutexLock lock(&mutex_);
    MLEDGE_RETURN_IF_ERROR(FindTask(task).status());
  }
  return feed_.Subscribe(task, std::move(sink));
}

absl::StatusOr<Coordinator::ModelBlobs> CoordinatorImpl::OpenModel(
    const TaskId& task, std::optional<VersionNumber> version) {
  VersionRecord record;
  Digest package;
  {
    MutexLock lock(&mutex_);
    MLEDGE_ASSIGN_OR_RETURN(const TaskContext* const found, FindTask(task));
    const TaskContext& context = *found;
    const VersionNumber number = version.value_or(context.served);
    const auto wanted = context.versions.find(number);
    if (wanted == context.versions.end() || number > context.served) {
      return absl::NotFoundError(
          StrCat("task \"", task.value(), "\" has no version ", number.value(),
                 "; the newest is ", context.served.value()));
    }
    record = wanted->second;
    package = context.run->record().package;
  }
  ModelBlobs blobs;
  blobs.version = ToMessage(record);
  MLEDGE_ASSIGN_OR_RETURN(blobs.package,
                          dependencies_.storage->OpenBlob(package));
  MLEDGE_ASSIGN_OR_RETURN(blobs.parameters,
                          dependencies_.storage->OpenBlob(record.parameters));
  return blobs;
}

}  // namespace mledge
