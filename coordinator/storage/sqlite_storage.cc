#include "mledge/coordinator/storage/sqlite_storage.h"

#include <set>
#include <utility>

#include "mledge/coordinator/storage/records.h"
#include "mledge/coordinator/storage/schema.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {

SqliteStorage::SqliteStorage(std::unique_ptr<DirectoryLock> directory_lock,
                             std::unique_ptr<Database> database,
                             std::unique_ptr<BlobStore> blobs,
                             std::unique_ptr<UpdateSpool> spool,
                             OwnerEpoch owner)
    : directory_lock_(std::move(directory_lock)),
      blobs_(std::move(blobs)),
      spool_(std::move(spool)),
      owner_(std::move(owner)),
      database_(std::move(database)) {}

absl::StatusOr<std::unique_ptr<SqliteStorage>> SqliteStorage::Open(
    const std::string& directory) {
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<DirectoryLock> lock,
                          DirectoryLock::Acquire(directory, "coordinator"));
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                          OpenDatabase(StrCat(directory, "/coordinator.db")));
  MLEDGE_RETURN_IF_ERROR(MigrateSchema(*database));
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<BlobStore> blobs,
                          BlobStore::Open(StrCat(directory, "/blobs")));
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<UpdateSpool> spool,
                          UpdateSpool::Open(StrCat(directory, "/spool")));
  // The database's own file must survive as well.
  MLEDGE_RETURN_IF_ERROR(SyncDirectory(directory));
  MLEDGE_ASSIGN_OR_RETURN(OwnerEpoch owner,
                          OwnerEpoch::Take(*database, "coordinator"));
  return std::unique_ptr<SqliteStorage>(
      new SqliteStorage(std::move(lock), std::move(database), std::move(blobs),
                        std::move(spool), std::move(owner)));
}

absl::StatusOr<StoredState> SqliteStorage::Load() {
  MutexLock lock(&mutex_);
  return LoadRecords(*database_);
}

absl::Status SqliteStorage::Commit(const Transaction& transaction) {
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(database_->Begin());
  absl::Status status = owner_.Check(*database_);
  if (status.ok()) status = WriteRecords(*database_, transaction);
  MLEDGE_RETURN_IF_ERROR(database_->End(status));
  blobs_->Named(BlobsNamedBy(transaction));
  return absl::OkStatus();
}

absl::StatusOr<AssignmentRecord> SqliteStorage::FindAssignment(
    const AssignmentId& id) {
  MutexLock lock(&mutex_);
  return LoadAssignment(*database_, id);
}

absl::StatusOr<std::vector<EventRecord>> SqliteStorage::ReadEvents(
    const TaskId& task, int64_t after_sequence) {
  MutexLock lock(&mutex_);
  return LoadEvents(*database_, task, after_sequence);
}

absl::StatusOr<Digest> SqliteStorage::PutBlob(std::string_view bytes) {
  return blobs_->Put(bytes);
}

absl::StatusOr<std::shared_ptr<const BlobReader>> SqliteStorage::OpenBlob(
    const Digest& name) {
  return blobs_->Get(name);
}

absl::Status SqliteStorage::CollectGarbage() {
  // The lock keeps a Commit from naming what is being found nameless.
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(owner_.Check(*database_));
  MLEDGE_ASSIGN_OR_RETURN(const std::set<Digest> referenced,
                          ReferencedBlobs(*database_));
  MLEDGE_RETURN_IF_ERROR(blobs_->Collect(referenced));
  std::vector<AssignmentId> unused;
  for (const AssignmentId& assignment : spool_->Idle()) {
    MLEDGE_ASSIGN_OR_RETURN(const bool needed,
                            SpoolIsNeeded(*database_, assignment));
    if (!needed) unused.push_back(assignment);
  }
  return spool_->Discard(unused);
}

absl::StatusOr<std::unique_ptr<SpoolWriter>> SqliteStorage::OpenSpoolWriter(
    const AssignmentId& assignment, const Digest& content,
    uint64_t size_in_bytes) {
  {
    MutexLock lock(&mutex_);
    MLEDGE_RETURN_IF_ERROR(owner_.Check(*database_));
  }
  return spool_->OpenWriter(assignment, content, size_in_bytes);
}

absl::StatusOr<std::string> SqliteStorage::ReadSpooled(
    const AssignmentId& assignment) {
  return spool_->Read(assignment);
}

absl::StatusOr<std::unique_ptr<SpooledUpdate>> SqliteStorage::OpenSpooled(
    const AssignmentId& assignment) {
  return spool_->OpenUpdate(assignment);
}

absl::Status SqliteStorage::DiscardSpooled(
    std::span<const AssignmentId> assignments) {
  {
    MutexLock lock(&mutex_);
    MLEDGE_RETURN_IF_ERROR(owner_.Check(*database_));
  }
  return spool_->Discard(assignments);
}

}  // namespace mledge
