#include "mledge/client/compressed_file.h"

#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

struct EndInflate {
  void operator()(z_stream* stream) const { inflateEnd(stream); }
};

}  // namespace

absl::StatusOr<std::string> UnpackIfGzip(std::string_view name,
                                         std::string bytes,
                                         int64_t max_size_in_bytes) {
  if (bytes.size() < 2 || static_cast<uint8_t>(bytes[0]) != 0x1f ||
      static_cast<uint8_t>(bytes[1]) != 0x8b) {
    return bytes;
  }
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  // zlib counts input in 32 bits, so a large file is passed piece by piece.
  constexpr size_t kPiece = size_t{1} << 20;
  z_stream stream{};
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) {
    return absl::ResourceExhaustedError(
        StrCat(name, ": no memory to unpack it"));
  }
  std::unique_ptr<z_stream, EndInflate> end(&stream);

  std::string unpacked;
  size_t consumed = 0;
  int result = Z_OK;
  while (true) {
    const size_t given = std::min(kPiece, bytes.size() - consumed);
    stream.next_in = reinterpret_cast<Bytef*>(bytes.data() + consumed);
    stream.avail_in = static_cast<uInt>(given);
    const size_t before = unpacked.size();
    unpacked.resize(before + 4 * kPiece);
    stream.next_out = reinterpret_cast<Bytef*>(unpacked.data() + before);
    stream.avail_out = static_cast<uInt>(4 * kPiece);
    result = inflate(&stream, Z_NO_FLUSH);
    consumed += given - stream.avail_in;
    unpacked.resize(before + (4 * kPiece - stream.avail_out));
    if (static_cast<int64_t>(unpacked.size()) > max_size_in_bytes) {
      return absl::ResourceExhaustedError(
          StrCat(name, ": unpacks to more than ", max_size_in_bytes,
                 " bytes; split the file, or unpack it and use a part"));
    }
    if (result == Z_STREAM_END) {
      // gzip files may be several members, one after the other.
      if (consumed == bytes.size()) return unpacked;
      if (inflateReset(&stream) != Z_OK) break;
      continue;
    }
    const bool stuck = unpacked.size() == before && consumed == bytes.size();
    if ((result != Z_OK && result != Z_BUF_ERROR) || stuck) break;
  }
  if (consumed == bytes.size()) {
    return absl::DataLossError(
        StrCat(name, ": the gzip data end too early, after ", bytes.size(),
               " packed and ", unpacked.size(),
               " unpacked bytes; get the file again"));
  }
  return absl::DataLossError(StrCat(
      name, ": damaged gzip data near packed byte ", consumed, " (",
      stream.msg == nullptr ? "unknown" : stream.msg, "); get the file again"));
}

std::string FindMaybeGzippedFile(const std::string& path) {
  std::error_code ignored;
  std::string packed = StrCat(path, ".gz");
  if (!std::filesystem::exists(path, ignored) &&
      std::filesystem::exists(packed, ignored)) {
    return packed;
  }
  return path;
}

absl::StatusOr<std::string> ReadMaybeGzippedFile(const std::string& path) {
  const std::string found = FindMaybeGzippedFile(path);
  MLEDGE_ASSIGN_OR_RETURN(std::string bytes,
                          ReadFile(found, kMaximumDataFileBytes));
  return UnpackIfGzip(found, std::move(bytes));
}

}  // namespace mledge
