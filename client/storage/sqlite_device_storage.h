#ifndef MLEDGE_CLIENT_STORAGE_SQLITE_DEVICE_STORAGE_H_
#define MLEDGE_CLIENT_STORAGE_SQLITE_DEVICE_STORAGE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "mledge/client/device_storage.h"
#include "mledge/core/ids.h"

// A device's state in one folder:
//
//   device.sqlite   the journal (WAL, synced at every commit)
//   update          the update that waits to be uploaded
//   snapshot        where training stands
//   masked-HASH     a masked input that may have to be uploaded again
//   blobs/          cache of tasks, packages and parameters, by SHA-256
//   lock            held by the one process that uses the folder
//
// device.sqlite holds secrets while a session of secure aggregation is under
// way: shares of its neighbours' seeds. Only the owner may read it.
//
// The journal says what is true: a file that it does not name is removed at the
// next opening. Files that it names are complete and synced before it names
// them. Nothing is encrypted at rest yet.

namespace mledge {

struct SqliteDeviceStorageOptions {
  // Created if it is missing. Required.
  std::string directory;
  // The folder is bound to the first device that uses it. Required.
  DeviceId device;
  // Bound of blobs/; at least as large as the package and the parameters of
  // one task.
  uint64_t maximum_cache_bytes = uint64_t{1} << 30;
};

// FAILED_PRECONDITION: another process holds the folder; it belongs to another
// device; it was written by a newer version of this program. DATA_LOSS: the
// database is damaged (says what to do). PERMISSION_DENIED, NOT_FOUND,
// RESOURCE_EXHAUSTED: the folder cannot be used.
absl::StatusOr<std::unique_ptr<DeviceStorage>> OpenSqliteDeviceStorage(
    const SqliteDeviceStorageOptions& options);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_SQLITE_DEVICE_STORAGE_H_
