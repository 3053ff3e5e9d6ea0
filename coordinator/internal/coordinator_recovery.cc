// Taking up after a restart what the storage holds.
#include <algorithm>
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/coordinator/internal/private_task_plan.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/v1/signature.pb.h"

namespace mledge {
namespace {

// A running task goes on from its newest version; older ones serve readers
// only, who compare what they get with its name.
absl::Status VerifyNewestVersion(CoordinatorStorage& storage,
                                 const TaskRecord& task,
                                 const std::vector<VersionRecord>& versions) {
  const auto newest = std::find_if(versions.begin(), versions.end(),
                                   [&task](const VersionRecord& version) {
                                     return version.version == task.version;
                                   });
  if (newest == versions.end()) {
    return absl::DataLossError(
        StrCat("there is no record of its version ", task.version.value(),
               ": restore the state directory from a backup"));
  }
  const std::string what = StrCat("version ", task.version.value());
  MLEDGE_RETURN_IF_ERROR(
      Annotate(VerifyBlob(storage, newest->parameters), what));
  if (newest->noise_state.has_value()) {
    MLEDGE_RETURN_IF_ERROR(Annotate(VerifyBlob(storage, *newest->noise_state),
                                    StrCat("state of the noise of ", what)));
  }
  if (!newest->optimizer_state.has_value()) return absl::OkStatus();
  return Annotate(VerifyBlob(storage, *newest->optimizer_state),
                  StrCat("server optimizer's state of ", what));
}

}  // namespace

absl::Status CoordinatorImpl::Recover(absl::Time now) {
  {
    MutexLock lock(&mutex_);
    now = Advance(now);
  }
  MLEDGE_ASSIGN_OR_RETURN(StoredState stored, dependencies_.storage->Load());
  // A noised sum that a crash kept from being published goes before the sum is
  // noised again: two noisings of one sum, compared, would tell what it was.
  if (const absl::Status collected = dependencies_.storage->CollectGarbage();
      !collected.ok()) {
    if (!stored.ledger.empty()) {
      return Annotate(collected,
                      "private tasks cannot go on before blobs that nobody "
                      "names are removed");
    }
    LOG(WARNING) << "blobs that nobody needs stay: " << collected;
  }
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
    absl::StatusOr<StoredTask> task = ReadStoredTask(now, record, stored);
    if (!task.ok()) {
      SetAside(record, task.status());
      continue;
    }
    const absl::Status able = record.state == TaskState::kRunning
                                  ? CheckServices(*task->loaded.context)
                                  : absl::OkStatus();
    if (!able.ok()) {
      return Annotate(able, StrCat("taking up task ", record.id.value()));
    }
    TakeUp(now, record, stored, *std::move(task));
  }
  {
    MutexLock lock(&mutex_);
    Settle();
  }
  RunGathered();
  return absl::OkStatus();
}

void CoordinatorImpl::SetAside(const TaskRecord& record,
                               const absl::Status& status) {
  const std::string why = StrCat(
      "task \"", record.id.value(), "\" was set aside: ", status.message(),
      record.state == TaskState::kRunning ? "; or cancel the task" : "");
  LOG(ERROR) << why;
  MutexLock lock(&mutex_);
  set_aside_[record.id] = {.record = record, .why = why};
}

