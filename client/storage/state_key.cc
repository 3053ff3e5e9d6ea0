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
  explicit FileStateKey(std::string path)
      : path_(std::move(path)), unconfirmed_path_(StrCat(path_, ".new")) {}

  std::string Describe() const override { return StrCat("state key ", path_); }

  absl::StatusOr<SecretBytes> Load() override {
    absl::StatusOr<SecretBytes> key = LoadFrom(path_);
    // Beside a confirmed one it is what Confirm left when it was cut off.
    if (key.ok()) unlink(unconfirmed_path_.c_str());
    return key;
  }
  absl::StatusOr<SecretBytes> LoadUnconfirmed() override {
    return LoadFrom(unconfirmed_path_);
  }

  absl::StatusOr<SecretBytes> Create() override {
    if (access(path_.c_str(), F_OK) == 0) {
      return absl::AlreadyExistsError(StrCat(path_, " exists"));
    }
    SecretBytes key = SecretBytes::Random(kSizeInBytes);
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
    if (status.ok()) status = Link(temporary, unconfirmed_path_);
    unlink(temporary.c_str());
    MLEDGE_RETURN_IF_ERROR(status);
    MLEDGE_RETURN_IF_ERROR(SyncFolder());
    return key;
  }

  absl::Status Confirm() override {
    MLEDGE_RETURN_IF_ERROR(Link(unconfirmed_path_, path_));
    MLEDGE_RETURN_IF_ERROR(SyncFolder());
    unlink(unconfirmed_path_.c_str());
    return absl::OkStatus();
  }

 private:
  static absl::Status Link(const std::string& from, const std::string& to) {
    if (link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return errno == EEXIST ? absl::AlreadyExistsError(StrCat(to, " exists"))
                           : ErrnoToStatus(errno, "create", to);
  }

  absl::Status SyncFolder() const {
    const std::string folder =
        std::filesystem::path(path_).parent_path().string();
    return SyncDirectory(folder.empty() ? "." : folder);
  }

  static absl::StatusOr<SecretBytes> LoadFrom(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoToStatus(errno, "open state key", path);
    SecretBytes key(kSizeInBytes);
    absl::Status status = CheckFile(fd, path);
    if (status.ok()) {
      status = ReadExactly(fd, key.mutable_bytes(RevealSecret()), path);
    }
    close(fd);
    MLEDGE_RETURN_IF_ERROR(status);
    return key;
  }

  static absl::Status CheckFile(int fd, const std::string& path) {
    struct stat info;
    if (fstat(fd, &info) != 0) return ErrnoToStatus(errno, "stat", path);
    if (!S_ISREG(info.st_mode) || info.st_size != kSizeInBytes) {
      return absl::DataLossError(StrCat("state key ", path, " is no file of ",
                                        kSizeInBytes,
                                        " bytes: restore it from a backup"));
    }
    if ((info.st_mode & 077) != 0) {
      return absl::FailedPreconditionError(
          StrCat("others may read the state key ", path, ": chmod 600 it"));
    }
    return absl::OkStatus();
  }

  const std::string path_;
  const std::string unconfirmed_path_;
};

}  // namespace

std::unique_ptr<StateKey> MakeFileStateKey(std::string path) {
  return std::make_unique<FileStateKey>(std::move(path));
}

}  // namespace mledge
