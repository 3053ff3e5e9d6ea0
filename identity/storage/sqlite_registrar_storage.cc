#include "mledge/identity/storage/sqlite_registrar_storage.h"

#include <utility>

#include "absl/time/time.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/storage/registrar_schema.h"

namespace mledge {
namespace {

int64_t ToMillis(absl::Time time) { return absl::ToUnixMillis(time); }

absl::Time FromMillis(int64_t milliseconds) {
  if (milliseconds == INT64_MAX) return absl::InfiniteFuture();
  return absl::FromUnixMillis(milliseconds);
}

// Our own writing is read back: anything unreadable is damage.
template <typename T>
absl::StatusOr<T> Undamaged(absl::StatusOr<T> value) {
  if (value.ok()) return value;
  return absl::DataLossError(
      StrCat("a record of the registrar is damaged (", value.status().message(),
             "): restore the newest backup of the state directory"));
}

absl::StatusOr<IssuedCertificate> ReadIssued(const Statement& row) {
  IssuedCertificate issued;
  issued.serial = row.Bytes(0);
  MLEDGE_ASSIGN_OR_RETURN(issued.identity,
                          Undamaged(Identity::FromUri(row.Bytes(1))));
  issued.issued_at = FromMillis(row.Integer(2));
  issued.not_after = FromMillis(row.Integer(3));
  issued.issued_by = row.Bytes(4);
  issued.certificate_der = row.Bytes(5);
  return issued;
}

constexpr std::string_view kIssuedColumns =
    "SELECT serial, identity, issued_at, not_after, issued_by, certificate "
    "FROM issued ";

}  // namespace

SqliteRegistrarStorage::SqliteRegistrarStorage(
    std::unique_ptr<DirectoryLock> lock, std::unique_ptr<Database> database,
    OwnerEpoch owner)
    : lock_(std::move(lock)),
      database_(std::move(database)),
      owner_(std::move(owner)) {}

absl::StatusOr<std::unique_ptr<SqliteRegistrarStorage>>
SqliteRegistrarStorage::Open(const std::string& directory) {
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<DirectoryLock> lock,
                          DirectoryLock::Acquire(directory, "registrar"));
  MLEDGE_ASSIGN_OR_RETURN(
      std::unique_ptr<Database> database,
      OpenRegistrarDatabase(StrCat(directory, "/registrar.db")));
  MLEDGE_RETURN_IF_ERROR(MigrateRegistrarSchema(*database));
  // The database's own file must survive as well.
  MLEDGE_RETURN_IF_ERROR(SyncDirectory(directory));
  MLEDGE_ASSIGN_OR_RETURN(OwnerEpoch owner,
                          OwnerEpoch::Take(*database, "registrar"));
  return std::unique_ptr<SqliteRegistrarStorage>(new SqliteRegistrarStorage(
      std::move(lock), std::move(database), std::move(owner)));
}

absl::Status SqliteRegistrarStorage::Commit(
    const RegistrarTransaction& transaction) {
  return database_->InTransaction([&]() -> absl::Status {
    MLEDGE_RETURN_IF_ERROR(owner_.Check(*database_));
    return Write(transaction);
  });
}

absl::Status SqliteRegistrarStorage::Write(
    const RegistrarTransaction& transaction) {
  const auto write = [this](const auto& record) -> absl::Status {
    return record.has_value() ? Write(*record) : absl::OkStatus();
  };
  MLEDGE_RETURN_IF_ERROR(write(transaction.statement));
  MLEDGE_RETURN_IF_ERROR(write(transaction.sets_statement));
  MLEDGE_RETURN_IF_ERROR(write(transaction.version_log_head));
  MLEDGE_RETURN_IF_ERROR(write(transaction.issued));
  for (const Revocation& revocation : transaction.revocations) {
    MLEDGE_RETURN_IF_ERROR(Write(revocation));
  }
  MLEDGE_RETURN_IF_ERROR(write(transaction.revocation_list));
  MLEDGE_RETURN_IF_ERROR(write(transaction.task));
  return write(transaction.token);
}

