#include "mledge/client/storage/sealed_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <span>
#include <utility>

#include "mledge/core/bytes.h"
#include "mledge/core/file.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr std::string_view kMagic = "mledge-sealed-1\n";
constexpr uint64_t kIdSize = 16;
constexpr uint64_t kHeader = kMagic.size() + kIdSize;
constexpr uint64_t kPiece = kSealedPieceBytes;
constexpr uint64_t kSealedPiece = kPiece + StateCipher::kOverhead;

std::string Label(std::string_view purpose, std::string_view id, uint64_t index,
                  bool last) {
  // The purpose holds no zero byte.
  std::string label = StrCat(purpose, std::string_view("\0", 1), id);
  for (int shift = 56; shift >= 0; shift -= 8) {
    label.push_back(static_cast<char>(index >> shift));
  }
  label.push_back(last ? 1 : 0);
  return label;
}

// False: the file ends before, or cannot be read.
bool ReadAt(int fd, uint64_t offset, std::string& out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = pread(fd, out.data() + done, out.size() - done,
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

absl::Status WriteAt(int fd, uint64_t offset, std::string_view bytes,
                     const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written =
        pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoToStatus(errno, "cannot write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> FileSize(int fd, const std::string& path) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoToStatus(errno, "cannot stat", path);
  return static_cast<uint64_t>(info.st_size);
}

// The id in the header; empty: this is none of these files.
std::string ReadId(int fd) {
  std::string header(kHeader, '\0');
  if (!ReadAt(fd, 0, header) || !header.starts_with(kMagic)) return "";
  return header.substr(kMagic.size());
}

}  // namespace

uint64_t SealedSize(uint64_t size_in_bytes) {
  const uint64_t pieces =
      std::max<uint64_t>(1, (size_in_bytes + kPiece - 1) / kPiece);
  return kHeader + size_in_bytes + pieces * StateCipher::kOverhead;
}

SealedFile::SealedFile(std::shared_ptr<const StateCipher> cipher,
                       std::string path, std::string purpose, int fd)
    : cipher_(std::move(cipher)),
      path_(std::move(path)),
      purpose_(std::move(purpose)),
      fd_(fd) {}

SealedFile::~SealedFile() { close(fd_); }

absl::StatusOr<std::unique_ptr<SealedFileWriter>> SealedFileWriter::Create(
    std::shared_ptr<const StateCipher> cipher, std::string path,
    std::string purpose) {
  const int fd =
      open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoToStatus(errno, "cannot create", path);
  std::unique_ptr<SealedFileWriter> writer(new SealedFileWriter(
      std::move(cipher), std::move(path), std::move(purpose), fd));
  MLEDGE_RETURN_IF_ERROR(writer->StartOver());
  return writer;
}

absl::StatusOr<std::unique_ptr<SealedFileWriter>> SealedFileWriter::Resume(
    std::shared_ptr<const StateCipher> cipher, std::string path,
    std::string purpose) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoToStatus(errno, "cannot create", path);
  std::unique_ptr<SealedFileWriter> writer(new SealedFileWriter(
      std::move(cipher), std::move(path), std::move(purpose), fd));
  if (!writer->TakeUp()) MLEDGE_RETURN_IF_ERROR(writer->StartOver());
  return writer;
}

absl::Status SealedFileWriter::StartOver() {
  if (ftruncate(fd_, 0) != 0) {
    return ErrnoToStatus(errno, "cannot truncate", path_);
  }
  id_.assign(kIdSize, '\0');
  SystemSecretRandom().Fill(AsWritableBytes(id_));
  pieces_ = 0;
  return WriteAt(fd_, 0, StrCat(kMagic, id_), path_);
}

bool SealedFileWriter::TakeUp() {
  id_ = ReadId(fd_);
  const absl::StatusOr<uint64_t> size = FileSize(fd_, path_);
  if (id_.empty() || !size.ok() || *size < kHeader + kSealedPiece) return false;
  pieces_ = (*size - kHeader) / kSealedPiece;
  // The last whole piece may be torn, or have been the last of a finished file.
  // Those before it are looked at when they are read.
  std::string sealed(kSealedPiece, '\0');
  std::string plain(kPiece, '\0');
  return ReadAt(fd_, kHeader + (pieces_ - 1) * kSealedPiece, sealed) &&
         cipher_
             ->Open(StateCipher::Use::kFilePiece,
                    Label(purpose_, id_, pieces_ - 1, false), AsBytes(sealed),
                    AsWritableBytes(plain))
             .ok();
}

absl::Status SealedFileWriter::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    // A full piece waits until it is known not to be the last.
    if (pending_.size() == kPiece) MLEDGE_RETURN_IF_ERROR(WritePiece(false));
    const std::string_view part = bytes.substr(0, kPiece - pending_.size());
    pending_.append(part);
    bytes.remove_prefix(part.size());
  }
  return absl::OkStatus();
}

absl::Status SealedFileWriter::WritePiece(bool last) {
  std::string sealed(pending_.size() + StateCipher::kOverhead, '\0');
  cipher_->Seal(StateCipher::Use::kFilePiece,
                Label(purpose_, id_, pieces_, last), AsBytes(pending_),
                AsWritableBytes(sealed));
  MLEDGE_RETURN_IF_ERROR(
      WriteAt(fd_, kHeader + pieces_ * kSealedPiece, sealed, path_));
  ++pieces_;
  pending_.clear();
  return absl::OkStatus();
}

