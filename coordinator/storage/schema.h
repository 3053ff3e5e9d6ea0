#ifndef MLEDGE_COORDINATOR_STORAGE_SCHEMA_H_
#define MLEDGE_COORDINATOR_STORAGE_SCHEMA_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/storage/database.h"

// The tables, as a list of numbered migrations. A migration that was released
// is never changed: a new one is appended, and a test walks up from every older
// version.

namespace mledge {

// The coordinator's database as it is, not migrated yet. Codes: database.h.
absl::StatusOr<std::unique_ptr<Database>> OpenDatabase(std::string path);

// The version that this program writes.
int LatestSchemaVersion();

// Runs the missing migrations up to `version`. Codes: schema_migrations.h.
absl::Status MigrateSchema(Database& database,
                           int version = LatestSchemaVersion());

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_STORAGE_SCHEMA_H_
