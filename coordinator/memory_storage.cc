#include "mledge/coordinator/memory_storage.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

class MemoryBlobReader final : public BlobReader {
 public:
  explicit MemoryBlobReader(std::shared_ptr<const std::string> bytes)
      : bytes_(std::move(bytes)) {}
  uint64_t size_in_bytes() const override { return bytes_->size(); }
  absl::StatusOr<std::string> Read(uint64_t offset,
                                   uint64_t size) const override {
    if (offset > bytes_->size()) {
      return absl::OutOfRangeError(StrCat("offset ", offset,
                                          " lies past the end of a blob of ",
                                          bytes_->size(), " bytes"));
    }
    return bytes_->substr(offset, size);
  }

 private:
  const std::shared_ptr<const std::string> bytes_;
};

class MemorySpooledUpdate final : public SpooledUpdate {
 public:
  MemorySpooledUpdate(std::shared_ptr<const Update> update,
                      const UpdateContext& context)
      : update_(std::move(update)), view_(UpdateView::Of(*update_, context)) {}
  explicit MemorySpooledUpdate(std::unique_ptr<UpdateFile> file)
      : file_(std::move(file)), view_(file_->view()) {}
  const UpdateView& view() const override { return view_; }

 private:
  const std::shared_ptr<const Update> update_;
  const std::unique_ptr<UpdateFile> file_;
  const UpdateView view_;
};

}  // namespace

class MemorySpoolWriter final : public SpoolWriter {
 public:
  MemorySpoolWriter(MemoryStorage* storage,
                    std::shared_ptr<MemoryStorage::Spool> spool)
      : storage_(storage), spool_(std::move(spool)) {}
  ~MemorySpoolWriter() override {
    MutexLock lock(&storage_->mutex_);
    spool_->open = false;
  }

  uint64_t offset() const override {
    MutexLock lock(&storage_->mutex_);
    return spool_->adopted != nullptr ? spool_->size_in_bytes
                                      : spool_->bytes.size();
  }

  absl::Status Append(std::span<const uint8_t> bytes) override {
    MutexLock lock(&storage_->mutex_);
    if (spool_->bytes.size() + bytes.size() > spool_->size_in_bytes) {
      return absl::InvalidArgumentError(
          StrCat("more bytes than the ", spool_->size_in_bytes, " announced"));
    }
    spool_->bytes.append(reinterpret_cast<const char*>(bytes.data()),
                         bytes.size());
    return absl::OkStatus();
  }

  absl::Status Adopt(Update update, UpdateContext context) override {
    auto adopted = std::make_shared<const Update>(std::move(update));
    MutexLock lock(&storage_->mutex_);
    spool_->bytes.clear();
    spool_->adopted = std::move(adopted);
    spool_->context = std::move(context);
    return absl::OkStatus();
  }

  absl::StatusOr<Digest> Sync() override {
    MutexLock lock(&storage_->mutex_);
    spool_->synced = true;
    if (spool_->adopted != nullptr) return spool_->content;
    return Sha256Of(std::string_view(spool_->bytes));
  }

 private:
  MemoryStorage* const storage_;
  const std::shared_ptr<MemoryStorage::Spool> spool_;
};

absl::StatusOr<StoredState> MemoryStorage::Load() {
  MutexLock lock(&mutex_);
  StoredState state;
  // The oldest round of each running task whose assignments still matter.
  std::map<TaskId, RoundNumber> since;
  for (const auto& [key, round] : rounds_) {
    if (round.state != RoundState::kRunning) since[key.first] = key.second;
  }
  for (const auto& [id, task] : tasks_) state.tasks.push_back(task);
  for (const auto& [key, version] : versions_) {
    state.versions.push_back(version);
  }
  for (const auto& [key, round] : rounds_) state.rounds.push_back(round);
  std::set<std::pair<TaskId, RoundNumber>> evaluated_now;
  for (const auto& [id, assignment] : assignments_) {
    if (assignment.kind == AssignmentKind::kEvaluate &&
        assignment.state == AssignmentState::kIssued) {
      evaluated_now.emplace(assignment.task, assignment.round);
    }
  }
  for (const auto& [id, assignment] : assignments_) {
    const auto task = tasks_.find(assignment.task);
    if (task == tasks_.end() || task->second.state != TaskState::kRunning) {
      continue;
    }
    if (assignment.round >= since[assignment.task] ||
        (assignment.kind == AssignmentKind::kEvaluate &&
         evaluated_now.contains({assignment.task, assignment.round}))) {
      state.assignments.push_back(assignment);
    }
  }
  std::sort(state.assignments.begin(), state.assignments.end(),
            [](const AssignmentRecord& a, const AssignmentRecord& b) {
              return a.id < b.id;
            });
  for (const auto& [key, slots] : checkpoints_) {
    for (const auto& [slot, record] : slots) {
      state.checkpoints.push_back(record);
    }
  }
  for (const auto& [id, device] : devices_) state.devices.push_back(device);
  for (const auto& [id, events] : events_) {
    state.last_event_sequence[id] = events.empty() ? 0 : events.back().sequence;
  }
  for (const auto& [key, entry] : ledger_) {
    state.ledger.push_back({key.first, entry});
  }
  for (const auto& [key, record] : participations_) {
    if (tasks_.at(key.first).state == TaskState::kRunning) {
      state.participations.push_back({key.first, key.second, record});
    }
  }
  return state;
}

