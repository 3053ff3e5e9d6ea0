#ifndef MLEDGE_CORE_STORAGE_DIRECTORY_LOCK_H_
#define MLEDGE_CORE_STORAGE_DIRECTORY_LOCK_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// Keeps two servers out of one state directory while both are alive. The system
// lets go of the lock when the process dies, however it dies. What the lock
// cannot see (another machine on a network file system, a lock file that
// somebody removed) is the work of owner_epoch.h.

namespace mledge {

class DirectoryLock {
 public:
  // Makes the directory if it is missing and locks <directory>/lock for a
  // `server` ("coordinator", for messages). PERMISSION_DENIED: not writable.
  // FAILED_PRECONDITION names the process that holds it.
  static absl::StatusOr<std::unique_ptr<DirectoryLock>> Acquire(
      const std::string& directory, std::string_view server);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace mledge

#endif  // MLEDGE_CORE_STORAGE_DIRECTORY_LOCK_H_
