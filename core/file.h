#ifndef MLEDGE_CORE_FILE_H_
#define MLEDGE_CORE_FILE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Whole files, and the few durable steps that stores are made of. Every error
// names the path and what the system said. Thread-safe for different paths.

namespace mledge {

// NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED (larger than
// `max_size_in_bytes`), UNAVAILABLE (read error).
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_size_in_bytes = int64_t{1}
                                                                 << 32);

enum class FileMode { kPublic = 0644, kPrivate = 0600 };

// Writes beside `path`, syncs, renames over it and syncs the folder: after a
// power loss the file is the old one or the new one. The process's umask
// narrows `mode`. RESOURCE_EXHAUSTED when the disk is full, PERMISSION_DENIED,
// NOT_FOUND (no such folder), FAILED_PRECONDITION (`path` is a folder or a
// device).
absl::Status WriteFileAtomically(const std::string& path,
                                 std::string_view contents,
                                 FileMode mode = FileMode::kPublic);

// Creates the folder and its parents where missing, durably; fails unless a
// file can be created in it.
absl::Status EnsureWritableDirectory(const std::string& path);

absl::Status SyncDirectory(const std::string& path);

// The status that an errno of a call on `path` stands for: ENOENT and ENOTDIR
// are NOT_FOUND; EACCES, EPERM and EROFS PERMISSION_DENIED; ENOSPC, EDQUOT and
// EFBIG RESOURCE_EXHAUSTED; else UNAVAILABLE. The message reads
// "<action> <path>: <system's words>".
absl::Status ErrnoToStatus(int error_number, std::string_view action,
                           std::string_view path);

}  // namespace mledge

#endif  // MLEDGE_CORE_FILE_H_
