#include "mledge/client/storage/journal_database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// Steps from each version of the tables (PRAGMA user_version) to the next; a
// new file is version 0. A change adds a step.
constexpr std::array<const char*, 3> kMigrations = {
    R"(
  CREATE TABLE owner (device TEXT NOT NULL);
  CREATE TABLE journal (
    slot INTEGER PRIMARY KEY CHECK (slot = 1),
    assignment BLOB NOT NULL,
    update_sha256 BLOB,
    update_size INTEGER);
)",
    R"(
  CREATE TABLE secagg (
    task BLOB PRIMARY KEY,
    journal BLOB NOT NULL,
    masked_sha256 BLOB);
  CREATE TABLE revocation_list (
    slot INTEGER PRIMARY KEY CHECK (slot = 1),
    number INTEGER NOT NULL);
)",
    R"(
  CREATE TABLE privacy (
    task BLOB PRIMARY KEY,
    record BLOB NOT NULL);
)"};

// Holds secrets, so nobody else may read it; SQLite gives its other files the
// same mode.
absl::Status MakePrivate(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return ErrnoToStatus(errno, "cannot open", path);
  const int changed = ::fchmod(file, 0600);
  const int error = errno;
  ::close(file);
  return changed == 0 ? absl::OkStatus()
                      : ErrnoToStatus(error, "cannot protect", path);
}

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
  // Valid until the next step; for what is not to be copied about.
  std::string_view View(int column) const {
    const void* data = sqlite3_column_blob(handle_, column);
    const int size = sqlite3_column_bytes(handle_, column);
    return {static_cast<const char*>(data), static_cast<size_t>(size)};
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
  MLEDGE_RETURN_IF_ERROR(MakePrivate(path));
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
              "secure_delete = ON; PRAGMA busy_timeout = 5000;"));
  MLEDGE_ASSIGN_OR_RETURN(const std::string check,
                          QueryText("PRAGMA quick_check(1)"));
  if (check != "ok") return ToStatus(SQLITE_CORRUPT, check.c_str());
  MLEDGE_RETURN_IF_ERROR(Migrate());
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

absl::Status JournalDatabase::Migrate() {
  MLEDGE_ASSIGN_OR_RETURN(const std::string text,
                          QueryText("PRAGMA user_version"));
  size_t version = 0;
  if (!absl::SimpleAtoi(text, &version) || version > kMigrations.size()) {
    return absl::FailedPreconditionError(
        StrCat(path_, " has format ", text, ", this program knows ",
               kMigrations.size(), ": use a newer program, or another folder"));
  }
  for (; version < kMigrations.size(); ++version) {
    // One transaction: a file that was cut off here is as it was before.
    MLEDGE_RETURN_IF_ERROR(
        Execute(StrCat("BEGIN IMMEDIATE;", kMigrations[version],
                       "PRAGMA user_version = ", version + 1, ";COMMIT;")
                    .c_str()));
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

absl::StatusOr<std::optional<JournalDatabase::SecaggRow>>
JournalDatabase::LoadSecagg(const Digest& task) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement select,
      Statement::Create(
          *this, "SELECT journal, masked_sha256 FROM secagg WHERE task = ?1"));
  const std::string key = task.ToBytes();
  select.BindBlob(1, key);
  const int code = select.Step();
  if (code == SQLITE_DONE) return std::nullopt;
  if (code != SQLITE_ROW) return ToStatus(code, "cannot read");
  SecaggRow row;
  row.journal = SecretBytes::CopyFrom(select.View(0));
  if (!select.IsNull(1)) {
    const absl::StatusOr<Digest> digest = Digest::FromBytes(select.Bytes(1));
    if (!digest.ok()) return ToStatus(SQLITE_CORRUPT, "unreadable hash");
    row.masked_input = *digest;
  }
  return row;
}

