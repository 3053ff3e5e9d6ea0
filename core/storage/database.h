#ifndef MLEDGE_CORE_STORAGE_DATABASE_H_
#define MLEDGE_CORE_STORAGE_DATABASE_H_

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

// The part of SQLite that the servers need: one connection in WAL mode with
// synchronous=FULL (a committed transaction survives power loss), prepared
// statements that are kept, and its result codes as statuses that name the
// file and the remedy. Not thread-safe.

namespace mledge {

// One run of a prepared statement: bind in order, step, read. Resets the
// statement when it dies. Does not outlive its Database.
class Statement {
 public:
  Statement(class Database* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // Binds the next parameter; SQLite's integers are of 64 bits with a sign. The
  // bytes are copied.
  template <std::integral T>
  Statement& Bind(T value) {
    return BindInteger(static_cast<int64_t>(value));
  }
  Statement& BindText(std::string_view value);
  Statement& BindBlob(std::string_view value);
  Statement& BindNull();

  // True: there is a row to read. ALREADY_EXISTS: a key is taken.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run();

  int64_t Integer(int column) const;
  // Of a text as well as of a blob.
  std::string Bytes(int column) const;
  bool IsNull(int column) const;

 private:
  Statement& BindInteger(int64_t value);

  class Database* database_;
  sqlite3_stmt* statement_;
  int bound_ = 0;
};

class Database {
 public:
  // Creates the file where there is none. DATA_LOSS: not a database, or a
  // damaged one. PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE: as the
  // system says. `damage_remedy`: what to do about a damaged file.
  static absl::StatusOr<std::unique_ptr<Database>> Open(
      std::string path, std::string damage_remedy);
  ~Database();

  // Statements without parameters and rows, separated by semicolons.
  absl::Status Execute(const std::string& sql);
  // `sql` is prepared once and kept; only one run of it at a time.
  absl::StatusOr<Statement> Prepare(std::string_view sql);
  // Begins a write transaction; End commits it when `status` is OK, else rolls
  // it back and returns `status`.
  absl::Status Begin();
  absl::Status End(absl::Status status);
  // The same around `body`.
  template <typename Body>
  absl::Status InTransaction(Body body) {
    if (absl::Status status = Begin(); !status.ok()) return status;
    return End(body());
  }

  const std::string& path() const { return path_; }
  const std::string& damage_remedy() const { return damage_remedy_; }
  // The status of the connection's last failed call.
  absl::Status Error(std::string_view action) const;

 private:
  Database(std::string path, std::string damage_remedy, sqlite3* handle);

  const std::string path_;
  const std::string damage_remedy_;
  sqlite3* const handle_;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

}  // namespace mledge

#endif  // MLEDGE_CORE_STORAGE_DATABASE_H_
