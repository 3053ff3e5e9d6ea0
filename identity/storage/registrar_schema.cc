#include "mledge/identity/storage/registrar_schema.h"

#include <array>
#include <utility>

#include "mledge/core/storage/schema_migrations.h"

namespace mledge {
namespace {

// Times are milliseconds since the Unix epoch; digests are blobs of 32 bytes;
// identities are URIs. Statements, heads and entries of the log are written
// once: their primary keys keep a second one out, whatever the program thinks.
constexpr std::array<const char*, 2> kMigrations = {
    // 1
    R"sql(
CREATE TABLE owner (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  epoch INTEGER NOT NULL
) STRICT;
INSERT INTO owner VALUES (1, 0);

CREATE TABLE issued (
  number INTEGER PRIMARY KEY,
  serial TEXT NOT NULL UNIQUE,
  identity TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  issued_by TEXT NOT NULL,
  certificate BLOB NOT NULL
) STRICT;
CREATE INDEX issued_by_identity ON issued (identity, not_after);

CREATE TABLE revoked_serials (
  serial TEXT PRIMARY KEY,
  not_after INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL,
  revoked_by TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revoked_identities (
  identity TEXT PRIMARY KEY,
  revoked_at INTEGER NOT NULL,
  revoked_by TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revocation_list (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  number INTEGER NOT NULL,
  issued INTEGER NOT NULL,
  signed_message BLOB NOT NULL
) STRICT;

CREATE TABLE tasks (
  task BLOB PRIMARY KEY,
  last_session_number INTEGER NOT NULL,
  day INTEGER NOT NULL,
  sessions_that_day INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE statements (
  task BLOB NOT NULL,
  session_number INTEGER NOT NULL,
  directory BLOB NOT NULL,
  time INTEGER NOT NULL,
  signature BLOB NOT NULL,
  PRIMARY KEY (task, session_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE version_logs (
  task BLOB NOT NULL,
  length INTEGER NOT NULL,
  entry BLOB NOT NULL,
  head BLOB NOT NULL,
  time INTEGER NOT NULL,
  signature BLOB NOT NULL,
  PRIMARY KEY (task, length)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
  token BLOB PRIMARY KEY,
  identity TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  made_by TEXT NOT NULL,
  used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql",
    // 2
    R"sql(
CREATE TABLE sets_statements (
  task BLOB NOT NULL,
  session_number INTEGER NOT NULL,
  group_number INTEGER NOT NULL,
  session BLOB NOT NULL,
  sets BLOB NOT NULL,
  time INTEGER NOT NULL,
  signature BLOB NOT NULL,
  PRIMARY KEY (task, session_number, group_number)
) STRICT, WITHOUT ROWID;
)sql",
};

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> OpenRegistrarDatabase(
    std::string path) {
  return Database::Open(
      std::move(path),
      "restore the newest backup of the state directory. Never start the "
      "registrar without its state under the same keys: it would sign sessions "
      "and versions a second time");
}

int LatestRegistrarSchema() { return static_cast<int>(kMigrations.size()); }

absl::Status MigrateRegistrarSchema(Database& database) {
  return RunMigrations(database, kMigrations, LatestRegistrarSchema(),
                       "mledge-registrar");
}

}  // namespace mledge
