#include "mledge/core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  // The result of close(2), which may be the first to tell of a full disk.
  int Close() { return close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

std::string DirectoryOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

// A name beside `path` that no other call of any process is using.
std::string NameBeside(const std::string& path) {
  static std::atomic<uint64_t> count{0};
  return StrCat(path, ".tmp-", getpid(), "-", count++);
}

absl::Status WriteAndSync(const std::string& path, std::string_view contents,
                          FileMode mode) {
  FileDescriptor file(open(path.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                           static_cast<mode_t>(mode)));
  if (!file.ok()) return ErrnoToStatus(errno, "create", path);
  while (!contents.empty()) {
    const ssize_t written = write(file.get(), contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoToStatus(errno, "write", path);
    }
    contents.remove_prefix(static_cast<size_t>(written));
  }
  if (fsync(file.get()) != 0) return ErrnoToStatus(errno, "sync", path);
  if (file.Close() != 0) return ErrnoToStatus(errno, "close", path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_size_in_bytes) {
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) return ErrnoToStatus(errno, "open", path);
  struct stat info;
  if (fstat(file.get(), &info) != 0) {
    return ErrnoToStatus(errno, "stat", path);
  }
  const absl::Status too_large = absl::ResourceExhaustedError(
      StrCat(path, " is larger than the ", max_size_in_bytes,
             " bytes that are allowed here"));
  if (info.st_size > max_size_in_bytes) return too_large;

  // The size is a hint only: /proc says 0, and a file may grow.
  std::string contents;
  size_t used = 0;
  contents.resize(static_cast<size_t>(info.st_size) + 1);
  while (true) {
    const ssize_t got =
        read(file.get(), contents.data() + used, contents.size() - used);
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoToStatus(errno, "read", path);
    }
    if (got == 0) break;
    used += static_cast<size_t>(got);
    if (static_cast<int64_t>(used) > max_size_in_bytes) return too_large;
    if (used == contents.size()) contents.resize(used * 2 + 4096);
  }
  contents.resize(used);
  return contents;
}

absl::Status WriteFileAtomically(const std::string& path,
                                 std::string_view contents, FileMode mode) {
  struct stat info;
  if (lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) &&
      !S_ISLNK(info.st_mode)) {
    return absl::FailedPreconditionError(StrCat(
        path, " is not a regular file and is not replaced: name a file"));
  }
  const std::string temporary = NameBeside(path);
  if (absl::Status status = WriteAndSync(temporary, contents, mode);
      !status.ok()) {
    unlink(temporary.c_str());
    return Annotate(status, StrCat("writing ", path));
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    absl::Status status = ErrnoToStatus(errno, "rename to", path);
    unlink(temporary.c_str());
    return status;
  }
  return SyncDirectory(DirectoryOf(path));
}

absl::Status EnsureWritableDirectory(const std::string& path) {
  // Folders that are made here must survive like the files that go into them.
  std::vector<std::filesystem::path> parents_of_new;
  std::error_code error;
  for (std::filesystem::path folder = path;
       !folder.empty() && !std::filesystem::exists(folder, error);
       folder = folder.parent_path()) {
    parents_of_new.push_back(DirectoryOf(folder));
  }
  error.clear();
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoToStatus(error.value(), "create folder", path);
  for (const std::filesystem::path& parent : parents_of_new) {
    MLEDGE_RETURN_IF_ERROR(SyncDirectory(parent));
  }
  const std::string probe = NameBeside(StrCat(path, "/writable"));
  const FileDescriptor file(
      open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.ok()) return ErrnoToStatus(errno, "create a file in", path);
  unlink(probe.c_str());
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) {
  const FileDescriptor directory(
      open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.ok()) return ErrnoToStatus(errno, "open folder", path);
  if (fsync(directory.get()) != 0) {
    return ErrnoToStatus(errno, "sync folder", path);
  }
  return absl::OkStatus();
}

absl::Status ErrnoToStatus(int error_number, std::string_view action,
                           std::string_view path) {
  const std::string message = StrCat(
      action, " ", path, ": ", std::generic_category().message(error_number));
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace mledge
