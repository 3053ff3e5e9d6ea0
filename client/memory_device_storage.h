#ifndef MLEDGE_CLIENT_MEMORY_DEVICE_STORAGE_H_
#define MLEDGE_CLIENT_MEMORY_DEVICE_STORAGE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/device_storage.h"
#include "mledge/core/mutex.h"

// A DeviceStorage in memory, for the simulator and tests, and for devices that
// need not survive a restart. It behaves as a disk does: whatever a call that
// returned OK has saved is there, and `set_capacity` makes it full.
// Thread-safe; BlobWriters must not outlive it.

namespace mledge {

class MemoryDeviceStorage final : public DeviceStorage {
 public:
  MemoryDeviceStorage() = default;
  // What a device that was killed finds when it starts again: everything that
  // was saved, without the partial blobs of `other`.
  static std::unique_ptr<MemoryDeviceStorage> AfterCrash(
      MemoryDeviceStorage& other);

  // Bytes of snapshot, update, masked inputs and blobs together; more is
  // RESOURCE_EXHAUSTED.
  void set_capacity(uint64_t bytes);

  absl::StatusOr<std::optional<JournalRecord>> LoadJournal() override;
  absl::Status SaveAssignment(const v1::Assignment& assignment) override;
  absl::Status SaveSnapshot(const AssignmentId& assignment,
                            std::string_view snapshot) override;
  absl::StatusOr<std::optional<std::string>> LoadSnapshot(
      const AssignmentId& assignment) override;
  absl::Status SaveUpdate(const FinishedUpdate& finished,
                          const UpdateContext& context, const Update& update,
                          const std::optional<PrivacyCharge>& charge) override;
  absl::StatusOr<std::shared_ptr<const UploadSource>> OpenUpdate(
      const AssignmentId& assignment) override;
  absl::Status Forget(const AssignmentId& assignment) override;
  absl::StatusOr<SecaggJournal> LoadSecaggJournal(const Digest& task) override;
  absl::Status SaveSecaggJournal(
      const Digest& task, const SecretBytes& journal, MaskedInputAction action,
      std::shared_ptr<const std::string> masked_input) override;
  absl::StatusOr<uint64_t> LoadListNumber() override;
  absl::Status SaveListNumber(uint64_t number) override;
  absl::StatusOr<std::map<Digest, std::string>> LoadPrivacyRecords() override;
  absl::StatusOr<std::shared_ptr<const std::string>> ReadBlob(
      const Digest& digest) override;
  absl::StatusOr<std::unique_ptr<BlobWriter>> OpenBlobWriter(
      const Digest& digest, uint64_t size_in_bytes) override;

 private:
  class Writer;

  bool HoldsLocked(const AssignmentId& assignment) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoomLocked(uint64_t bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  uint64_t capacity_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;
  std::optional<JournalRecord> journal_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::string> snapshot_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const std::string> update_ ABSL_GUARDED_BY(mutex_);
  std::map<Digest, SecaggJournal> secagg_journals_ ABSL_GUARDED_BY(mutex_);
  uint64_t list_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<Digest, std::string> privacy_records_ ABSL_GUARDED_BY(mutex_);
  std::map<Digest, std::shared_ptr<const std::string>> blobs_
      ABSL_GUARDED_BY(mutex_);
  std::map<Digest, std::string> partial_blobs_ ABSL_GUARDED_BY(mutex_);
};

// Bytes in memory, for uploading.
class MemoryUploadSource final : public UploadSource {
 public:
  explicit MemoryUploadSource(std::shared_ptr<const std::string> bytes)
      : bytes_(std::move(bytes)) {}
  uint64_t size_in_bytes() const override { return bytes_->size(); }
  absl::StatusOr<std::string> Read(uint64_t offset,
                                   uint64_t size) const override;

 private:
  const std::shared_ptr<const std::string> bytes_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_MEMORY_DEVICE_STORAGE_H_
