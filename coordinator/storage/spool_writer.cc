#include "mledge/coordinator/storage/spool_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// Write-back starts after so many bytes.
constexpr uint64_t kWriteBackBytes = uint64_t{8} << 20;

}  // namespace

FileSpoolWriter::FileSpoolWriter(std::string path, int fd,
                                 uint64_t size_in_bytes,
                                 std::function<void()> on_close)
    : path_(std::move(path)),
      fd_(fd),
      size_in_bytes_(size_in_bytes),
      on_close_(std::move(on_close)) {}

FileSpoolWriter::~FileSpoolWriter() {
  close(fd_);
  on_close_();
}

absl::StatusOr<std::unique_ptr<SpoolWriter>> FileSpoolWriter::Open(
    const std::string& path, const Digest& content, uint64_t size_in_bytes,
    std::function<void()> on_close) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    const absl::Status status = ErrnoToStatus(errno, "create", path);
    on_close();
    return status;
  }
  std::unique_ptr<FileSpoolWriter> writer(
      new FileSpoolWriter(path, fd, size_in_bytes, std::move(on_close)));
  MLEDGE_RETURN_IF_ERROR(writer->HashExisting());
  if (writer->offset_ == size_in_bytes && size_in_bytes > 0) {
    const Digest digest = writer->hash_.Finish();
    if (digest == content) {
      writer->complete_ = digest;
    } else {
      MLEDGE_RETURN_IF_ERROR(writer->StartOver());
    }
  }
  MLEDGE_RETURN_IF_ERROR(writer->Reserve());
  return writer;
}

absl::Status FileSpoolWriter::HashExisting() {
  struct stat info;
  if (fstat(fd_, &info) != 0) return ErrnoToStatus(errno, "stat", path_);
  if (static_cast<uint64_t>(info.st_size) > size_in_bytes_) return StartOver();
  std::vector<uint8_t> buffer(size_t{1} << 18);
  offset_ = 0;
  while (true) {
    const ssize_t got =
        pread(fd_, buffer.data(), buffer.size(), static_cast<off_t>(offset_));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoToStatus(errno, "read", path_);
    if (got == 0) return absl::OkStatus();
    hash_.Update(std::span(buffer.data(), static_cast<size_t>(got)));
    offset_ += static_cast<uint64_t>(got);
  }
}

absl::Status FileSpoolWriter::StartOver() {
  if (ftruncate(fd_, 0) != 0) return ErrnoToStatus(errno, "truncate", path_);
  offset_ = 0;
  hash_ = Sha256();
  return absl::OkStatus();
}

absl::Status FileSpoolWriter::Reserve() {
  // A full disk is told before the device sends everything. Where the file
  // system cannot reserve, the write will tell.
  if (size_in_bytes_ == 0 ||
      fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0,
                static_cast<off_t>(size_in_bytes_)) == 0 ||
      errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR) {
    return absl::OkStatus();
  }
  return ErrnoToStatus(errno, StrCat("reserve ", size_in_bytes_, " bytes for"),
                       path_);
}

absl::Status FileSpoolWriter::Append(std::span<const uint8_t> bytes) {
  if (synced_) {
    return absl::FailedPreconditionError(StrCat(path_, " was synced already"));
  }
  if (bytes.size() > size_in_bytes_ - offset_) {
    return absl::OutOfRangeError(StrCat("the upload brings more than the ",
                                        size_in_bytes_,
                                        " bytes that were announced"));
  }
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t written =
        pwrite(fd_, bytes.data() + done, bytes.size() - done,
               static_cast<off_t>(offset_ + done));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      absl::Status status = ErrnoToStatus(errno, "write", path_);
      // What lies in the file and what was hashed must stay the same.
      if (ftruncate(fd_, static_cast<off_t>(offset_)) != 0) {
        return ErrnoToStatus(errno, "truncate", path_);
      }
      return status;
    }
    done += static_cast<size_t>(written);
  }
  if (bytes.empty()) return absl::OkStatus();
  hash_.Update(bytes);
  offset_ += bytes.size();
  if (offset_ - written_back_ >= kWriteBackBytes) {
    // Only a hint; Sync makes sure.
    sync_file_range(fd_, static_cast<off64_t>(written_back_),
                    static_cast<off64_t>(offset_ - written_back_),
                    SYNC_FILE_RANGE_WRITE);
    written_back_ = offset_;
  }
  return absl::OkStatus();
}

absl::StatusOr<Digest> FileSpoolWriter::Sync() {
  if (synced_ || offset_ != size_in_bytes_) {
    return absl::FailedPreconditionError(
        StrCat(path_, " holds ", offset_, " of ", size_in_bytes_, " bytes",
               synced_ ? " and was synced already" : ""));
  }
  if (fdatasync(fd_) != 0) return ErrnoToStatus(errno, "sync", path_);
  synced_ = true;
  return complete_.has_value() ? *complete_ : hash_.Finish();
}

}  // namespace mledge
