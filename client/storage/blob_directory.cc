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

#include "mledge/client/storage/sealed_file.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartialSuffix = ".part";

// The same for every blob: its name binds it, and its SHA-256 is checked.
std::string PurposeOf(const std::string& name) { return StrCat("blob ", name); }

class SealedBlobWriter final : public BlobWriter {
 public:
  SealedBlobWriter(std::shared_ptr<const StateCipher> cipher,
                   std::unique_ptr<SealedFileWriter> file, std::string path,
                   std::string purpose, const Digest& digest,
                   uint64_t size_in_bytes)
      : cipher_(std::move(cipher)),
        file_(std::move(file)),
        path_(std::move(path)),
        partial_path_(StrCat(path_, kPartialSuffix)),
        purpose_(std::move(purpose)),
        digest_(digest),
        size_in_bytes_(size_in_bytes) {}

  uint64_t offset() const override { return file_->offset(); }

  absl::Status Append(std::string_view bytes) override {
    if (bytes.size() > size_in_bytes_ - file_->offset()) {
      return absl::ResourceExhaustedError(StrCat(
          "the blob has more than the announced ", size_in_bytes_, " bytes"));
    }
    return file_->Append(bytes);
  }

  absl::Status Commit() override {
    MLEDGE_RETURN_IF_ERROR(file_->Finish());
    const absl::StatusOr<std::string> bytes =
        ReadSealedFile(cipher_, partial_path_, purpose_);
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
  const std::shared_ptr<const StateCipher> cipher_;
  const std::unique_ptr<SealedFileWriter> file_;
  const std::string path_;
  const std::string partial_path_;
  const std::string purpose_;
  const Digest digest_;
  const uint64_t size_in_bytes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlobDirectory>> BlobDirectory::Open(
    const std::string& directory, uint64_t maximum_bytes,
    std::shared_ptr<const StateCipher> cipher) {
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(directory));
  std::unique_ptr<BlobDirectory> blobs(
      new BlobDirectory(directory, maximum_bytes, std::move(cipher)));
  blobs->MakeRoom(0, "");  // the bound may have been lowered
  return blobs;
}

std::string BlobDirectory::NameOf(const Digest& digest) const {
  return cipher_->NameOf("blob", digest);
}

std::string BlobDirectory::PathOf(const Digest& digest) const {
  return StrCat(directory_, "/", NameOf(digest));
}

absl::StatusOr<std::shared_ptr<const std::string>> BlobDirectory::Read(
    const Digest& digest) {
  const std::string path = PathOf(digest);
  absl::StatusOr<std::string> bytes =
      ReadSealedFile(cipher_, path, PurposeOf(NameOf(digest)));
  if (!bytes.ok() && !absl::IsDataLoss(bytes.status())) return bytes.status();
  if (!bytes.ok() || Sha256Of(*bytes) != digest) {
    ::unlink(path.c_str());
    return absl::NotFoundError(
        StrCat("blob ", digest.ToHex(), " was damaged and has been removed"));
  }
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // used now
  return std::make_shared<const std::string>(*std::move(bytes));
}

absl::StatusOr<std::unique_ptr<BlobWriter>> BlobDirectory::OpenWriter(
    const Digest& digest, uint64_t size_in_bytes) {
  const uint64_t on_disk = SealedSize(size_in_bytes);
  if (on_disk > maximum_bytes_) {
    return absl::ResourceExhaustedError(StrCat(
        "a blob of ", size_in_bytes, " bytes does not fit into the cache of ",
        maximum_bytes_, ": raise maximum_state_bytes"));
  }
  const std::string path = PathOf(digest);
  const std::string partial_path = StrCat(path, kPartialSuffix);
  const std::string purpose = PurposeOf(NameOf(digest));
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<SealedFileWriter> file,
      SealedFileWriter::Resume(cipher_, partial_path, purpose));
  if (file->offset() > size_in_bytes) {
    MLEDGE_ASSIGN_OR_RETURN(
        file, SealedFileWriter::Create(cipher_, partial_path, purpose));
  }
  MakeRoom(on_disk, partial_path);
  return std::make_unique<SealedBlobWriter>(cipher_, std::move(file), path,
                                            purpose, digest, size_in_bytes);
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
