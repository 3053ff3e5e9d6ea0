#ifndef MLEDGE_COORDINATOR_STORAGE_UPDATE_SPOOL_H_
#define MLEDGE_COORDINATOR_STORAGE_UPDATE_SPOOL_H_

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/coordinator/storage.h"
#include "mledge/core/ids.h"
#include "mledge/core/mutex.h"
#include "mledge/core/sha256.h"

// Updates as they arrive: one file an assignment, whose name says which content
// and size it is to have, so that an upload goes on after a restart of either
// side. Bytes that were written but not synced survive kill -9 and not power
// loss; after a reboot (the kernel's boot id changed) unfinished files are
// therefore thrown away instead of being continued. Thread-safe; a writer is
// used by one thread at a time.

namespace mledge {

class UpdateSpool {
 public:
  static absl::StatusOr<std::unique_ptr<UpdateSpool>> Open(
      std::string directory);
  // Writers must be gone.
  ~UpdateSpool() = default;

  // As CoordinatorStorage::OpenSpoolWriter. RESOURCE_EXHAUSTED already here
  // when the disk has no room for the whole update.
  absl::StatusOr<std::unique_ptr<SpoolWriter>> OpenWriter(
      const AssignmentId& assignment, const Digest& content,
      uint64_t size_in_bytes);
  // As CoordinatorStorage::OpenSpooled.
  absl::StatusOr<std::unique_ptr<SpooledUpdate>> OpenUpdate(
      const AssignmentId& assignment);
  // As CoordinatorStorage::ReadSpooled.
  absl::StatusOr<std::string> Read(const AssignmentId& assignment);
  absl::Status Discard(std::span<const AssignmentId> assignments);
  // Assignments of which there are bytes and no open writer.
  std::vector<AssignmentId> Idle();

 private:
  class Writer;
  struct Entry {
    Digest content;
    uint64_t size_in_bytes = 0;
    std::string path;
  };
  // Shared with the writers, which leave it when they die.
  struct OpenWriters {
    Mutex mutex;
    std::set<AssignmentId> assignments ABSL_GUARDED_BY(mutex);
  };

  explicit UpdateSpool(std::string directory);
  absl::StatusOr<Entry> Find(const AssignmentId& assignment);
  absl::Status TakeStock();
  absl::Status ForgetUnfinishedAfterReboot();

  const std::string directory_;
  const std::shared_ptr<OpenWriters> open_writers_;
  Mutex mutex_;
  absl::flat_hash_map<AssignmentId, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_STORAGE_UPDATE_SPOOL_H_