absl::StatusOr<CoordinatorImpl::StoredTask> CoordinatorImpl::ReadStoredTask(
    absl::Time now, const TaskRecord& record, const StoredState& stored) {
  CoordinatorStorage& storage = *dependencies_.storage;
  absl::StatusOr<std::string> signed_task =
      ReadVerifiedBlob(storage, record.signed_task);
  if (!signed_task.ok()) return Annotate(signed_task.status(), "signed task");
  absl::StatusOr<std::string> package =
      ReadVerifiedBlob(storage, record.package);
  if (!package.ok()) return Annotate(package.status(), "model package");
  v1::SignedMessage message;
  v1::Task task;
  if (!message.ParseFromString(*signed_task) ||
      !task.ParseFromString(message.payload())) {
    return absl::DataLossError("its stored signed task is unreadable");
  }
  const Digest task_sha256 = Sha256Of(message.payload());
  std::vector<StoredLedgerEntry> entries;
  for (const LedgerRecord& entry : stored.ledger) {
    if (entry.task == record.id) entries.push_back(entry.entry);
  }
  std::optional<Ledger> ledger;
  if (record.ledger.sequence > 0 || !entries.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(
        ledger, Ledger::Restore(task_sha256, entries, record.ledger));
    MLEDGE_RETURN_IF_ERROR(CheckPaid(*ledger, record.version));
  }
  StoredTask result;
  LoadOptions load = LoadOptionsOf();
  load.ledger = ledger.has_value() ? &*ledger : nullptr;
  load.ended = record.state != TaskState::kRunning;
  MLEDGE_ASSIGN_OR_RETURN(
      result.loaded, LoadTask(std::move(task), *signed_task, *package, load));
  if (result.loaded.plan.privacy.has_value()) {
    if (!ledger.has_value()) {
      return absl::DataLossError(
          "it is private and has no privacy ledger; restore the newest backup "
          "of the state directory, whose ledger is whole");
    }
    MLEDGE_ASSIGN_OR_RETURN(
        result.privacy,
        TaskPrivacy::Create(now, *result.loaded.plan.privacy,
                            *std::move(ledger), WhyNotPrivate(), record.id,
                            &result.privacy_changes));
    for (const ParticipationRow& row : stored.participations) {
      if (row.task != record.id) continue;
      MLEDGE_RETURN_IF_ERROR(result.privacy->Restore(row.device, row.record));
    }
  }
  result.loaded.context->signed_task_size_in_bytes = signed_task->size();

  TaskRun::Restored& restored = result.restored;
  const auto of_task = [&record](const auto& from, auto& to) {
    for (const auto& item : from) {
      if (item.task == record.id) to.push_back(item);
    }
  };
  of_task(stored.versions, restored.versions);
  of_task(stored.rounds, restored.rounds);
  of_task(stored.assignments, restored.assignments);
  if (record.state == TaskState::kRunning) {
    MLEDGE_RETURN_IF_ERROR(
        VerifyNewestVersion(storage, record, restored.versions));
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<EventRecord> events,
                          storage.ReadEvents(record.id, 0));
  for (const EventRecord& event : events) {
    if (!restored.events.emplace_back().ParseFromString(event.event)) {
      return absl::DataLossError(
          StrCat("its stored event ", event.sequence,
                 " is unreadable: restore the state directory from a backup"));
    }
  }
  return result;
}

void CoordinatorImpl::TakeUp(absl::Time now, const TaskRecord& record,
                             const StoredState& stored, StoredTask task) {
  TaskContext& context = *task.loaded.context;
  TaskRun::Restored& restored = task.restored;
  context.bytes_sent->store(record.bytes_sent);
  context.served = record.version;
  TaskRecord now_recorded = record;
  if (task.privacy.has_value()) {
    // Marked just now.
    now_recorded.ledger = task.privacy->ledger().head();
    if (!task.privacy_changes.empty()) {
      task.privacy_changes.tasks.push_back(now_recorded);
    }
  }
  context.run = std::make_unique<TaskRun>(
      std::move(task.loaded.plan), std::move(now_recorded),
      std::move(task.privacy), &NoiseRandom());
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
  AddContext(std::move(task.loaded.context));
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
  // Before records that are newer.
  batch_.transaction.Append(std::move(task.privacy_changes));
  Apply(context, std::move(effects));
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
    const absl::StatusOr<std::string> bytes =
        ReadVerifiedBlob(*dependencies_.storage, slot->sum);
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

}  // namespace mledge