absl::Status MemoryStorage::Commit(const Transaction& transaction) {
  MutexLock lock(&mutex_);
  for (const LedgerRecord& record : transaction.ledger) {
    const auto found = ledger_.find({record.task, record.entry.sequence});
    if (found != ledger_.end() && found->second != record.entry) {
      return LedgerEntryExists(record);
    }
  }
  for (const LedgerRecord& record : transaction.ledger) {
    ledger_[{record.task, record.entry.sequence}] = record.entry;
  }
  for (const ParticipationRow& row : transaction.participations) {
    participations_[{row.task, row.device}] = row.record;
  }
  for (const TaskRecord& record : transaction.tasks) {
    tasks_[record.id] = record;
  }
  for (const VersionRecord& record : transaction.versions) Keep(record);
  for (const AssignmentRecord& record : transaction.assignments) {
    assignments_[record.id] = record;
  }
  // Before rounds, which drop the checkpoints of those that are finished.
  for (const CheckpointRecord& record : transaction.checkpoints) {
    checkpoints_[{record.task, record.round}][record.slot] = record;
  }
  for (const RoundRecord& record : transaction.rounds) {
    rounds_[{record.task, record.round}] = record;
    if (record.state != RoundState::kRunning) {
      checkpoints_.erase({record.task, record.round});
    }
  }
  for (const DeviceRecord& record : transaction.devices) {
    devices_[record.id] = record;
  }
  for (const EventRecord& record : transaction.events) {
    std::vector<EventRecord>& events = events_[record.task];
    const auto place =
        std::lower_bound(events.begin(), events.end(), record.sequence,
                         [](const EventRecord& event, int64_t sequence) {
                           return event.sequence < sequence;
                         });
    if (place != events.end() && place->sequence == record.sequence) {
      *place = record;
    } else {
      events.insert(place, record);
    }
  }
  return absl::OkStatus();
}

void MemoryStorage::Keep(const VersionRecord& record) {
  versions_[{record.task, record.version}] = record;
  if (options_.kept_versions == 0) return;
  const auto old =
      versions_.find({record.task, VersionNumber(record.version.value() -
                                                 options_.kept_versions)});
  if (old == versions_.end() || old->first.second.value() == 0) return;
  const Digest parameters = old->second.parameters;
  // Equal parameters are one blob, which a newer version may still need.
  for (const auto& [key, version] : versions_) {
    if (key != old->first && version.parameters == parameters) return;
  }
  blobs_.erase(parameters);
  for (const auto& state :
       {old->second.optimizer_state, old->second.noise_state}) {
    if (state.has_value()) blobs_.erase(*state);
  }
}

absl::StatusOr<AssignmentRecord> MemoryStorage::FindAssignment(
    const AssignmentId& id) {
  MutexLock lock(&mutex_);
  const auto found = assignments_.find(id);
  if (found == assignments_.end()) {
    return absl::NotFoundError(StrCat("no assignment ", id.value()));
  }
  return found->second;
}

absl::StatusOr<std::vector<EventRecord>> MemoryStorage::ReadEvents(
    const TaskId& task, int64_t after_sequence) {
  MutexLock lock(&mutex_);
  std::vector<EventRecord> result;
  const auto found = events_.find(task);
  if (found == events_.end()) return result;
  for (const EventRecord& record : found->second) {
    if (record.sequence > after_sequence) result.push_back(record);
  }
  return result;
}

absl::StatusOr<Digest> MemoryStorage::PutBlob(std::string_view bytes) {
  const Digest name = Sha256Of(bytes);
  auto copy = std::make_shared<const std::string>(bytes);
  MutexLock lock(&mutex_);
  blobs_.try_emplace(name, std::move(copy));
  return name;
}

