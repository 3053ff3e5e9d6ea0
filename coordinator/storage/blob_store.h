#ifndef MLEDGE_COORDINATOR_STORAGE_BLOB_STORE_H_
#define MLEDGE_COORDINATOR_STORAGE_BLOB_STORE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/coordinator/storage.h"
#include "mledge/core/mutex.h"
#include "mledge/core/sha256.h"

// Blobs as files named by their SHA-256: <directory>/ab/cdef…. A file appears
// under its name only when all of it is on the disk. Thread-safe.

namespace mledge {

class BlobStore {
 public:
  // Removes what an interrupted Put left behind.
  static absl::StatusOr<std::unique_ptr<BlobStore>> Open(std::string directory);
  // Readers must be gone.
  ~BlobStore() = default;

  // Durable on return. The blob is safe from Collect until `Named` has been
  // told that a record names it, or this process ends.
  absl::StatusOr<Digest> Put(std::string_view bytes);
  void Named(const std::set<Digest>& blobs);

  // NOT_FOUND; else as the system says when the file cannot be opened.
  absl::StatusOr<std::shared_ptr<const BlobReader>> Get(const Digest& name);

  // Removes blobs that are not in `referenced`, not being read and not just
  // put.
  absl::Status Collect(const std::set<Digest>& referenced);

 private:
  class Reader;
  // Who reads what; shared with the readers, which may die on any thread.
  struct Readers {
    Mutex mutex;
    std::map<Digest, int> count ABSL_GUARDED_BY(mutex);
  };

  explicit BlobStore(std::string directory);
  std::string FolderOf(const Digest& name) const;
  std::string PathOf(const Digest& name) const;

  const std::string directory_;
  const std::shared_ptr<Readers> readers_;
  // Held while a file is put under its name or removed; taken before
  // Readers::mutex.
  Mutex mutex_;
  std::set<Digest> just_put_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_STORAGE_BLOB_STORE_H_
