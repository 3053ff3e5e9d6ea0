#include "mledge/core/storage/database.h"

#include <sqlite3.h>

#include <cerrno>
#include <utility>

#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

absl::Status Damaged(std::string_view what, std::string_view remedy) {
  return absl::DataLossError(StrCat(what, ". The file is damaged: ", remedy));
}

absl::Status SqliteStatus(sqlite3* handle, int code, const std::string& path,
                          std::string_view damage_remedy,
                          std::string_view action) {
  const std::string what =
      StrCat(action, " ", path, ": ",
             handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Damaged(what, damage_remedy);
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(what);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(
          StrCat(what, ". Free space on this disk; nothing was written"));
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return absl::PermissionDeniedError(
          StrCat(what,
                 ". Make the state directory and its files writable for "
                 "this process"));
    case SQLITE_CANTOPEN:
      if (handle != nullptr && sqlite3_system_errno(handle) != 0) {
        return ErrnoToStatus(sqlite3_system_errno(handle), action, path);
      }
      return absl::UnavailableError(what);
    case SQLITE_IOERR:
      if (handle != nullptr && (sqlite3_system_errno(handle) == ENOSPC ||
                                sqlite3_system_errno(handle) == EDQUOT ||
                                sqlite3_system_errno(handle) == EFBIG)) {
        return ErrnoToStatus(sqlite3_system_errno(handle), action, path);
      }
      return absl::UnavailableError(what);
    default:
      return absl::UnavailableError(what);
  }
}

}  // namespace

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      bound_(other.bound_) {}

Statement& Statement::BindInteger(int64_t value) {
  sqlite3_bind_int64(statement_, ++bound_, value);
  return *this;
}

Statement& Statement::BindText(std::string_view value) {
  sqlite3_bind_text64(statement_, ++bound_,
                      value.data() == nullptr ? "" : value.data(), value.size(),
                      SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::BindBlob(std::string_view value) {
  sqlite3_bind_blob64(statement_, ++bound_,
                      value.data() == nullptr ? "" : value.data(), value.size(),
                      SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::BindNull() {
  sqlite3_bind_null(statement_, ++bound_);
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return database_->Error("use");
  }
}

absl::Status Statement::Run() { return Step().status(); }

int64_t Statement::Integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Statement::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  if (bytes == nullptr) return "";
  return std::string(static_cast<const char*>(bytes),
                     static_cast<size_t>(size));
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Database::Database(std::string path, std::string damage_remedy, sqlite3* handle)
    : path_(std::move(path)),
      damage_remedy_(std::move(damage_remedy)),
      handle_(handle) {}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close_v2(handle_);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(
    std::string path, std::string damage_remedy) {
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &handle,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
      nullptr);
  if (code != SQLITE_OK) {
    const absl::Status status =
        SqliteStatus(handle, code, path, damage_remedy, "open");
    sqlite3_close_v2(handle);
    return status;
  }
  std::unique_ptr<Database> database(
      new Database(std::move(path), std::move(damage_remedy), handle));
  sqlite3_extended_result_codes(handle, 1);
  // A second server that fences us holds the write lock for a moment only.
  sqlite3_busy_timeout(handle, 10'000);
  MLEDGE_RETURN_IF_ERROR(
      database->Execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
                        "PRAGMA wal_autocheckpoint=1000;"));
  {
    MLEDGE_ASSIGN_OR_RETURN(Statement check,
                            database->Prepare("PRAGMA quick_check(1)"));
    MLEDGE_ASSIGN_OR_RETURN(const bool row, check.Step());
    if (row && check.Bytes(0) != "ok") {
      return Damaged(StrCat("check ", database->path(), ": ", check.Bytes(0)),
                     database->damage_remedy_);
    }
  }
  return database;
}

absl::Status Database::Execute(const std::string& sql) {
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) !=
      SQLITE_OK) {
    return Error("use");
  }
  return absl::OkStatus();
}

absl::Status Database::Begin() { return Execute("BEGIN IMMEDIATE"); }

absl::Status Database::End(absl::Status status) {
  if (status.ok()) status = Execute("COMMIT");
  if (!status.ok()) Execute("ROLLBACK").IgnoreError();
  return status;
}

absl::StatusOr<Statement> Database::Prepare(std::string_view sql) {
  auto [it, inserted] = statements_.try_emplace(std::string(sql), nullptr);
  if (inserted && sqlite3_prepare_v3(handle_, it->first.c_str(),
                                     static_cast<int>(it->first.size()) + 1,
                                     SQLITE_PREPARE_PERSISTENT, &it->second,
                                     nullptr) != SQLITE_OK) {
    statements_.erase(it);
    return Error("use");
  }
  return Statement(this, it->second);
}

absl::Status Database::Error(std::string_view action) const {
  return SqliteStatus(handle_, sqlite3_extended_errcode(handle_), path_,
                      damage_remedy_, action);
}

}  // namespace mledge
