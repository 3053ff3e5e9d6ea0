#ifndef MLEDGE_CLIENT_STORAGE_SQLITE_DEVICE_STORAGE_H_
#define MLEDGE_CLIENT_STORAGE_SQLITE_DEVICE_STORAGE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "mledge/client/device_storage.h"
#include "mledge/client/storage/state_key.h"
#include "mledge/core/ids.h"

// A device's state in one folder:
//
//   device.sqlite         the journal (WAL, synced at every commit)
//   update.sealed         the update that waits to be uploaded
//   snapshot.sealed       where training stands
//   masked-NAME.sealed    a masked input that may have to be uploaded again
//   cache/                tasks, packages and parameters
//   lock                  held by the one process that uses the folder
//
// All of it is encrypted (state_cipher.h) under a key that lies elsewhere
// (state_key.h), and nobody but the owner may read the files. In the clear
// stand the device's id, how many records and files there are, their sizes and
// times. What a version that did not encrypt left here is encrypted at the
// first opening, before there is a key, and refused later: who can write here
// could have made it up. The disk may keep what was overwritten.
//
// The journal says what is true: a file that it does not name is removed at the
// next opening. Files that it names are complete and synced before it names
// them. Bounded: the cache by its options, beside it one update, one snapshot,
// and a masked input for each task whose session is under way.

namespace mledge {

struct SqliteDeviceStorageOptions {
  // Created if it is missing. Required.
  std::string directory;
  // The folder is bound to the first device that uses it. Required.
  DeviceId device;
  // Asked while the state is opened, and for a new key where the state is new
  // or was not encrypted. Required.
  StateKey* state_key = nullptr;
  // Bound of cache/; at least as large as the package and the parameters of
  // one task.
  uint64_t maximum_cache_bytes = uint64_t{1} << 30;
};

// FAILED_PRECONDITION: another process holds the folder; it belongs to another
// device; it was written by a newer version of this program; the state key is
// missing or another one (nothing is touched then); it is not encrypted,
// although there is a state key. DATA_LOSS: the database is
// damaged (says what to do). PERMISSION_DENIED, NOT_FOUND,
// RESOURCE_EXHAUSTED: the folder cannot be used.
absl::StatusOr<std::unique_ptr<DeviceStorage>> OpenSqliteDeviceStorage(
    const SqliteDeviceStorageOptions& options);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_SQLITE_DEVICE_STORAGE_H_
