#ifndef MLEDGE_CLIENT_STORAGE_BLOB_DIRECTORY_H_
#define MLEDGE_CLIENT_STORAGE_BLOB_DIRECTORY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/device_storage.h"
#include "mledge/client/storage/state_cipher.h"
#include "mledge/core/sha256.h"

// A cache of blobs as sealed files, whose names say nothing without the key,
// bounded in size. What was used longest ago (by the file's time) goes first.
// Nothing is synced: contents are compared with their SHA-256 whenever they are
// read, so a file that power loss has damaged is as good as absent. Thread-safe
// for different blobs.

namespace mledge {

class BlobDirectory {
 public:
  // Creates the folder. Codes of EnsureWritableDirectory. `maximum_bytes`
  // bounds what the files take, which is a little more than what they hold.
  static absl::StatusOr<std::unique_ptr<BlobDirectory>> Open(
      const std::string& directory, uint64_t maximum_bytes,
      std::shared_ptr<const StateCipher> cipher);

  // NOT_FOUND: absent, or damaged (then it is removed).
  absl::StatusOr<std::shared_ptr<const std::string>> Read(const Digest& digest);
  // See DeviceStorage::OpenBlobWriter. A partial blob of another name is
  // dropped: a device fetches one at a time.
  absl::StatusOr<std::unique_ptr<BlobWriter>> OpenWriter(
      const Digest& digest, uint64_t size_in_bytes);

 private:
  BlobDirectory(std::string directory, uint64_t maximum_bytes,
                std::shared_ptr<const StateCipher> cipher)
      : directory_(std::move(directory)),
        maximum_bytes_(maximum_bytes),
        cipher_(std::move(cipher)) {}

  std::string NameOf(const Digest& digest) const;
  std::string PathOf(const Digest& digest) const;
  // Removes blobs until `bytes` more fit.
  void MakeRoom(uint64_t bytes, const std::string& keep_path);

  const std::string directory_;
  const uint64_t maximum_bytes_;
  const std::shared_ptr<const StateCipher> cipher_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_BLOB_DIRECTORY_H_
