#include "mledge/client/memory_device_storage.h"

#include <algorithm>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

SecaggJournal Copy(const SecaggJournal& journal) {
  return {.bytes = journal.bytes.Clone(RevealSecret()),
          .masked_input = journal.masked_input};
}

}  // namespace

absl::StatusOr<std::string> MemoryUploadSource::Read(uint64_t offset,
                                                     uint64_t size) const {
  if (offset > bytes_->size() || size > bytes_->size() - offset) {
    return absl::OutOfRangeError(StrCat("bytes ", offset, " to ", offset + size,
                                        " of an update of ", bytes_->size()));
  }
  return bytes_->substr(offset, size);
}

class MemoryDeviceStorage::Writer final : public BlobWriter {
 public:
  Writer(MemoryDeviceStorage* storage, const Digest& digest,
         uint64_t size_in_bytes, std::string partial)
      : storage_(storage),
        digest_(digest),
        size_in_bytes_(size_in_bytes),
        bytes_(std::move(partial)) {}
  ~Writer() override {
    if (committed_) return;
    MutexLock lock(&storage_->mutex_);
    storage_->partial_blobs_[digest_] = std::move(bytes_);
  }

  uint64_t offset() const override { return bytes_.size(); }
  absl::Status Append(std::string_view bytes) override {
    if (bytes.size() > size_in_bytes_ - bytes_.size()) {
      return absl::ResourceExhaustedError(
          StrCat("more than the announced ", size_in_bytes_, " bytes"));
    }
    {
      MutexLock lock(&storage_->mutex_);
      MLEDGE_RETURN_IF_ERROR(
          storage_->CheckRoomLocked(bytes_.size() + bytes.size()));
    }
    bytes_.append(bytes);
    return absl::OkStatus();
  }
  absl::Status Commit() override {
    if (bytes_.size() != size_in_bytes_ || Sha256Of(bytes_) != digest_) {
      bytes_.clear();
      return absl::DataLossError(
          "the bytes are not those that the blob is named by");
    }
    committed_ = true;
    MutexLock lock(&storage_->mutex_);
    storage_->blobs_[digest_] =
        std::make_shared<const std::string>(std::move(bytes_));
    return absl::OkStatus();
  }

 private:
  MemoryDeviceStorage* const storage_;
  const Digest digest_;
  const uint64_t size_in_bytes_;
  std::string bytes_;
  bool committed_ = false;
};

std::unique_ptr<MemoryDeviceStorage> MemoryDeviceStorage::AfterCrash(
    MemoryDeviceStorage& other) {
  auto copy = std::make_unique<MemoryDeviceStorage>();
  MutexLock other_lock(&other.mutex_);
  MutexLock lock(&copy->mutex_);
  copy->capacity_ = other.capacity_;
  copy->journal_ = other.journal_;
  copy->snapshot_ = other.snapshot_;
  copy->update_ = other.update_;
  for (const auto& [task, journal] : other.secagg_journals_) {
    copy->secagg_journals_[task] = Copy(journal);
  }
  copy->list_number_ = other.list_number_;
  copy->privacy_records_ = other.privacy_records_;
  copy->blobs_ = other.blobs_;
  return copy;
}

void MemoryDeviceStorage::set_capacity(uint64_t bytes) {
  MutexLock lock(&mutex_);
  capacity_ = bytes;
}

bool MemoryDeviceStorage::HoldsLocked(const AssignmentId& assignment) const {
  return journal_.has_value() &&
         journal_->assignment.assignment_id() == assignment.value();
}

absl::Status MemoryDeviceStorage::CheckRoomLocked(uint64_t bytes) const {
  uint64_t used = bytes;
  if (snapshot_.has_value()) used += snapshot_->size();
  if (update_ != nullptr) used += update_->size();
  for (const auto& [task, journal] : secagg_journals_) {
    if (journal.masked_input != nullptr) used += journal.masked_input->size();
  }
  for (const auto& [digest, blob] : blobs_) used += blob->size();
  if (used <= capacity_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      StrCat("the storage is full: ", used, " of ", capacity_, " bytes"));
}

absl::StatusOr<std::optional<JournalRecord>>
MemoryDeviceStorage::LoadJournal() {
  MutexLock lock(&mutex_);
  return journal_;
}

absl::Status MemoryDeviceStorage::SaveAssignment(
    const v1::Assignment& assignment) {
  MutexLock lock(&mutex_);
  journal_ = JournalRecord{assignment, std::nullopt};
  snapshot_.reset();
  update_.reset();
  return absl::OkStatus();
}