absl::StatusOr<std::shared_ptr<const BlobReader>> MemoryStorage::OpenBlob(
    const Digest& name) {
  MutexLock lock(&mutex_);
  const auto found = blobs_.find(name);
  if (found == blobs_.end()) {
    return absl::NotFoundError(StrCat("no blob ", name.ToHex()));
  }
  return std::make_shared<MemoryBlobReader>(found->second);
}

absl::Status MemoryStorage::CollectGarbage() {
  MutexLock lock(&mutex_);
  absl::flat_hash_set<Digest> named;
  for (const auto& [id, task] : tasks_) {
    named.insert(task.signed_task);
    named.insert(task.package);
  }
  for (const auto& [key, version] : versions_) {
    named.insert(version.parameters);
    for (const auto& state : {version.optimizer_state, version.noise_state}) {
      if (state.has_value()) named.insert(*state);
    }
  }
  for (const auto& [key, slots] : checkpoints_) {
    for (const auto& [slot, record] : slots) named.insert(record.sum);
  }
  absl::erase_if(blobs_, [&named](const auto& blob) {
    return !named.contains(blob.first);
  });
  for (auto it = spools_.begin(); it != spools_.end();) {
    const auto assignment = assignments_.find(it->first);
    const bool needed =
        it->second->open ||
        (assignment != assignments_.end() &&
         (assignment->second.state == AssignmentState::kIssued ||
          assignment->second.state == AssignmentState::kAcknowledged) &&
         tasks_[assignment->second.task].state == TaskState::kRunning);
    it = needed ? std::next(it) : spools_.erase(it);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SpoolWriter>> MemoryStorage::OpenSpoolWriter(
    const AssignmentId& assignment, const Digest& content,
    uint64_t size_in_bytes) {
  MutexLock lock(&mutex_);
  std::shared_ptr<Spool>& spool = spools_[assignment];
  if (spool != nullptr && spool->open) {
    return absl::AbortedError(StrCat("another upload of assignment ",
                                     assignment.value(), " is under way"));
  }
  if (spool == nullptr || spool->content != content ||
      spool->size_in_bytes != size_in_bytes) {
    spool = std::make_shared<Spool>();
    spool->content = content;
    spool->size_in_bytes = size_in_bytes;
  }
  spool->open = true;
  return std::make_unique<MemorySpoolWriter>(this, spool);
}

absl::StatusOr<std::string> MemoryStorage::ReadSpooled(
    const AssignmentId& assignment) {
  MutexLock lock(&mutex_);
  const auto found = spools_.find(assignment);
  if (found == spools_.end()) {
    return absl::NotFoundError(
        StrCat("no upload of assignment ", assignment.value()));
  }
  return found->second->bytes;
}

absl::StatusOr<std::unique_ptr<SpooledUpdate>> MemoryStorage::OpenSpooled(
    const AssignmentId& assignment) {
  std::shared_ptr<Spool> spool;
  std::shared_ptr<const Update> adopted;
  std::string bytes;
  {
    MutexLock lock(&mutex_);
    const auto found = spools_.find(assignment);
    if (found == spools_.end()) {
      return absl::NotFoundError(
          StrCat("no spooled update of assignment ", assignment.value()));
    }
    spool = found->second;
    adopted = spool->adopted;
    if (adopted == nullptr) bytes = spool->bytes;
  }
  if (adopted != nullptr) {
    return std::make_unique<MemorySpooledUpdate>(adopted, spool->context);
  }
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<UpdateFile> file,
                          UpdateFile::FromBytes(std::move(bytes)));
  return std::make_unique<MemorySpooledUpdate>(std::move(file));
}

absl::Status MemoryStorage::DiscardSpooled(
    std::span<const AssignmentId> assignments) {
  // Freed outside the lock: an update may be large.
  std::vector<std::shared_ptr<Spool>> discarded;
  MutexLock lock(&mutex_);
  for (const AssignmentId& id : assignments) {
    const auto found = spools_.find(id);
    if (found == spools_.end()) continue;
    discarded.push_back(std::move(found->second));
    spools_.erase(found);
  }
  return absl::OkStatus();
}

void MemoryStorage::LoseUnsynced() {
  MutexLock lock(&mutex_);
  std::erase_if(spools_,
                [](const auto& spool) { return !spool.second->synced; });
}

size_t MemoryStorage::spooled_updates() const {
  MutexLock lock(&mutex_);
  return spools_.size();
}

size_t MemoryStorage::blobs() const {
  MutexLock lock(&mutex_);
  return blobs_.size();
}

}  // namespace mledge
