#ifndef MLEDGE_COORDINATOR_MEMORY_STORAGE_H_
#define MLEDGE_COORDINATOR_MEMORY_STORAGE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/coordinator/storage.h"
#include "mledge/core/mutex.h"

// The coordinator's storage in memory, for the simulator and for tests. A
// writer takes an update as it is (`Adopt`), so nothing is serialized or hashed
// on the way. What was committed, put or synced outlives the Coordinator, not
// the process; `LoseUnsynced` is what a power loss does to the rest.
//
// Thread-safe. Readers, writers and spooled updates may outlive what they were
// opened from being discarded, but not the storage.

namespace mledge {

class MemoryStorage final : public CoordinatorStorage {
 public:
  struct Options {
    // So many of the newest versions of a task keep their parameters, besides
    // version 0; 0: all do.
    int64_t kept_versions = 0;
  };

  MemoryStorage() : MemoryStorage(Options()) {}
  explicit MemoryStorage(Options options) : options_(options) {}

  absl::StatusOr<StoredState> Load() override;
  absl::Status Commit(const Transaction& transaction) override;
  absl::StatusOr<AssignmentRecord> FindAssignment(
      const AssignmentId& id) override;
  absl::StatusOr<std::vector<EventRecord>> ReadEvents(
      const TaskId& task, int64_t after_sequence) override;
  absl::StatusOr<Digest> PutBlob(std::string_view bytes) override;
  absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Digest& name) override;
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

  // Forgets spooled bytes that were not synced. Precondition: no writer lives.
  void LoseUnsynced();
  // What is held now, to test that nothing piles up.
  size_t spooled_updates() const;
  size_t blobs() const;

 private:
  friend class MemorySpoolWriter;

  struct Spool {
    Digest content;
    uint64_t size_in_bytes = 0;
    bool open = false;  // a writer lives
    bool synced = false;
    std::string bytes;
    // Instead of bytes, after `Adopt`.
    std::shared_ptr<const Update> adopted;
    UpdateContext context;
  };

  void Keep(const VersionRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  std::map<TaskId, TaskRecord> tasks_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<TaskId, VersionNumber>, VersionRecord> versions_
      ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<AssignmentId, AssignmentRecord> assignments_
      ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<TaskId, RoundNumber>, RoundRecord> rounds_
      ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<TaskId, RoundNumber>, std::map<int, CheckpointRecord>>
      checkpoints_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<DeviceId, DeviceRecord> devices_ ABSL_GUARDED_BY(mutex_);
  std::map<TaskId, std::vector<EventRecord>> events_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<TaskId, int64_t>, StoredLedgerEntry> ledger_
      ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<TaskId, DeviceId>, ParticipationRecord> participations_
      ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Digest, std::shared_ptr<const std::string>> blobs_
      ABSL_GUARDED_BY(mutex_);
  std::map<AssignmentId, std::shared_ptr<Spool>> spools_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_MEMORY_STORAGE_H_
