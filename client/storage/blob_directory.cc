#include "mledge/client/storage/blob_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartialSuffix = ".part";

class FileBlobWriter final : public BlobWriter {
 public:
  FileBlobWriter(std::string path, const Digest& digest, uint64_t size_in_bytes,
                 int descriptor, uint64_t offset)
      : path_(std::move(path)),
        partial_path_(StrCat(path_, kPartialSuffix)),
        digest_(digest),
        size_in_bytes_(size_in_bytes),
        descriptor_(descriptor),
        offset_(offset) {}
  ~FileBlobWriter() override { ::close(descriptor_); }

  uint64_t offset() const override { return offset_; }

  absl::Status Append(std::string_view bytes) override {
    if (bytes.size() > size_in_bytes_ - offset_) {
      return absl::ResourceExhaustedError(StrCat(
          "the blob has more than the announced ", size_in_bytes_, " bytes"));
    }
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(),
                                       static_cast<off_t>(offset_));
      if (written < 0) {
        if (errno == EINTR) continue;
        return ErrnoToStatus(errno, "cannot write", partial_path_);
      }
      offset_ += static_cast<uint64_t>(written);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status Commit() override {
    absl::StatusOr<std::string> bytes =
        ReadFile(partial_path_, static_cast<int64_t>(size_in_bytes_));
    if (!bytes.ok() || bytes->size() != size_in_bytes_ ||
        Sha256Of(*bytes) != digest_) {
      ::unlink(partial_path_.c_str());
      return absl::DataLossError(
          StrCat("what was fetched is not blob ", digest_.ToHex(),
                 ": its contents were altered on the way"));
    }
    if (::rename(partial_path_.c_str(), path_.c_str()) != 0) {
      return ErrnoToStatus(errno, "cannot rename", partial_path_);
    }
    return absl::OkStatus();
  }

 private:
  const std::string path_;
  const std::string partial_path_;
  const Digest digest_;
  const uint64_t size_in_bytes_;
  const int descriptor_;
  uint64_t offset_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlobDirectory>> BlobDirectory::Open(
    const std::string& directory, uint64_t maximum_bytes) {
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(directory));
  std::unique_ptr<BlobDirectory> blobs(
      new BlobDirectory(directory, maximum_bytes));
  blobs->MakeRoom(0, "");  // the bound may have been lowered
  return blobs;
}

std::string BlobDirectory::PathOf(const Digest& digest) const {
  return StrCat(directory_, "/", digest.ToHex());
}

absl::StatusOr<std::shared_ptr<const std::string>> BlobDirectory::Read(
    const Digest& digest) {
  const std::string path = PathOf(digest);
  MLEDGE_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  if (Sha256Of(bytes) != digest) {
    ::unlink(path.c_str());
    return absl::NotFoundError(
        StrCat("blob ", digest.ToHex(), " was damaged and has been removed"));
  }
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // used now
  return std::make_shared<const std::string>(std::move(bytes));
}

absl::StatusOr<std::unique_ptr<BlobWriter>> BlobDirectory::OpenWriter(
    const Digest& digest, uint64_t size_in_bytes) {
  if (size_in_bytes > maximum_bytes_) {
    return absl::ResourceExhaustedError(StrCat(
        "a blob of ", size_in_bytes, " bytes does not fit into the cache of ",
        maximum_bytes_, ": raise maximum_state_bytes"));
  }
  const std::string path = PathOf(digest);
  const std::string partial_path = StrCat(path, kPartialSuffix);
  const int descriptor =
      ::open(partial_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    return ErrnoToStatus(errno, "cannot create", partial_path);
  }
  struct stat info;
  uint64_t offset = 0;
  if (::fstat(descriptor, &info) == 0) {
    offset = static_cast<uint64_t>(info.st_size);
  }
  if (offset > size_in_bytes) {
    if (::ftruncate(descriptor, 0) != 0) {
      const int error = errno;
      ::close(descriptor);
      return ErrnoToStatus(error, "cannot truncate", partial_path);
    }
    offset = 0;
  }
  MakeRoom(size_in_bytes, partial_path);
  return std::make_unique<FileBlobWriter>(path, digest, size_in_bytes,
                                          descriptor, offset);
}

void BlobDirectory::MakeRoom(uint64_t bytes, const std::string& keep_path) {
  struct File {
    fs::file_time_type used;
    fs::path path;
    uint64_t size;
  };
  std::vector<File> files;
  uint64_t total = bytes;
  std::error_code error;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(directory_, error)) {
    const fs::path& path = entry.path();
    if (path == keep_path) continue;
    if (path.extension() == kPartialSuffix && !keep_path.empty()) {
      fs::remove(path, error);
      continue;
    }
    File file{entry.last_write_time(error), path, entry.file_size(error)};
    if (error) continue;
    total += file.size;
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) {
    return a.used != b.used ? a.used < b.used : a.path < b.path;
  });
  for (const File& file : files) {
    if (total <= maximum_bytes_) return;
    if (fs::remove(file.path, error)) total -= file.size;
  }
}

}  // namespace mledge
