#ifndef MLEDGE_CLIENT_STORAGE_SEALED_FILE_H_
#define MLEDGE_CLIENT_STORAGE_SEALED_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/storage/state_cipher.h"

// Encrypted files of any size, written from front to back and read from
// anywhere:
//
//   magic (16) ‖ random id of the file (16) ‖ pieces
//
// A piece is 64 KiB, the last one shorter, sealed by itself under a label of
// purpose, file, position, and whether it is the last: pieces that were moved,
// mixed with another file's or cut off at the end are found. `purpose` says
// what the file is and is not secret.

namespace mledge {

// What a file of `size_in_bytes` takes on the disk.
uint64_t SealedSize(uint64_t size_in_bytes);

inline constexpr uint64_t kSealedPieceBytes = uint64_t{64} << 10;

// What a writer and a reader have in common: an open file, closed when this
// dies, and what it is sealed with.
class SealedFile {
 protected:
  SealedFile(std::shared_ptr<const StateCipher> cipher, std::string path,
             std::string purpose, int fd);
  ~SealedFile();
  SealedFile(const SealedFile&) = delete;
  SealedFile& operator=(const SealedFile&) = delete;

  const std::shared_ptr<const StateCipher> cipher_;
  const std::string path_;
  const std::string purpose_;
  const int fd_;
  std::string id_;  // of the file, in its header
  uint64_t pieces_ = 0;
};

// Used by one thread at a time.
class SealedFileWriter : private SealedFile {
 public:
  // Begins a new file, or goes on behind the whole pieces that an earlier
  // writer left in one that it did not finish. Codes of ErrnoToStatus.
  static absl::StatusOr<std::unique_ptr<SealedFileWriter>> Create(
      std::shared_ptr<const StateCipher> cipher, std::string path,
      std::string purpose);
  static absl::StatusOr<std::unique_ptr<SealedFileWriter>> Resume(
      std::shared_ptr<const StateCipher> cipher, std::string path,
      std::string purpose);

  uint64_t offset() const {
    return pieces_ * kSealedPieceBytes + pending_.size();
  }
  absl::Status Append(std::string_view bytes);
  // Writes what is pending as the last piece. Once.
  absl::Status Finish();
  absl::Status Sync();

 private:
  using SealedFile::SealedFile;
  absl::Status StartOver();
  bool TakeUp();
  absl::Status WritePiece(bool last);

  std::string pending_;
};

// Thread-safe.
class SealedFileReader : private SealedFile {
 public:
  // NOT_FOUND; DATA_LOSS: not one of these files, cut off, or of another
  // purpose or key.
  static absl::StatusOr<std::unique_ptr<SealedFileReader>> Open(
      std::shared_ptr<const StateCipher> cipher, std::string path,
      std::string purpose);

  uint64_t size_in_bytes() const { return size_in_bytes_; }
  // Exactly `size` bytes. OUT_OF_RANGE: past the end. DATA_LOSS: altered.
  absl::StatusOr<std::string> Read(uint64_t offset, uint64_t size) const;

 private:
  using SealedFile::SealedFile;
  absl::Status TakeUp();
  absl::StatusOr<std::string> ReadPiece(uint64_t index) const;

  uint64_t size_in_bytes_ = 0;
};

// Writes what `fill` appends beside `path`, syncs it and puts it in its place:
// after power loss the file is the old one or the new one.
absl::Status WriteSealedFile(
    std::shared_ptr<const StateCipher> cipher, const std::string& path,
    const std::string& purpose,
    const std::function<absl::Status(SealedFileWriter&)>& fill);
absl::Status WriteSealedFile(std::shared_ptr<const StateCipher> cipher,
                             const std::string& path,
                             const std::string& purpose,
                             std::string_view bytes);
// Seals what an older version left in the clear at `unsealed_path`, if there
// is anything, and then removes it. May be cut off and called again.
absl::Status SealOlderFile(std::shared_ptr<const StateCipher> cipher,
                           const std::string& unsealed_path,
                           const std::string& path, const std::string& purpose);
// All of it. Codes of SealedFileReader.
absl::StatusOr<std::string> ReadSealedFile(
    std::shared_ptr<const StateCipher> cipher, const std::string& path,
    const std::string& purpose);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_SEALED_FILE_H_
