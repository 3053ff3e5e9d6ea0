#include "mledge/core/storage/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "mledge/core/file.h"
#include "mledge/core/strings.h"

namespace mledge {

absl::StatusOr<std::unique_ptr<DirectoryLock>> DirectoryLock::Acquire(
    const std::string& directory, std::string_view server) {
  if (absl::Status status = EnsureWritableDirectory(directory); !status.ok()) {
    return absl::Status(
        status.code(),
        StrCat(status.message(),
               ": make the folder writable for this process, or name another "
               "state_directory"));
  }
  const std::string path = StrCat(directory, "/lock");
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoToStatus(errno, "create", path);
  std::unique_ptr<DirectoryLock> lock(new DirectoryLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoToStatus(errno, "lock", path);
    char holder[32] = {};
    const ssize_t size = pread(fd, holder, sizeof(holder) - 1, 0);
    return absl::FailedPreconditionError(
        StrCat("state directory ", directory, " is in use by process ",
               size > 0 ? std::string(holder, static_cast<size_t>(size))
                        : std::string("(unknown)"),
               ": stop that ", server, ", or name another state_directory"));
  }
  const std::string pid = StrCat(getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) !=
                                   static_cast<ssize_t>(pid.size())) {
    return ErrnoToStatus(errno, "write", path);
  }
  return lock;
}

DirectoryLock::~DirectoryLock() { close(fd_); }

}  // namespace mledge
