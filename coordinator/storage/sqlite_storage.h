#ifndef MLEDGE_COORDINATOR_STORAGE_SQLITE_STORAGE_H_
#define MLEDGE_COORDINATOR_STORAGE_SQLITE_STORAGE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/storage/blob_store.h"
#include "mledge/coordinator/storage/update_spool.h"
#include "mledge/core/mutex.h"
#include "mledge/core/storage/database.h"
#include "mledge/core/storage/directory_lock.h"
#include "mledge/core/storage/owner_epoch.h"

// The coordinator's state directory:
//
//   lock              held by the running process
//   coordinator.db    records (SQLite, WAL, synchronous=FULL)
//   blobs/ab/cdef…    blob_store.h
//   spool/            update_spool.h
//
// Opening moves the owner epoch on; every write transaction, and whatever
// begins or removes a spooled upload, looks whether it is still its own, so
// that a coordinator that was thought dead and wakes up changes nothing more.
// Blobs are left out: to put one twice is to put it once.

namespace mledge {

class SqliteStorage final : public CoordinatorStorage {
 public:
  // Creates what is missing and migrates what is old. PERMISSION_DENIED: not
  // writable. FAILED_PRECONDITION: in use by another process, or written by a
  // newer program. DATA_LOSS: damaged. RESOURCE_EXHAUSTED: disk full.
  static absl::StatusOr<std::unique_ptr<SqliteStorage>> Open(
      const std::string& directory);
  // Readers and writers must be gone.
  ~SqliteStorage() override = default;

  absl::StatusOr<StoredState> Load() override;
  absl::Status Commit(const Transaction& transaction) override;
  absl::StatusOr<AssignmentRecord> FindAssignment(
      const AssignmentId& id) override;
  absl::StatusOr<std::vector<EventRecord>> ReadEvents(
      const TaskId& task, int64_t after_sequence) override;
  absl::StatusOr<Digest> PutBlob(std::string_view bytes) override;
  absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Digest& name) override;
  // Also removes spooled bytes that no running task can use.
  absl::Status CollectGarbage() override;
  absl::StatusOr<std::unique_ptr<SpoolWriter>> OpenSpoolWriter(
      const AssignmentId& assignment, const Digest& content,
      uint64_t size_in_bytes) override;
  absl::StatusOr<std::string> ReadSpooled(
      const AssignmentId& assignment) override;
  absl::StatusOr<std::unique_ptr<SpooledUpdate>> OpenSpooled(
      const AssignmentId& assignment) override;
  absl::Status DiscardSpooled(
      std::span<const AssignmentId> assignments) override;

 private:
  SqliteStorage(std::unique_ptr<DirectoryLock> directory_lock,
                std::unique_ptr<Database> database,
                std::unique_ptr<BlobStore> blobs,
                std::unique_ptr<UpdateSpool> spool, OwnerEpoch owner);

  const std::unique_ptr<DirectoryLock> directory_lock_;
  const std::unique_ptr<BlobStore> blobs_;
  const std::unique_ptr<UpdateSpool> spool_;
  const OwnerEpoch owner_;
  Mutex mutex_;
  const std::unique_ptr<Database> database_ ABSL_PT_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_STORAGE_SQLITE_STORAGE_H_