absl::Status SealedFileWriter::Finish() {
  const uint64_t end = kHeader + pieces_ * kSealedPiece + pending_.size() +
                       StateCipher::kOverhead;
  MLEDGE_RETURN_IF_ERROR(WritePiece(true));
  // Whatever a torn piece of an earlier attempt left behind it.
  if (ftruncate(fd_, static_cast<off_t>(end)) != 0) {
    return ErrnoToStatus(errno, "cannot truncate", path_);
  }
  return absl::OkStatus();
}

absl::Status SealedFileWriter::Sync() {
  if (fsync(fd_) != 0) return ErrnoToStatus(errno, "cannot sync", path_);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SealedFileReader>> SealedFileReader::Open(
    std::shared_ptr<const StateCipher> cipher, std::string path,
    std::string purpose) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoToStatus(errno, "cannot open", path);
  std::unique_ptr<SealedFileReader> reader(new SealedFileReader(
      std::move(cipher), std::move(path), std::move(purpose), fd));
  MLEDGE_RETURN_IF_ERROR(reader->TakeUp());
  return reader;
}

absl::Status SealedFileReader::TakeUp() {
  MLEDGE_ASSIGN_OR_RETURN(const uint64_t size, FileSize(fd_, path_));
  id_ = ReadId(fd_);
  const uint64_t body = size < kHeader ? 0 : size - kHeader;
  pieces_ = (body + kSealedPiece - 1) / kSealedPiece;
  if (id_.empty() || pieces_ == 0 ||
      body - (pieces_ - 1) * kSealedPiece < StateCipher::kOverhead) {
    return absl::DataLossError(StrCat(path_, " was altered or cut off"));
  }
  size_in_bytes_ = body - pieces_ * StateCipher::kOverhead;
  // Wherever the file is read: that it is whole.
  return ReadPiece(pieces_ - 1).status();
}

absl::StatusOr<std::string> SealedFileReader::ReadPiece(uint64_t index) const {
  const bool last = index + 1 == pieces_;
  std::string plain(last ? size_in_bytes_ - index * kPiece : kPiece, '\0');
  std::string sealed(plain.size() + StateCipher::kOverhead, '\0');
  if (!ReadAt(fd_, kHeader + index * kSealedPiece, sealed)) {
    return absl::DataLossError(StrCat(path_, " cannot be read"));
  }
  if (absl::Status opened = cipher_->Open(
          StateCipher::Use::kFilePiece, Label(purpose_, id_, index, last),
          AsBytes(sealed), AsWritableBytes(plain));
      !opened.ok()) {
    return Annotate(opened, path_);
  }
  return plain;
}

absl::StatusOr<std::string> SealedFileReader::Read(uint64_t offset,
                                                   uint64_t size) const {
  if (offset > size_in_bytes_ || size > size_in_bytes_ - offset) {
    return absl::OutOfRangeError(StrCat("bytes ", offset, " to ", offset + size,
                                        " of a file of ", size_in_bytes_));
  }
  std::string bytes;
  bytes.reserve(size);
  while (bytes.size() < size) {
    const uint64_t at = offset + bytes.size();
    MLEDGE_ASSIGN_OR_RETURN(const std::string piece, ReadPiece(at / kPiece));
    bytes.append(piece, at % kPiece, size - bytes.size());
  }
  return bytes;
}

absl::Status WriteSealedFile(
    std::shared_ptr<const StateCipher> cipher, const std::string& path,
    const std::string& purpose,
    const std::function<absl::Status(SealedFileWriter&)>& fill) {
  const std::string temporary = StrCat(path, ".tmp");
  {
    MLEDGE_ASSIGN_OR_RETURN(
        const std::unique_ptr<SealedFileWriter> writer,
        SealedFileWriter::Create(std::move(cipher), temporary, purpose));
    MLEDGE_RETURN_IF_ERROR(fill(*writer));
    MLEDGE_RETURN_IF_ERROR(writer->Finish());
    MLEDGE_RETURN_IF_ERROR(writer->Sync());
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoToStatus(errno, "cannot rename", temporary);
  }
  return SyncDirectory(std::filesystem::path(path).parent_path().string());
}

absl::Status WriteSealedFile(std::shared_ptr<const StateCipher> cipher,
                             const std::string& path,
                             const std::string& purpose,
                             std::string_view bytes) {
  return WriteSealedFile(
      std::move(cipher), path, purpose,
      [bytes](SealedFileWriter& writer) { return writer.Append(bytes); });
}

absl::Status SealOlderFile(std::shared_ptr<const StateCipher> cipher,
                           const std::string& unsealed_path,
                           const std::string& path,
                           const std::string& purpose) {
  const absl::StatusOr<std::string> bytes = ReadFile(unsealed_path);
  if (absl::IsNotFound(bytes.status())) return absl::OkStatus();
  MLEDGE_RETURN_IF_ERROR(bytes.status());
  MLEDGE_RETURN_IF_ERROR(
      WriteSealedFile(std::move(cipher), path, purpose, *bytes));
  if (unlink(unsealed_path.c_str()) != 0) {
    return ErrnoToStatus(errno, "cannot remove", unsealed_path);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadSealedFile(
    std::shared_ptr<const StateCipher> cipher, const std::string& path,
    const std::string& purpose) {
  MLEDGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<SealedFileReader> reader,
      SealedFileReader::Open(std::move(cipher), path, purpose));
  return reader->Read(0, reader->size_in_bytes());
}

}  // namespace mledge
