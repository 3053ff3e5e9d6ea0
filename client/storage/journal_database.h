#ifndef MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_
#define MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/session_effects.h"
#include "mledge/core/ids.h"

struct sqlite3;
struct sqlite3_stmt;

// The journal of one device as a table of at most one row, in SQLite. What a
// call has saved survives power loss once it has returned. Not thread-safe.

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

 private:
  // A prepared statement for one use.
  class Statement;

  JournalDatabase(std::string path, sqlite3* handle)
      : path_(std::move(path)), handle_(handle) {}

  absl::Status Execute(const char* sql);
  absl::StatusOr<std::string> QueryText(const char* sql);
  absl::Status Prepare(const DeviceId& device);
  absl::Status ToStatus(int code, const char* action);

  const std::string path_;
  sqlite3* const handle_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_STORAGE_JOURNAL_DATABASE_H_
