#ifndef MLEDGE_COORDINATOR_STORAGE_H_
#define MLEDGE_COORDINATOR_STORAGE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/core/ids.h"
#include "mledge/core/sha256.h"
#include "mledge/core/update.h"
#include "mledge/privacy/ledger/ledger.h"
#include "mledge/privacy/matrix/participation.h"

// What the coordinator must not lose, and the interface to where it is kept:
// records (small, changed in transactions), blobs (large, named by content) and
// spooled updates (large, arriving piece by piece). storage/sqlite_storage.h
// keeps them on disk, memory_storage.h in memory for the simulator and tests.
//
// Durability: what `Commit`, `PutBlob` and `SpoolWriter::Sync` were given is
// there after kill -9 and power loss once they have returned. Thread-safe.

namespace mledge {

enum class TaskState { kRunning, kCompleted, kCancelled, kFailed };

struct TaskRecord {
  TaskId id;
  Digest signed_task;  // blob: serialized SignedMessage
  Digest package;      // blob: the package file
  std::string submitted_by;
  absl::Time submitted_at;
  TaskState state = TaskState::kRunning;
  std::string reason;
  RoundNumber round;      // the round under way, or the last
  VersionNumber version;  // newest published
  uint64_t bytes_received = 0;
  uint64_t bytes_sent = 0;
  // Of the last session of secure aggregation. Numbers are never used again.
  uint64_t secure_session = 0;
  // Where the task's privacy ledger ends; number 0: it has none.
  LedgerHead ledger;
  // A head that devices know and the ledger lacks: the task rests until an
  // operator adopts it. Number 0: there is none.
  LedgerHead lost_head;
};

struct VersionRecord {
  TaskId task;
  VersionNumber version;
  RoundNumber round;
  Digest parameters;  // blob: little-endian float32 of the flat vector
  uint64_t parameters_size_in_bytes = 0;
  std::optional<Digest> optimizer_state;  // blob
  // Blob, secret: what correlated noise remembers of earlier rounds.
  std::optional<Digest> noise_state;
  // Of the round that trains from this version; 0: the task's own.
  double clip_norm = 0;
  std::string signed_statement;  // serialized SignedMessage, "model-version"
  absl::Time published_at;
};

enum class AssignmentKind { kTrain, kEvaluate };
enum class AssignmentState { kIssued, kAcknowledged, kFailed, kExpired };

struct AssignmentRecord {
  AssignmentId id;
  TaskId task;
  DeviceId device;
  RoundNumber round;
  AssignmentKind kind = AssignmentKind::kTrain;
  AssignmentOrdinal ordinal;
  VersionNumber base_version;
  absl::Time issued_at;
  absl::Time expires_at;
  AssignmentState state = AssignmentState::kIssued;
  std::optional<Digest> content;  // of the acknowledged update file
};

enum class RoundState { kRunning, kCompleted, kFailed };

struct RoundRecord {
  TaskId task;
  RoundNumber round;
  RoundState state = RoundState::kRunning;
  VersionNumber base_version;
  absl::Time started_at;
  absl::Time deadline;
};

// A saved sum of one round; two slots alternate, the newer complete one counts.
struct CheckpointRecord {
  TaskId task;
  RoundNumber round;
  int slot = 0;
  Digest sum;  // blob: Aggregator's serialized state
  std::vector<AssignmentId> folded;
};

struct DeviceRecord {
  DeviceId id;
  std::string role;
  std::string population;
  std::string software;
  absl::Time last_seen;
  // Assignments ever handed out, by task: the next one's ordinal.
  std::map<TaskId, int64_t> assignments;
  // When each task last chose it (minimum_interval survives a restart).
  std::map<TaskId, absl::Time> last_assigned;
  int64_t acknowledged = 0;
  int64_t failed = 0;
};

struct EventRecord {
  TaskId task;
  int64_t sequence = 0;  // from 1, without gaps
  std::string event;     // serialized TaskEvent
};

// An entry of a task's privacy ledger.
struct LedgerRecord {
  TaskId task;
  StoredLedgerEntry entry;
};

// How often, and when last, a device's update was in a sum of a private task.
struct ParticipationRow {
  TaskId task;
  DeviceId device;
  ParticipationRecord record;
};

// Written whole or not at all. Records replace those of the same key: task id;
// task and version; assignment id; task and round; task, round and slot; device
// id; task and sequence; task and device. Entries of a ledger replace nothing:
// the same once more is a success, another one of the same number is DATA_LOSS.
struct Transaction {
  std::vector<TaskRecord> tasks;
  std::vector<VersionRecord> versions;
  std::vector<AssignmentRecord> assignments;
  std::vector<RoundRecord> rounds;
  std::vector<CheckpointRecord> checkpoints;
  std::vector<DeviceRecord> devices;
  std::vector<EventRecord> events;
  std::vector<LedgerRecord> ledger;
  std::vector<ParticipationRow> participations;

