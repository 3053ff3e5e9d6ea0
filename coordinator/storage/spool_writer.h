#ifndef MLEDGE_COORDINATOR_STORAGE_SPOOL_WRITER_H_
#define MLEDGE_COORDINATOR_STORAGE_SPOOL_WRITER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "mledge/coordinator/storage.h"
#include "mledge/core/sha256.h"

// The writer of one spool file: hashes bytes as they come, so that Sync need
// not read them again, and keeps the disk busy meanwhile, so that Sync waits
// for little. Used by one thread at a time.

namespace mledge {

class FileSpoolWriter final : public SpoolWriter {
 public:
  // Goes on with what `path` holds: hashes it, and starts over when it is
  // longer than it may be, or complete with another hash than `content`.
  // Reserves the disk space of all `size_in_bytes`.
  static absl::StatusOr<std::unique_ptr<SpoolWriter>> Open(
      const std::string& path, const Digest& content, uint64_t size_in_bytes,
      std::function<void()> on_close);
  ~FileSpoolWriter() override;

  uint64_t offset() const override { return offset_; }
  // Also OUT_OF_RANGE: more bytes than were announced.
  absl::Status Append(std::span<const uint8_t> bytes) override;
  // Also FAILED_PRECONDITION: fewer bytes than were announced, or called twice.
  absl::StatusOr<Digest> Sync() override;

 private:
  FileSpoolWriter(std::string path, int fd, uint64_t size_in_bytes,
                  std::function<void()> on_close);
  absl::Status HashExisting();
  absl::Status StartOver();
  absl::Status Reserve();

  const std::string path_;
  const int fd_;
  const uint64_t size_in_bytes_;
  const std::function<void()> on_close_;
  uint64_t offset_ = 0;
  // Bytes that the kernel was already asked to write back.
  uint64_t written_back_ = 0;
  Sha256 hash_;
  // Of a file that was complete when it was opened.
  std::optional<Digest> complete_;
  bool synced_ = false;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_STORAGE_SPOOL_WRITER_H_
