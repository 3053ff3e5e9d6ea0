#include "mledge/client/storage/journal_database.h"

#include <sqlite3.h>

#include <string_view>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// Version of the tables below, in PRAGMA user_version. A change adds a step to
// Prepare; 0 is a new file.
constexpr int kSchemaVersion = 1;

constexpr char kSchema[] = R"(
  CREATE TABLE owner (device TEXT NOT NULL);
  CREATE TABLE journal (
    slot INTEGER PRIMARY KEY CHECK (slot = 1),
    assignment BLOB NOT NULL,
    update_sha256 BLOB,
    update_size INTEGER);
  PRAGMA user_version = 1;
)";

}  // namespace

class JournalDatabase::Statement {
 public:
  explicit Statement(sqlite3_stmt* handle) : handle_(handle) {}
  ~Statement() { sqlite3_finalize(handle_); }
  Statement(Statement&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)) {}
  Statement& operator=(Statement&&) = delete;

  // The bytes must live until the statement has run.
  void BindBlob(int index, std::string_view bytes) {
    sqlite3_bind_blob64(handle_, index, bytes.data(), bytes.size(),
                        SQLITE_STATIC);
  }
  void BindText(int index, std::string_view text) {
    sqlite3_bind_text64(handle_, index, text.data(), text.size(), SQLITE_STATIC,
                        SQLITE_UTF8);
  }
  void BindInteger(int index, int64_t value) {
    sqlite3_bind_int64(handle_, index, value);
  }
  int Step() { return sqlite3_step(handle_); }
  bool IsNull(int column) const {
    return sqlite3_column_type(handle_, column) == SQLITE_NULL;
  }
  std::string Bytes(int column) const {
    const void* data = sqlite3_column_blob(handle_, column);
    const int size = sqlite3_column_bytes(handle_, column);
    return data == nullptr ? std::string()
                           : std::string(static_cast<const char*>(data), size);
  }
  int64_t Integer(int column) const {
    return sqlite3_column_int64(handle_, column);
  }

  static absl::StatusOr<Statement> Create(JournalDatabase& database,
                                          const char* sql) {
    sqlite3_stmt* handle = nullptr;
    const int code =
        sqlite3_prepare_v2(database.handle_, sql, -1, &handle, nullptr);
    if (code != SQLITE_OK) return database.ToStatus(code, "cannot read");
    return Statement(handle);
  }

 private:
  sqlite3_stmt* handle_;
};

absl::StatusOr<std::unique_ptr<JournalDatabase>> JournalDatabase::Open(
    const std::string& path, const DeviceId& device) {
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &handle,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
      nullptr);
  std::unique_ptr<JournalDatabase> database(new JournalDatabase(path, handle));
  if (code != SQLITE_OK) return database->ToStatus(code, "cannot open");
  sqlite3_extended_result_codes(handle, 1);
  MLEDGE_RETURN_IF_ERROR(database->Prepare(device));
  return database;
}

JournalDatabase::~JournalDatabase() { sqlite3_close_v2(handle_); }

absl::Status JournalDatabase::Prepare(const DeviceId& device) {
  MLEDGE_RETURN_IF_ERROR(
      Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA "
              "busy_timeout = 5000;"));
  MLEDGE_ASSIGN_OR_RETURN(const std::string check,
                          QueryText("PRAGMA quick_check(1)"));
  if (check != "ok") return ToStatus(SQLITE_CORRUPT, check.c_str());
  MLEDGE_ASSIGN_OR_RETURN(const std::string version,
                          QueryText("PRAGMA user_version"));
  if (version == "0") {
    // One transaction: a file that was cut off here is a new file again.
    MLEDGE_RETURN_IF_ERROR(
        Execute(StrCat("BEGIN IMMEDIATE;", kSchema, "COMMIT;").c_str()));
  } else if (version != std::to_string(kSchemaVersion)) {
    return absl::FailedPreconditionError(
        StrCat(path_, " has format ", version, ", this program knows ",
               kSchemaVersion, ": use a newer program, or another folder"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::string owner,
                          QueryText("SELECT device FROM owner"));
  if (owner.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(
        Statement insert,
        Statement::Create(*this, "INSERT INTO owner VALUES (?1)"));
    insert.BindText(1, device.value());
    const int code = insert.Step();
    return code == SQLITE_DONE ? absl::OkStatus()
                               : ToStatus(code, "cannot write");
  }
  if (owner != device.value()) {
    return absl::FailedPreconditionError(
        StrCat(path_, " belongs to device '", owner, "', this is '",
               device.value(), "': give each device its own state directory"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<JournalRecord>> JournalDatabase::Load() {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement select,
      Statement::Create(
          *this, "SELECT assignment, update_sha256, update_size FROM journal"));
  const int code = select.Step();
  if (code == SQLITE_DONE) return std::nullopt;
  if (code != SQLITE_ROW) return ToStatus(code, "cannot read");
  JournalRecord record;
  if (!record.assignment.ParseFromString(select.Bytes(0))) {
    return ToStatus(SQLITE_CORRUPT, "unreadable assignment");
  }
  if (!select.IsNull(1)) {
    const absl::StatusOr<Digest> digest = Digest::FromBytes(select.Bytes(1));
    if (!digest.ok()) return ToStatus(SQLITE_CORRUPT, "unreadable hash");
    record.update =
        FinishedUpdate{*digest, static_cast<uint64_t>(select.Integer(2))};
  }
  return record;
}

absl::Status JournalDatabase::Save(const JournalRecord& record) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement replace,
      Statement::Create(*this,
                        "INSERT OR REPLACE INTO journal VALUES (1, ?1, ?2, "
                        "?3)"));
  const std::string assignment = record.assignment.SerializeAsString();
  std::string hash;
  replace.BindBlob(1, assignment);
  if (record.update.has_value()) {
    hash = record.update->content_sha256.ToBytes();
    replace.BindBlob(2, hash);
    replace.BindInteger(3, static_cast<int64_t>(record.update->size_in_bytes));
  }
  const int code = replace.Step();
  return code == SQLITE_DONE ? absl::OkStatus()
                             : ToStatus(code, "cannot write");
}

absl::Status JournalDatabase::Clear() { return Execute("DELETE FROM journal"); }

absl::Status JournalDatabase::Execute(const char* sql) {
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : ToStatus(code, "cannot write");
}

absl::StatusOr<std::string> JournalDatabase::QueryText(const char* sql) {
  MLEDGE_ASSIGN_OR_RETURN(Statement statement, Statement::Create(*this, sql));
  const int code = statement.Step();
  if (code == SQLITE_DONE) return std::string();
  if (code != SQLITE_ROW) return ToStatus(code, "cannot read");
  return statement.Bytes(0);
}

absl::Status JournalDatabase::ToStatus(int code, const char* action) {
  const std::string what =
      StrCat(path_, ": ", action, ": ", std::string_view(sqlite3_errstr(code)));
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(
          StrCat(what,
                 ". The device's journal is damaged: move the state "
                 "directory away and start again; what was trained but "
                 "not uploaded is lost, nothing else"));
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(StrCat(what, ". Free some room"));
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(
          StrCat(what, ". Make the state directory writable for this user"));
    default:
      return absl::UnavailableError(what);
  }
}

}  // namespace mledge
