#ifndef MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_
#define MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_bytes.h"
#include "mledge/core/sha256.h"

struct sqlite3;
struct sqlite3_stmt;

// The journal of one device in SQLite: the assignment under way as a table of
// at most one row, and what it keeps of secure aggregation and of differential
// privacy, a row for each task. What a call has saved survives power loss once
// it has returned. Not thread-safe.
//
// What is replaced or deleted is overwritten (secure_delete), and WAL files are
// cut off when secrets were; a disk that moves its blocks may keep them all the
// same.

namespace mledge {

class JournalDatabase {
 public:
  // Codes: see OpenSqliteDeviceStorage.
  static absl::StatusOr<std::unique_ptr<JournalDatabase>> Open(
      const std::string& path, const DeviceId& device);
  ~JournalDatabase();

  absl::StatusOr<std::optional<JournalRecord>> Load();
  absl::Status Save(const JournalRecord& record);
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
  absl::StatusOr<uint64_t> LoadListNumber();
  absl::Status SaveListNumber(uint64_t number);
  absl::StatusOr<std::map<Digest, std::string>> LoadPrivacyRecords();
  absl::Status SavePrivacyRecord(const Digest& task, std::string_view record);

 private:
  // A prepared statement for one use.
  class Statement;

  JournalDatabase(std::string path, sqlite3* handle)
      : path_(std::move(path)), handle_(handle) {}

  absl::Status Migrate();
  absl::Status Execute(const char* sql);
  absl::StatusOr<std::string> QueryText(const char* sql);
  absl::Status Prepare(const DeviceId& device);
  absl::Status ToStatus(int code, const char* action);

  const std::string path_;
  sqlite3* const handle_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_
