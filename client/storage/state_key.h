#ifndef MLEDGE_CLIENT_STORAGE_STATE_KEY_H_
#define MLEDGE_CLIENT_STORAGE_STATE_KEY_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "mledge/core/secret_bytes.h"

// Where a device gets the key that its state is encrypted with. Whoever has key
// and state directory can read the state: keep the key on a partition of its
// own that is protected, or write a StateKey over a TPM or the system's key
// store. Used while the state is opened, by one thread.

namespace mledge {

class StateKey {
 public:
  static constexpr size_t kSizeInBytes = 32;

  virtual ~StateKey() = default;
  // The confirmed one. NOT_FOUND: there is none. Other codes name the place and
  // the remedy.
  virtual absl::StatusOr<SecretBytes> Load() = 0;
  // One that was made, and not confirmed before the device stopped. Codes of
  // Load.
  virtual absl::StatusOr<SecretBytes> LoadUnconfirmed() = 0;
  // Makes a random one, which survives power loss. ALREADY_EXISTS: somebody
  // else has made one meanwhile.
  virtual absl::StatusOr<SecretBytes> Create() = 0;
  // From now on a state is sealed with the one that was made: beside a
  // confirmed key, a state in the clear is nobody's. Survives power loss.
  // ALREADY_EXISTS: another one is confirmed.
  virtual absl::Status Confirm() = 0;
  // The place, for messages: "state key FILE".
  virtual std::string Describe() const = 0;
};

// A file of 32 bytes that nobody but its owner may read; with ".new" behind its
// name as long as it is not confirmed. Load also gives FAILED_PRECONDITION:
// others may read it; DATA_LOSS: another size.
std::unique_ptr<StateKey> MakeFileStateKey(std::string path);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_STATE_KEY_H_
