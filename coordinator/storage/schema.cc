#include "mledge/coordinator/storage/schema.h"

#include <array>
#include <utility>

#include "mledge/core/storage/schema_migrations.h"

namespace mledge {
namespace {

// Times are nanoseconds since the Unix epoch; digests are blobs of 32 bytes;
// states and kinds are the numbers of the enums in storage.h.
constexpr std::array<const char*, 5> kMigrations = {
    // 1
    R"sql(
CREATE TABLE owner (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  epoch INTEGER NOT NULL
) STRICT;
INSERT INTO owner VALUES (1, 0);

CREATE TABLE tasks (
  id TEXT PRIMARY KEY,
  signed_task BLOB NOT NULL,
  package BLOB NOT NULL,
  submitted_by TEXT NOT NULL,
  submitted_at INTEGER NOT NULL,
  state INTEGER NOT NULL,
  reason TEXT NOT NULL,
  round INTEGER NOT NULL,
  version INTEGER NOT NULL,
  bytes_received INTEGER NOT NULL,
  bytes_sent INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
  task TEXT NOT NULL,
  version INTEGER NOT NULL,
  round INTEGER NOT NULL,
  parameters BLOB NOT NULL,
  parameters_size INTEGER NOT NULL,
  optimizer_state BLOB,
  signed_statement BLOB NOT NULL,
  published_at INTEGER NOT NULL,
  PRIMARY KEY (task, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE assignments (
  id TEXT PRIMARY KEY,
  task TEXT NOT NULL,
  device TEXT NOT NULL,
  round INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  ordinal INTEGER NOT NULL,
  base_version INTEGER NOT NULL,
  issued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  state INTEGER NOT NULL,
  content BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE rounds (
  task TEXT NOT NULL,
  round INTEGER NOT NULL,
  state INTEGER NOT NULL,
  base_version INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  deadline INTEGER NOT NULL,
  PRIMARY KEY (task, round)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
  task TEXT NOT NULL,
  round INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  sum BLOB NOT NULL,
  folded TEXT NOT NULL,
  PRIMARY KEY (task, round, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
  id TEXT PRIMARY KEY,
  role TEXT NOT NULL,
  population TEXT NOT NULL,
  software TEXT NOT NULL,
  last_seen INTEGER NOT NULL,
  assignments TEXT NOT NULL,
  acknowledged INTEGER NOT NULL,
  failed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  task TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  event BLOB NOT NULL,
  PRIMARY KEY (task, sequence)
) STRICT, WITHOUT ROWID;
)sql",
    // 2: a start reads the assignments of a few rounds out of very many.
    R"sql(
CREATE INDEX assignments_by_round ON assignments (task, round);
)sql",
    // 3: a task's minimum_interval holds across restarts.
    R"sql(
ALTER TABLE devices ADD COLUMN last_assigned TEXT NOT NULL DEFAULT '';
)sql",
    // 4: numbers of sessions of secure aggregation are never used again.
    R"sql(
ALTER TABLE tasks ADD COLUMN secure_session INTEGER NOT NULL DEFAULT 0;
)sql",
    // 5: what private tasks have spent, by task and by device. `clip_norm` is
    // the bits of a double.
    R"sql(
ALTER TABLE tasks ADD COLUMN ledger_sequence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN ledger_hash BLOB NOT NULL
  DEFAULT X'0000000000000000000000000000000000000000000000000000000000000000';
ALTER TABLE tasks ADD COLUMN lost_sequence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN lost_hash BLOB NOT NULL
  DEFAULT X'0000000000000000000000000000000000000000000000000000000000000000';
ALTER TABLE versions ADD COLUMN noise_state BLOB;
ALTER TABLE versions ADD COLUMN clip_norm INTEGER NOT NULL DEFAULT 0;

CREATE TABLE ledger (
  task TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  entry BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (task, sequence)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER ledger_entries_are_never_rewritten BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never rewritten'); END;
CREATE TRIGGER ledger_entries_are_never_removed BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never removed'); END;

CREATE TABLE participations (
  task TEXT NOT NULL,
  device TEXT NOT NULL,
  participations INTEGER NOT NULL,
  last_step INTEGER NOT NULL,
  PRIMARY KEY (task, device)
) STRICT, WITHOUT ROWID;
)sql",
};

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> OpenDatabase(std::string path) {
  return Database::Open(std::move(path),
                        "restore the state directory from a backup, or move it "
                        "away to start without its tasks");
}

int LatestSchemaVersion() { return static_cast<int>(kMigrations.size()); }

absl::Status MigrateSchema(Database& database, int version) {
  return RunMigrations(database, kMigrations, version, "mledge-coordinator");
}

}  // namespace mledge