absl::Status SqliteRegistrarStorage::Write(const IssuedCertificate& issued) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement query,
      database_->Prepare("INSERT INTO issued (serial, identity, issued_at, "
                         "not_after, issued_by, certificate) "
                         "VALUES (?, ?, ?, ?, ?, ?)"));
  return query.BindText(issued.serial)
      .BindText(issued.identity.ToUri())
      .Bind(ToMillis(issued.issued_at))
      .Bind(ToMillis(issued.not_after))
      .BindText(issued.issued_by)
      .BindBlob(issued.certificate_der)
      .Run();
}

absl::Status SqliteRegistrarStorage::Write(const Revocation& revocation) {
  const bool whole = revocation.serial.empty();
  MLEDGE_ASSIGN_OR_RETURN(
      Statement query,
      database_->Prepare(
          whole ? "REPLACE INTO revoked_identities "
                  "(revoked_at, revoked_by, reason, identity) "
                  "VALUES (?, ?, ?, ?)"
                : "REPLACE INTO revoked_serials "
                  "(revoked_at, revoked_by, reason, serial, not_after) "
                  "VALUES (?, ?, ?, ?, ?)"));
  query.Bind(ToMillis(revocation.revoked_at))
      .BindText(revocation.revoked_by)
      .BindText(revocation.reason);
  if (whole) return query.BindText(revocation.identity->ToUri()).Run();
  return query.BindText(revocation.serial)
      .Bind(ToMillis(revocation.not_after))
      .Run();
}

absl::Status SqliteRegistrarStorage::Write(const StoredRevocationList& list) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement query, database_->Prepare("REPLACE INTO revocation_list (one, "
                                          "number, issued, signed_message) "
                                          "VALUES (1, ?, ?, ?)"));
  return query.Bind(list.number)
      .Bind(ToMillis(list.issued))
      .BindBlob(list.signed_message)
      .Run();
}

absl::Status SqliteRegistrarStorage::Write(const WitnessStatement& statement) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement query,
      database_->Prepare("INSERT INTO statements (task, session_number, "
                         "directory, time, signature) VALUES (?, ?, ?, ?, ?)"));
  return query.BindBlob(statement.task.ToBytes())
      .Bind(statement.session_number)
      .BindBlob(statement.directory.ToBytes())
      .Bind(ToMillis(statement.time))
      .BindBlob(statement.signature)
      .Run();
}

absl::Status SqliteRegistrarStorage::Write(const SetsStatement& statement) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement query,
      database_->Prepare("INSERT INTO sets_statements (task, session_number, "
                         "group_number, session, sets, time, signature) "
                         "VALUES (?, ?, ?, ?, ?, ?, ?)"));
  return query.BindBlob(statement.task.ToBytes())
      .Bind(statement.session_number)
      .Bind(int64_t{statement.group})
      .BindBlob(statement.session.ToBytes())
      .BindBlob(statement.sets.ToBytes())
      .Bind(ToMillis(statement.time))
      .BindBlob(statement.signature)
      .Run();
}

absl::Status SqliteRegistrarStorage::Write(const WitnessedTask& task) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement query,
      database_->Prepare("REPLACE INTO tasks (task, last_session_number, day, "
                         "sessions_that_day) VALUES (?, ?, ?, ?)"));
  return query.BindBlob(task.task.ToBytes())
      .Bind(task.last_session_number)
      .Bind(task.day)
      .Bind(task.sessions_that_day)
      .Run();
}

absl::Status SqliteRegistrarStorage::Write(const StoredVersionLogHead& stored) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement query,
      database_->Prepare("INSERT INTO version_logs (task, length, entry, head, "
                         "time, signature) VALUES (?, ?, ?, ?, ?, ?)"));
  return query.BindBlob(stored.head.task.ToBytes())
      .Bind(stored.head.length)
      .BindBlob(stored.entry.ToBytes())
      .BindBlob(stored.head.head.ToBytes())
      .Bind(ToMillis(stored.head.time))
      .BindBlob(stored.head.signature)
      .Run();
}