absl::Status MemoryDeviceStorage::SaveSnapshot(const AssignmentId& assignment,
                                               std::string_view snapshot) {
  MutexLock lock(&mutex_);
  if (!HoldsLocked(assignment) || journal_->update.has_value()) {
    return absl::FailedPreconditionError(
        StrCat("assignment ", assignment.value(), " is not under way"));
  }
  MLEDGE_RETURN_IF_ERROR(CheckRoomLocked(snapshot.size()));
  snapshot_ = std::string(snapshot);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> MemoryDeviceStorage::LoadSnapshot(
    const AssignmentId& assignment) {
  MutexLock lock(&mutex_);
  if (!HoldsLocked(assignment)) return std::nullopt;
  return snapshot_;
}

absl::Status MemoryDeviceStorage::SaveUpdate(
    const FinishedUpdate& finished, const UpdateContext& context,
    const Update& update, const std::optional<PrivacyCharge>& charge) {
  MLEDGE_ASSIGN_OR_RETURN(std::string bytes, SerializeUpdate(update, context));
  MutexLock lock(&mutex_);
  if (!HoldsLocked(context.assignment_id)) {
    return absl::FailedPreconditionError(StrCat(
        "assignment ", context.assignment_id.value(), " is not under way"));
  }
  MLEDGE_RETURN_IF_ERROR(CheckRoomLocked(bytes.size()));
  if (charge.has_value()) privacy_records_[charge->task] = charge->record;
  update_ = std::make_shared<const std::string>(std::move(bytes));
  journal_->update = finished;
  snapshot_.reset();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const UploadSource>>
MemoryDeviceStorage::OpenUpdate(const AssignmentId& assignment) {
  MutexLock lock(&mutex_);
  if (!HoldsLocked(assignment) || update_ == nullptr) {
    return absl::NotFoundError(
        StrCat("no update of assignment ", assignment.value(), " is stored"));
  }
  return std::make_shared<const MemoryUploadSource>(update_);
}

absl::Status MemoryDeviceStorage::Forget(const AssignmentId& assignment) {
  MutexLock lock(&mutex_);
  if (!HoldsLocked(assignment)) return absl::OkStatus();
  journal_.reset();
  snapshot_.reset();
  update_.reset();
  return absl::OkStatus();
}

absl::StatusOr<SecaggJournal> MemoryDeviceStorage::LoadSecaggJournal(
    const Digest& task) {
  MutexLock lock(&mutex_);
  const auto journal = secagg_journals_.find(task);
  return journal == secagg_journals_.end() ? SecaggJournal()
                                           : Copy(journal->second);
}

absl::Status MemoryDeviceStorage::SaveSecaggJournal(
    const Digest& task, const SecretBytes& journal, MaskedInputAction action,
    std::shared_ptr<const std::string> masked_input) {
  MutexLock lock(&mutex_);
  if (action == MaskedInputAction::kStore) {
    MLEDGE_RETURN_IF_ERROR(CheckRoomLocked(masked_input->size()));
  }
  SecaggJournal& kept = secagg_journals_[task];
  kept.bytes = journal.Clone(RevealSecret());
  if (action == MaskedInputAction::kStore) {
    kept.masked_input = std::move(masked_input);
  } else if (action == MaskedInputAction::kErase) {
    kept.masked_input = nullptr;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> MemoryDeviceStorage::LoadListNumber() {
  MutexLock lock(&mutex_);
  return list_number_;
}

absl::Status MemoryDeviceStorage::SaveListNumber(uint64_t number) {
  MutexLock lock(&mutex_);
  list_number_ = std::max(list_number_, number);
  return absl::OkStatus();
}

absl::StatusOr<std::map<Digest, std::string>>
MemoryDeviceStorage::LoadPrivacyRecords() {
  MutexLock lock(&mutex_);
  return privacy_records_;
}

absl::StatusOr<std::shared_ptr<const std::string>>
MemoryDeviceStorage::ReadBlob(const Digest& digest) {
  MutexLock lock(&mutex_);
  const auto blob = blobs_.find(digest);
  if (blob == blobs_.end()) {
    return absl::NotFoundError(StrCat("no blob ", digest.ToHex()));
  }
  return blob->second;
}

absl::StatusOr<std::unique_ptr<BlobWriter>> MemoryDeviceStorage::OpenBlobWriter(
    const Digest& digest, uint64_t size_in_bytes) {
  MutexLock lock(&mutex_);
  std::string partial;
  const auto found = partial_blobs_.find(digest);
  if (found != partial_blobs_.end()) {
    partial = std::move(found->second);
    partial_blobs_.erase(found);
  }
  if (partial.size() > size_in_bytes) partial.clear();
  return std::make_unique<Writer>(this, digest, size_in_bytes,
                                  std::move(partial));
}

}  // namespace mledge
