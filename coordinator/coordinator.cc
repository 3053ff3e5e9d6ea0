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

// Recovery.

absl::StatusOr<std::string> CoordinatorImpl::ReadBlob(const Digest& name) {
  MLEDGE_ASSIGN_OR_RETURN(std::shared_ptr<const BlobReader> reader,
                          dependencies_.storage->OpenBlob(name));
  return reader->Read(0, reader->size_in_bytes());
}

absl::Status CoordinatorImpl::Recover(absl::Time now) {
  {
    MutexLock lock(&mutex_);
    now = Advance(now);
  }
  MLEDGE_ASSIGN_OR_RETURN(StoredState stored, dependencies_.storage->Load());
  {
    MutexLock lock(&mutex_);
    for (DeviceRecord& device : stored.devices) {
      devices_.Restore(std::move(device));
    }
  }
  std::sort(stored.rounds.begin(), stored.rounds.end(),
            [](const RoundRecord& a, const RoundRecord& b) {
              return a.round < b.round;
            });
  for (const TaskRecord& record : stored.tasks) {
    if (const absl::Status status = RecoverTask(now, record, stored);
        !status.ok()) {
      return Annotate(status, StrCat("taking up task ", record.id.value()));
    }
  }
  {
    MutexLock lock(&mutex_);
    Later([this] { CollectGarbage(); });
    Settle();
  }
  RunGathered();
  return absl::OkStatus();
}

absl::Status CoordinatorImpl::RecoverTask(absl::Time now,
                                          const TaskRecord& record,
                                          StoredState& stored) {
  MLEDGE_ASSIGN_OR_RETURN(const std::string signed_task,
                          ReadBlob(record.signed_task));
  MLEDGE_ASSIGN_OR_RETURN(const std::string package, ReadBlob(record.package));
  v1::SignedMessage message;
  v1::Task task;
  if (!message.ParseFromString(signed_task) ||
      !task.ParseFromString(message.payload())) {
    return absl::DataLossError("its stored signed task is unreadable");
  }
  MLEDGE_ASSIGN_OR_RETURN(
      LoadedTask loaded,
      LoadTask(std::move(task), signed_task, package, LoadOptionsOf()));
  TaskContext& context = *loaded.context;
  if (record.state == TaskState::kRunning) {
    MLEDGE_RETURN_IF_ERROR(CheckServices(context));
  }
  context.signed_task_size_in_bytes = signed_task.size();
  context.bytes_sent->store(record.bytes_sent);
  context.run = std::make_unique<TaskRun>(std::move(loaded.plan), record);

  TaskRun::Restored restored;
  const auto of_task = [&record](const auto& from, auto& to) {
    for (const auto& item : from) {
      if (item.task == record.id) to.push_back(item);
    }
  };
  of_task(stored.versions, restored.versions);
  of_task(stored.rounds, restored.rounds);
  of_task(stored.assignments, restored.assignments);
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<EventRecord> events,
                          dependencies_.storage->ReadEvents(record.id, 0));
  for (const EventRecord& event : events) {
    if (!restored.events.emplace_back().ParseFromString(event.event)) {
      return absl::DataLossError(
          StrCat("its stored event ", event.sequence, " is unreadable"));
    }
  }
  RestoreSum(context, stored, restored);
  std::set<AssignmentId> done_with;
  for (const AssignmentRecord& assignment : restored.assignments) {
    done_with.insert(assignment.id);
  }
  std::map<AssignmentId, std::unique_ptr<SpooledUpdate>> evaluations;
  restored.evaluation_update =
      [&](const AssignmentId& id) -> const UpdateView* {
    absl::StatusOr<std::unique_ptr<SpooledUpdate>> update =
        dependencies_.storage->OpenSpooled(id);
    if (!update.ok()) return nullptr;
    return &(evaluations[id] = *std::move(update))->view();
  };

  MutexLock lock(&mutex_);
  for (const VersionRecord& version : restored.versions) {
    context.versions[version.version] = version;
  }
  AddContext(std::move(loaded.context));
  if (!context.run->ended()) {
    for (const auto& [number, version] : context.versions) {
      fetchable_[version.parameters] = &context;
    }
  }
  Effects effects = context.run->Restore(now, std::move(restored));
  for (const AssignmentRecord& open : context.run->OpenAssignments()) {
    devices_.FindOrAdd(open.device).held = {open.task, open.id,
                                            open.expires_at};
    done_with.erase(open.id);
  }
  for (const AssignmentId& id : context.run->SpooledUpdates()) {
    done_with.erase(id);
  }
  // Files whose discarding the end of the last process prevented.
  batch_.discard.insert(batch_.discard.end(), done_with.begin(),
                        done_with.end());
  Apply(context, std::move(effects));
  return absl::OkStatus();
}

void CoordinatorImpl::RestoreSum(TaskContext& context,
                                 const StoredState& stored,
                                 TaskRun::Restored& restored) {
  if (restored.rounds.empty() ||
      restored.rounds.back().state != RoundState::kRunning) {
    return;
  }
  const RoundNumber round = restored.rounds.back().round;
  std::vector<const CheckpointRecord*> slots;
  for (const CheckpointRecord& record : stored.checkpoints) {
    if (record.task == context.id() && record.round == round) {
      slots.push_back(&record);
    }
  }
  // The sum only grows, so the one that holds more is the newer.
  std::sort(slots.begin(), slots.end(),
            [](const CheckpointRecord* a, const CheckpointRecord* b) {
              return a->folded.size() > b->folded.size();
            });
  for (const CheckpointRecord* slot : slots) {
    const absl::StatusOr<std::string> bytes = ReadBlob(slot->sum);
    absl::StatusOr<std::unique_ptr<Aggregator>> sum = MakeTrainingSum(context);
    absl::Status status = bytes.status();
    if (status.ok()) status = sum.status();
    if (status.ok()) status = (*sum)->Restore(*bytes);
    if (!status.ok()) {
      LOG(ERROR) << "task " << context.id() << ", round " << round
                 << ": checkpoint in slot " << slot->slot
                 << " is unusable: " << status;
      continue;
    }
    context.sum = *std::move(sum);
    context.sum_round = round;
    restored.saved = slot->folded;
    restored.saved_slot = slot->slot;
    return;
  }
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
  }
  RunGathered();
  MutexLock lock(&mutex_);
  while (running_ > 0) idle_.Wait(&mutex_);
}

}  // namespace mledge