absl::Status SqliteRegistrarStorage::Write(const EnrollmentToken& token) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement query,
      database_->Prepare("REPLACE INTO tokens (token, identity, expires_at, "
                         "made_by, used) VALUES (?, ?, ?, ?, ?)"));
  return query.BindBlob(token.token_sha256.ToBytes())
      .BindText(token.identity.ToUri())
      .Bind(ToMillis(token.expires_at))
      .BindText(token.made_by)
      .Bind(int64_t{token.used})
      .Run();
}

absl::StatusOr<std::optional<WitnessedTask>> SqliteRegistrarStorage::FindTask(
    const Digest& task) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare("SELECT last_session_number, day, sessions_that_day "
                         "FROM tasks WHERE task = ?"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found,
                          row.BindBlob(task.ToBytes()).Step());
  if (!found) return std::nullopt;
  return WitnessedTask{
      .task = task,
      .last_session_number = static_cast<uint64_t>(row.Integer(0)),
      .day = row.Integer(1),
      .sessions_that_day = row.Integer(2)};
}

absl::StatusOr<std::optional<WitnessStatement>>
SqliteRegistrarStorage::FindStatement(const Digest& task,
                                      uint64_t session_number) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare("SELECT directory, time, signature FROM statements "
                         "WHERE task = ? AND session_number = ?"));
  MLEDGE_ASSIGN_OR_RETURN(
      const bool found,
      row.BindBlob(task.ToBytes()).Bind(session_number).Step());
  if (!found) return std::nullopt;
  MLEDGE_ASSIGN_OR_RETURN(const Digest directory,
                          Undamaged(Digest::FromBytes(row.Bytes(0))));
  return WitnessStatement{.task = task,
                          .session_number = session_number,
                          .directory = directory,
                          .time = FromMillis(row.Integer(1)),
                          .signature = row.Bytes(2)};
}

absl::StatusOr<std::optional<SetsStatement>>
SqliteRegistrarStorage::FindSetsStatement(const Digest& task,
                                          uint64_t session_number,
                                          uint32_t group) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare(
          "SELECT session, sets, time, signature FROM sets_statements "
          "WHERE task = ? AND session_number = ? AND group_number = ?"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.BindBlob(task.ToBytes())
                                                .Bind(session_number)
                                                .Bind(int64_t{group})
                                                .Step());
  if (!found) return std::nullopt;
  SetsStatement statement{.task = task,
                          .session_number = session_number,
                          .group = group,
                          .time = FromMillis(row.Integer(2)),
                          .signature = row.Bytes(3)};
  MLEDGE_ASSIGN_OR_RETURN(statement.session,
                          Undamaged(Digest::FromBytes(row.Bytes(0))));
  MLEDGE_ASSIGN_OR_RETURN(statement.sets,
                          Undamaged(Digest::FromBytes(row.Bytes(1))));
  return statement;
}

absl::StatusOr<std::optional<StoredVersionLogHead>>
SqliteRegistrarStorage::FindVersionLogHead(const Digest& task) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare(
          "SELECT length, entry, head, time, signature FROM version_logs "
          "WHERE task = ? ORDER BY length DESC LIMIT 1"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found,
                          row.BindBlob(task.ToBytes()).Step());
  if (!found) return std::nullopt;
  StoredVersionLogHead stored;
  stored.head.task = task;
  stored.head.length = static_cast<uint64_t>(row.Integer(0));
  MLEDGE_ASSIGN_OR_RETURN(stored.entry,
                          Undamaged(Digest::FromBytes(row.Bytes(1))));
  MLEDGE_ASSIGN_OR_RETURN(stored.head.head,
                          Undamaged(Digest::FromBytes(row.Bytes(2))));
  stored.head.time = FromMillis(row.Integer(3));
  stored.head.signature = row.Bytes(4);
  return stored;
}

