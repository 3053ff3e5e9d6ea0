#ifndef MLEDGE_CLIENT_COMPRESSED_FILE_H_
#define MLEDGE_CLIENT_COMPRESSED_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// Data files may be gzipped: whether one is, its first two bytes say, not its
// name. Thread-safe.

namespace mledge {

inline constexpr int64_t kMaximumDataFileBytes = int64_t{16} << 30;

// `bytes` as they stand, or unpacked when they are gzip. `name` is for
// messages. DATA_LOSS: damaged or cut short, naming the offset in the packed
// bytes. RESOURCE_EXHAUSTED: unpacks to more than `max_size_in_bytes`.
absl::StatusOr<std::string> UnpackIfGzip(
    std::string_view name, std::string bytes,
    int64_t max_size_in_bytes = kMaximumDataFileBytes);

// `path`, or `path`.gz where only that is there: data sets are kept either way.
std::string FindMaybeGzippedFile(const std::string& path);

// ReadFile and UnpackIfGzip of the file that FindMaybeGzippedFile names.
absl::StatusOr<std::string> ReadMaybeGzippedFile(const std::string& path);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_COMPRESSED_FILE_H_