  bool empty() const;
  // Appends the records of `other`, which win over earlier ones of their key.
  void Append(Transaction other);
};

// DATA_LOSS: what a storage says of an entry whose number is taken by another.
absl::Status LedgerEntryExists(const LedgerRecord& record);

// Everything at the start. Assignments: of each running task, those of its
// unfinished rounds, of its last finished round, and all evaluations of a round
// of which one is still issued. Ledgers in the order of their entries.
// Participations: of running tasks.
struct StoredState {
  std::vector<TaskRecord> tasks;
  std::vector<VersionRecord> versions;
  std::vector<AssignmentRecord> assignments;
  std::vector<RoundRecord> rounds;
  std::vector<CheckpointRecord> checkpoints;
  std::vector<DeviceRecord> devices;
  std::map<TaskId, int64_t> last_event_sequence;
  std::vector<LedgerRecord> ledger;
  std::vector<ParticipationRow> participations;
};

class BlobReader {
 public:
  virtual ~BlobReader() = default;
  virtual uint64_t size_in_bytes() const = 0;
  // Up to `size` bytes from `offset` on; empty at the end. OUT_OF_RANGE past
  // it.
  virtual absl::StatusOr<std::string> Read(uint64_t offset,
                                           uint64_t size) const = 0;
};

// Takes the bytes of one update as they come.
class SpoolWriter {
 public:
  virtual ~SpoolWriter() = default;
  // Bytes that are here already, from an earlier attempt.
  virtual uint64_t offset() const = 0;
  // RESOURCE_EXHAUSTED: the disk is full.
  virtual absl::Status Append(std::span<const uint8_t> bytes) = 0;
  // Takes the update itself instead of its bytes: the shortcut of an in-process
  // connection, which must lead to the same sums. UNIMPLEMENTED on disk.
  virtual absl::Status Adopt(Update update, UpdateContext context);
  // After it, the bytes survive; returns the SHA-256 of all of them (after
  // `Adopt`: the content hash that the writer was opened for).
  virtual absl::StatusOr<Digest> Sync() = 0;
};

// A spooled update, mapped or in memory, for as long as the object lives.
class SpooledUpdate {
 public:
  virtual ~SpooledUpdate() = default;
  virtual const UpdateView& view() const = 0;
};

class CoordinatorStorage {
 public:
  virtual ~CoordinatorStorage() = default;

  virtual absl::StatusOr<StoredState> Load() = 0;
  // FAILED_PRECONDITION: another coordinator has taken over this storage (the
  // owner epoch moved). RESOURCE_EXHAUSTED: the disk is full.
  virtual absl::Status Commit(const Transaction& transaction) = 0;
  // An assignment of any round, for whoever asks about it long afterwards.
  // NOT_FOUND: never issued.
  virtual absl::StatusOr<AssignmentRecord> FindAssignment(
      const AssignmentId& id) = 0;
  // Stored events of a task after `sequence`, in order.
  virtual absl::StatusOr<std::vector<EventRecord>> ReadEvents(
      const TaskId& task, int64_t after_sequence) = 0;

  virtual absl::StatusOr<Digest> PutBlob(std::string_view bytes) = 0;
  // NOT_FOUND when there is none of that name.
  virtual absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Digest& name) = 0;
  // Frees blobs that no record names any more, never one that is being read;
  // and spooled updates without an open writer whose assignment is unknown, has
  // failed or expired, or belongs to a task that has ended.
  virtual absl::Status CollectGarbage() = 0;

  // One writer an assignment at a time: ABORTED while another is open.
  // FAILED_PRECONDITION as of Commit.
  // Continues what an earlier writer left if `content` and size agree, else
  // starts over.
  virtual absl::StatusOr<std::unique_ptr<SpoolWriter>> OpenSpoolWriter(
      const AssignmentId& assignment, const Digest& content,
      uint64_t size_in_bytes) = 0;
  // The bytes of a complete upload that is no update file: a masked input.
  // NOT_FOUND.
  virtual absl::StatusOr<std::string> ReadSpooled(
      const AssignmentId& assignment) = 0;
  // A complete update file. NOT_FOUND; INVALID_ARGUMENT: not a valid one.
  virtual absl::StatusOr<std::unique_ptr<SpooledUpdate>> OpenSpooled(
      const AssignmentId& assignment) = 0;
  virtual absl::Status DiscardSpooled(
      std::span<const AssignmentId> assignments) = 0;
};

// All of a blob, compared with its name. DATA_LOSS: missing or altered; says
// which blob, and what to do.
absl::StatusOr<std::string> ReadVerifiedBlob(CoordinatorStorage& storage,
                                             const Digest& name);
// The same without keeping it.
absl::Status VerifyBlob(CoordinatorStorage& storage, const Digest& name);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_STORAGE_H_