absl::StatusOr<std::optional<IssuedCertificate>>
SqliteRegistrarStorage::FindIssued(const std::string& serial) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare(StrCat(kIssuedColumns, "WHERE serial = ?")));
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.BindText(serial).Step());
  if (!found) return std::nullopt;
  return ReadIssued(row);
}

absl::StatusOr<std::vector<IssuedCertificate>>
SqliteRegistrarStorage::ListIssued(const IssuedQuery& query) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare(StrCat(kIssuedColumns,
                                query.identity.has_value()
                                    ? "WHERE identity = ? AND not_after > ? "
                                    : "WHERE not_after > ? ",
                                "ORDER BY number LIMIT ? OFFSET ?")));
  if (query.identity.has_value()) row.BindText(query.identity->ToUri());
  row.Bind(ToMillis(query.valid_at)).Bind(query.limit).Bind(query.skip);
  std::vector<IssuedCertificate> found;
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return found;
    MLEDGE_ASSIGN_OR_RETURN(IssuedCertificate issued, ReadIssued(row));
    found.push_back(std::move(issued));
  }
}

absl::StatusOr<std::vector<Revocation>>
SqliteRegistrarStorage::ListRevocations() {
  std::vector<Revocation> all;
  MLEDGE_ASSIGN_OR_RETURN(
      Statement serials,
      database_->Prepare("SELECT revoked_at, revoked_by, reason, serial, "
                         "not_after FROM revoked_serials ORDER BY serial"));
  MLEDGE_ASSIGN_OR_RETURN(
      Statement identities,
      database_->Prepare("SELECT revoked_at, revoked_by, reason, identity "
                         "FROM revoked_identities ORDER BY identity"));
  for (Statement* query : {&serials, &identities}) {
    while (true) {
      MLEDGE_ASSIGN_OR_RETURN(const bool more, query->Step());
      if (!more) break;
      Revocation revocation{.revoked_at = FromMillis(query->Integer(0)),
                            .revoked_by = query->Bytes(1),
                            .reason = query->Bytes(2)};
      if (query == &serials) {
        revocation.serial = query->Bytes(3);
        revocation.not_after = FromMillis(query->Integer(4));
      } else {
        MLEDGE_ASSIGN_OR_RETURN(revocation.identity,
                                Undamaged(Identity::FromUri(query->Bytes(3))));
      }
      all.push_back(std::move(revocation));
    }
  }
  return all;
}

absl::StatusOr<bool> SqliteRegistrarStorage::IsRevoked(
    const std::string& serial, const Identity& identity) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database_->Prepare(
          "SELECT EXISTS (SELECT 1 FROM revoked_serials WHERE serial = ?) OR "
          "EXISTS (SELECT 1 FROM revoked_identities WHERE identity = ?)"));
  MLEDGE_ASSIGN_OR_RETURN(
      const bool found, row.BindText(serial).BindText(identity.ToUri()).Step());
  return found && row.Integer(0) != 0;
}

absl::StatusOr<std::optional<StoredRevocationList>>
SqliteRegistrarStorage::FindRevocationList() {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row, database_->Prepare("SELECT number, issued, signed_message "
                                        "FROM revocation_list"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return std::nullopt;
  return StoredRevocationList{.number = static_cast<uint64_t>(row.Integer(0)),
                              .issued = FromMillis(row.Integer(1)),
                              .signed_message = row.Bytes(2)};
}

absl::StatusOr<std::optional<EnrollmentToken>>
SqliteRegistrarStorage::FindToken(const Digest& token_sha256) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row, database_->Prepare("SELECT identity, expires_at, made_by, "
                                        "used FROM tokens WHERE token = ?"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found,
                          row.BindBlob(token_sha256.ToBytes()).Step());
  if (!found) return std::nullopt;
  EnrollmentToken token;
  token.token_sha256 = token_sha256;
  token.expires_at = FromMillis(row.Integer(1));
  token.made_by = row.Bytes(2);
  token.used = row.Integer(3) != 0;
  MLEDGE_ASSIGN_OR_RETURN(token.identity,
                          Undamaged(Identity::FromUri(row.Bytes(0))));
  return token;
}

}  // namespace mledge
