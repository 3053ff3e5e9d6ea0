#include "mledge/client/storage/state_key.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <span>
#include <utility>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// Exactly these bytes, without a copy that nobody wipes.
absl::Status ReadExactly(int fd, std::span<uint8_t> out,
                         const std::string& path) {
  while (!out.empty()) {
    const ssize_t got = read(fd, out.data(), out.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoToStatus(errno, "read", path);
    if (got == 0) return absl::DataLossError(StrCat(path, " became shorter"));
    out = out.subspan(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

absl::Status WriteAndSync(int fd, std::span<const uint8_t> bytes,
                          const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoToStatus(errno, "write", path);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  if (fsync(fd) != 0) return ErrnoToStatus(errno, "sync", path);
  return absl::OkStatus();
}

class FileStateKey final : public StateKey {
 public:
  explicit FileStateKey(std::string path) : path_(std::move(path)) {}

  std::string Describe() const override { return StrCat("state key ", path_); }

  absl::StatusOr<SecretBytes> Load() override {
    const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoToStatus(errno, "open state key", path_);
    SecretBytes key(kSizeInBytes);
    absl::Status status = CheckFile(fd);
    if (status.ok()) {
      status = ReadExactly(fd, key.mutable_bytes(RevealSecret()), path_);
    }
    close(fd);
    MLEDGE_RETURN_IF_ERROR(status);
    return key;
  }

  absl::StatusOr<SecretBytes> Create() override {
    SecretBytes key = SecretBytes::Random(kSizeInBytes);
    const std::string folder =
        std::filesystem::path(path_).parent_path().string();
    // Written beside it and linked: complete or not there, and never in the
    // place of one that another process has just made.
    const std::string temporary = StrCat(path_, ".", getpid(), ".tmp");
    const int fd =
        open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
      return Annotate(ErrnoToStatus(errno, "create", temporary),
                      "a place for the state key must be writable once");
    }
    absl::Status status =
        WriteAndSync(fd, key.bytes(RevealSecret()), temporary);
    close(fd);
    if (status.ok() && link(temporary.c_str(), path_.c_str()) != 0) {
      status = errno == EEXIST
                   ? absl::AlreadyExistsError(StrCat(path_, " exists"))
                   : ErrnoToStatus(errno, "create", path_);
    }
    unlink(temporary.c_str());
    MLEDGE_RETURN_IF_ERROR(status);
    MLEDGE_RETURN_IF_ERROR(SyncDirectory(folder.empty() ? "." : folder));
    return key;
  }

 private:
  absl::Status CheckFile(int fd) const {
    struct stat info;
    if (fstat(fd, &info) != 0) return ErrnoToStatus(errno, "stat", path_);
    if (!S_ISREG(info.st_mode) || info.st_size != kSizeInBytes) {
      return absl::DataLossError(StrCat("state key ", path_, " is no file of ",
                                        kSizeInBytes,
                                        " bytes: restore it from a backup"));
    }
    if ((info.st_mode & 077) != 0) {
      return absl::FailedPreconditionError(
          StrCat("others may read the state key ", path_, ": chmod 600 it"));
    }
    return absl::OkStatus();
  }

  const std::string path_;
};

}  // namespace

std::unique_ptr<StateKey> MakeFileStateKey(std::string path) {
  return std::make_unique<FileStateKey>(std::move(path));
}

}  // namespace mledge