absl::Status JournalDatabase::SaveSecagg(
    const Digest& task, const SecretBytes& journal,
    const std::optional<Digest>& masked_input) {
  {
    MLEDGE_ASSIGN_OR_RETURN(
        Statement replace,
        Statement::Create(*this,
                          "INSERT OR REPLACE INTO secagg VALUES (?1, ?2, "
                          "?3)"));
    const std::string key = task.ToBytes();
    const auto bytes = journal.bytes(RevealSecret());
    const std::string hash =
        masked_input.has_value() ? masked_input->ToBytes() : "";
    replace.BindBlob(1, key);
    // An empty journal is a value as well, and not NULL.
    replace.BindBlob(
        2, bytes.empty()
               ? std::string_view("")
               : std::string_view(reinterpret_cast<const char*>(bytes.data()),
                                  bytes.size()));
    if (masked_input.has_value()) replace.BindBlob(3, hash);
    const int code = replace.Step();
    if (code != SQLITE_DONE) return ToStatus(code, "cannot write");
  }
  // Without a masked input there are no secrets left; the WAL still holds
  // those that were there before.
  if (masked_input.has_value()) return absl::OkStatus();
  return Execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

absl::StatusOr<std::vector<Digest>> JournalDatabase::MaskedInputs() {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement select,
      Statement::Create(*this,
                        "SELECT masked_sha256 FROM secagg WHERE masked_sha256 "
                        "IS NOT NULL"));
  std::vector<Digest> digests;
  while (true) {
    const int code = select.Step();
    if (code == SQLITE_DONE) return digests;
    if (code != SQLITE_ROW) return ToStatus(code, "cannot read");
    const absl::StatusOr<Digest> digest = Digest::FromBytes(select.Bytes(0));
    if (!digest.ok()) return ToStatus(SQLITE_CORRUPT, "unreadable hash");
    digests.push_back(*digest);
  }
}

absl::StatusOr<uint64_t> JournalDatabase::LoadListNumber() {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement select,
      Statement::Create(*this, "SELECT number FROM revocation_list"));
  const int code = select.Step();
  if (code == SQLITE_DONE) return 0;
  if (code != SQLITE_ROW) return ToStatus(code, "cannot read");
  return static_cast<uint64_t>(select.Integer(0));
}

absl::Status JournalDatabase::SaveListNumber(uint64_t number) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement replace,
      Statement::Create(*this,
                        "INSERT INTO revocation_list VALUES (1, ?1) ON "
                        "CONFLICT (slot) DO UPDATE SET number = max(number, "
                        "excluded.number)"));
  replace.BindInteger(1, static_cast<int64_t>(number));
  const int code = replace.Step();
  return code == SQLITE_DONE ? absl::OkStatus()
                             : ToStatus(code, "cannot write");
}

absl::StatusOr<std::map<Digest, std::string>>
JournalDatabase::LoadPrivacyRecords() {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement select,
      Statement::Create(*this, "SELECT task, record FROM privacy"));
  std::map<Digest, std::string> records;
  while (true) {
    const int code = select.Step();
    if (code == SQLITE_DONE) return records;
    if (code != SQLITE_ROW) return ToStatus(code, "cannot read");
    const absl::StatusOr<Digest> task = Digest::FromBytes(select.Bytes(0));
    if (!task.ok()) return ToStatus(SQLITE_CORRUPT, "unreadable hash");
    records[*task] = select.Bytes(1);
  }
}

absl::Status JournalDatabase::SavePrivacyRecord(const Digest& task,
                                                std::string_view record) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement replace,
      Statement::Create(*this,
                        "INSERT OR REPLACE INTO privacy VALUES (?1, ?2)"));
  const std::string key = task.ToBytes();
  replace.BindBlob(1, key);
  replace.BindBlob(2, record.empty() ? std::string_view("") : record);
  const int code = replace.Step();
  return code == SQLITE_DONE ? absl::OkStatus()
                             : ToStatus(code, "cannot write");
}

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
