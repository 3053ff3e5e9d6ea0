#ifndef MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_
#define MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/session_effects.h"
#include "mledge/client/storage/state_cipher.h"
#include "mledge/client/storage/state_key.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/sha256.h"
#include "mledge/core/storage/database.h"

// The journal of one device in SQLite: the assignment under way, what it keeps
// of secure aggregation and of differential privacy for each task, and the
// newest revocation list's number, each sealed (state_cipher.h) under a name
// that says nothing. What a call has saved survives power loss once it has
// returned. Not thread-safe.
//
// What is replaced or deleted is overwritten (secure_delete), and WAL files are
// cut off when secrets were, so that the key opens nothing that is over; a disk
// that moves its blocks may keep them all the same.

namespace mledge {

class JournalDatabase {
 public:
  // Codes: see OpenSqliteDeviceStorage.
  static absl::StatusOr<std::unique_ptr<JournalDatabase>> Open(
      const std::string& path, const DeviceId& device, StateKey& state_key);

  // Of this state; seals its files too.
  std::shared_ptr<const StateCipher> cipher() const { return cipher_; }

  absl::StatusOr<std::optional<JournalRecord>> Load();
  // Both or neither.
  absl::Status Save(const JournalRecord& record,
                    const std::optional<PrivacyCharge>& charge = std::nullopt);
  absl::Status Clear();

  // Its masked input is a file that is named by its SHA-256.
  struct SecaggRow {
    SecretBytes journal;
    std::optional<Digest> masked_input;
  };
  absl::StatusOr<std::optional<SecaggRow>> LoadSecagg(const Digest& task);
  absl::Status SaveSecagg(const Digest& task, const SecretBytes& journal,
                          const std::optional<Digest>& masked_input);
  // Of all tasks.
  absl::StatusOr<std::vector<Digest>> MaskedInputs();
  // Whether files of a format that was not sealed still belong to this state:
  // it was taken over, and FinishTakingOver did not return.
  absl::StatusOr<bool> HasUnsealedFiles();
  // They are sealed. What stood in the clear goes from the database's files as
  // well.
  absl::Status FinishTakingOver();
  absl::StatusOr<uint64_t> LoadListNumber();
  absl::Status SaveListNumber(uint64_t number);
  absl::StatusOr<std::map<Digest, std::string>> LoadPrivacyRecords();

 private:
  JournalDatabase(std::unique_ptr<Database> database, std::string key_place)
      : database_(std::move(database)), key_place_(std::move(key_place)) {}

  absl::Status Prepare(const DeviceId& device, StateKey& state_key);
  absl::Status CheckOwner(const DeviceId& device, bool is_sealed);
  // From the last format in which nothing was sealed to that of today.
  absl::Status Seal(const DeviceId& device, StateKey& state_key);
  absl::Status SealRowsOfOlderFormat();
  absl::StatusOr<bool> HasUnsealedRows();
  absl::Status Unseal(StateKey& state_key);

  // Records: sealed values by name.
  absl::Status Write(const std::string& name, std::span<const uint8_t> value);
  absl::Status Delete(std::string_view name);
  absl::StatusOr<std::optional<SecretBytes>> Read(const std::string& name);
  absl::StatusOr<SecretBytes> OpenRecord(const std::string& name,
                                         const std::string& sealed);
  // Every record whose name begins so.
  absl::Status ForEach(
      std::string_view prefix,
      const std::function<absl::Status(const SecretBytes&)>& use);
  std::string SecaggName(const Digest& task) const;
  absl::Status WritePrivacyRecord(const Digest& task, std::string_view record);

  const std::unique_ptr<Database> database_;
  const std::string key_place_;
  std::shared_ptr<const StateCipher> cipher_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_
