#ifndef MLEDGE_CLIENT_DEVICE_STORAGE_H_
#define MLEDGE_CLIENT_DEVICE_STORAGE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/client/connection.h"
#include "mledge/client/secure_effects.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/sha256.h"
#include "mledge/core/update.h"

// What a device must not lose, and a cache of what it need not fetch again.
// storage/sqlite_device_storage.h keeps both on disk, memory_device_storage.h
// in memory.
//
// Durability: when a call whose name begins with Save has returned, what it was
// given is there after kill -9 and power loss; when they are cut
// off, what was there before is. The cache is durable only as far as it likes,
// but never returns bytes other than those that were asked for. Thread-safe.

namespace mledge {

// Takes the bytes of one blob as they come, over several attempts.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  // Bytes that are here already, from an earlier attempt.
  virtual uint64_t offset() const = 0;
  // RESOURCE_EXHAUSTED: the disk is full, or more bytes than announced.
  virtual absl::Status Append(std::string_view bytes) = 0;
  // After the last byte: from now on ReadBlob finds it. DATA_LOSS: the bytes do
  // not have the size and SHA-256 that the blob is named by; they are thrown
  // away.
  virtual absl::Status Commit() = 0;
};

class DeviceStorage {
 public:
  virtual ~DeviceStorage() = default;

  // The assignment under way, or none.
  virtual absl::StatusOr<std::optional<JournalRecord>> LoadJournal() = 0;
  // Replaces what the journal held, with its snapshot and update.
  // RESOURCE_EXHAUSTED: the disk is full.
  virtual absl::Status SaveAssignment(const v1::Assignment& assignment) = 0;
  // Where training stands. FAILED_PRECONDITION: it is not the journal's
  // assignment (so that a trainer that ends late writes nothing).
  virtual absl::Status SaveSnapshot(const AssignmentId& assignment,
                                    std::string_view snapshot) = 0;
  virtual absl::StatusOr<std::optional<std::string>> LoadSnapshot(
      const AssignmentId& assignment) = 0;
  // Writes and syncs the update file, whose hash and size are `finished`, then
  // records it in the journal together with what it costs of a private task,
  // and drops the snapshot. FAILED_PRECONDITION as above; RESOURCE_EXHAUSTED.
  virtual absl::Status SaveUpdate(
      const FinishedUpdate& finished, const UpdateContext& context,
      const Update& update, const std::optional<PrivacyCharge>& charge) = 0;
  // NOT_FOUND: the journal holds no update of that assignment. DATA_LOSS: its
  // file is missing or altered.
  virtual absl::StatusOr<std::shared_ptr<const UploadSource>> OpenUpdate(
      const AssignmentId& assignment) = 0;
  // Empties the journal if it holds this assignment.
  virtual absl::Status Forget(const AssignmentId& assignment) = 0;

  // Of secure aggregation, one for each task, by the SHA-256 of its signed
  // payload; outlives assignments and Forget, because it says which session was
  // the last and which update is used up. Empty where nothing was saved.
  virtual absl::StatusOr<SecaggJournal> LoadSecaggJournal(
      const Digest& task) = 0;
  // Replaces the task's journal. With kStore `masked_input` is durable before
  // the journal names it; with kErase the stored one is removed.
  // RESOURCE_EXHAUSTED: the disk is full; then the old journal is still there.
  virtual absl::Status SaveSecaggJournal(
      const Digest& task, const SecretBytes& journal, MaskedInputAction action,
      std::shared_ptr<const std::string> masked_input) = 0;
  // Of the newest revocation list that was seen; only ever goes up. 0: none.
  virtual absl::StatusOr<uint64_t> LoadListNumber() = 0;
  virtual absl::Status SaveListNumber(uint64_t number) = 0;

  // The device's ledger of differential privacy (privacy_ledger.h): a record
  // for each private task, by the SHA-256 of its signed payload. Kept for ever:
  // what is forgotten here could be spent again. Replaced by SaveUpdate.
  virtual absl::StatusOr<std::map<Digest, std::string>>
  LoadPrivacyRecords() = 0;

  // NOT_FOUND when the cache does not hold it.
  virtual absl::StatusOr<std::shared_ptr<const std::string>> ReadBlob(
      const Digest& digest) = 0;
  // Makes room by dropping the blobs that were used longest ago.
  // RESOURCE_EXHAUSTED: larger than the cache may ever be.
  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> OpenBlobWriter(
      const Digest& digest, uint64_t size_in_bytes) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_DEVICE_STORAGE_H_
