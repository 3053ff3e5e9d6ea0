#include "mledge/coordinator/storage/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {

namespace fs = std::filesystem;

namespace {

// Whether the file holds exactly `bytes`.
bool Holds(const std::string& path, std::string_view bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::vector<char> piece(size_t{1} << 18);
  bool same = true;
  while (same) {
    const ssize_t got = read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) break;
    same = got > 0 && bytes.starts_with(std::string_view(
                          piece.data(), static_cast<size_t>(got)));
    if (same) bytes.remove_prefix(static_cast<size_t>(got));
  }
  close(fd);
  return same && bytes.empty();
}

}  // namespace

class BlobStore::Reader final : public BlobReader {
 public:
  // Takes over the descriptor.
  Reader(std::shared_ptr<Readers> readers, const Digest& name, std::string path,
         int fd, uint64_t size)
      : readers_(std::move(readers)),
        name_(name),
        path_(std::move(path)),
        fd_(fd),
        size_(size) {
    MutexLock lock(&readers_->mutex);
    ++readers_->count[name_];
  }
  ~Reader() override {
    close(fd_);
    MutexLock lock(&readers_->mutex);
    const auto it = readers_->count.find(name_);
    if (--it->second == 0) readers_->count.erase(it);
  }

  uint64_t size_in_bytes() const override { return size_; }

  absl::StatusOr<std::string> Read(uint64_t offset,
                                   uint64_t size) const override {
    if (offset > size_) {
      return absl::OutOfRangeError(StrCat("offset ", offset, " lies past the ",
                                          size_, " bytes of blob ",
                                          name_.ToHex()));
    }
    std::string bytes(std::min(size, size_ - offset), '\0');
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got = pread(fd_, bytes.data() + done, bytes.size() - done,
                                static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrnoToStatus(errno, "read", path_);
      if (got == 0) {
        return absl::DataLossError(
            StrCat(path_, " became shorter while it was read"));
      }
      done += static_cast<size_t>(got);
    }
    return bytes;
  }

 private:
  const std::shared_ptr<Readers> readers_;
  const Digest name_;
  const std::string path_;
  const int fd_;
  const uint64_t size_;
};

BlobStore::BlobStore(std::string directory)
    : directory_(std::move(directory)), readers_(std::make_shared<Readers>()) {}

std::string BlobStore::FolderOf(const Digest& name) const {
  return StrCat(directory_, "/", name.ToHex().substr(0, 2));
}

std::string BlobStore::PathOf(const Digest& name) const {
  return StrCat(FolderOf(name), "/", name.ToHex().substr(2));
}

absl::StatusOr<std::unique_ptr<BlobStore>> BlobStore::Open(
    std::string directory) {
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(directory));
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (fs::recursive_directory_iterator it(directory, error), end;
       !error && it != end; it.increment(error)) {
    if (it->path().filename().string().find(".tmp-") != std::string::npos) {
      leftovers.push_back(it->path());
    }
  }
  if (error) return ErrnoToStatus(error.value(), "list", directory);
  for (const fs::path& leftover : leftovers) fs::remove(leftover, error);
  return std::unique_ptr<BlobStore>(new BlobStore(std::move(directory)));
}

absl::StatusOr<Digest> BlobStore::Put(std::string_view bytes) {
  const Digest name = Sha256Of(bytes);
  const std::string folder = FolderOf(name);
  const std::string path = PathOf(name);
  {
    MutexLock lock(&mutex_);
    just_put_.insert(name);
  }
  // From here on Collect leaves the name alone. A file under it was synced
  // before it got the name; the disk may have damaged it since. The name itself
  // may not be durable yet, when another call has just given it, or a process
  // died before it could sync the folders.
  if (Holds(path, bytes)) {
    MLEDGE_RETURN_IF_ERROR(SyncDirectory(folder));
    MLEDGE_RETURN_IF_ERROR(SyncDirectory(directory_));
    return name;
  }
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    return ErrnoToStatus(errno, "create folder", folder);
  }
  MLEDGE_RETURN_IF_ERROR(SyncDirectory(directory_));
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(path, bytes, FileMode::kPrivate));
  return name;
}

void BlobStore::Named(const std::set<Digest>& blobs) {
  MutexLock lock(&mutex_);
  for (const Digest& blob : blobs) just_put_.erase(blob);
}

absl::StatusOr<std::shared_ptr<const BlobReader>> BlobStore::Get(
    const Digest& name) {
  const std::string path = PathOf(name);
  // Opening and being counted as a reader must not be torn apart by Collect.
  MutexLock lock(&mutex_);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    return absl::NotFoundError(StrCat("there is no blob ", name.ToHex()));
  }
  if (fd < 0) return ErrnoToStatus(errno, "open", path);
  struct stat info;
  if (fstat(fd, &info) != 0) {
    const absl::Status status = ErrnoToStatus(errno, "stat", path);
    close(fd);
    return status;
  }
  return std::make_shared<const Reader>(readers_, name, path, fd,
                                        static_cast<uint64_t>(info.st_size));
}

absl::Status BlobStore::Collect(const std::set<Digest>& referenced) {
  std::vector<std::pair<Digest, fs::path>> candidates;
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory_, error), end;
       !error && it != end; it.increment(error)) {
    if (it->is_directory(error)) continue;
    const absl::StatusOr<Digest> name =
        Digest::FromHex(it->path().parent_path().filename().string() +
                        it->path().filename().string());
    if (name.ok() && !referenced.contains(*name)) {
      candidates.emplace_back(*name, it->path());
    }
  }
  if (error) return ErrnoToStatus(error.value(), "list", directory_);
  for (const auto& [name, path] : candidates) {
    MutexLock lock(&mutex_);
    if (just_put_.contains(name)) continue;
    {
      MutexLock readers_lock(&readers_->mutex);
      if (readers_->count.contains(name)) continue;
    }
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
      return ErrnoToStatus(errno, "remove", path.string());
    }
  }
  return absl::OkStatus();
}

}  // namespace mledge
