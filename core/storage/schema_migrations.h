#ifndef MLEDGE_CORE_STORAGE_SCHEMA_MIGRATIONS_H_
#define MLEDGE_CORE_STORAGE_SCHEMA_MIGRATIONS_H_

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/storage/database.h"

// Numbered steps that bring a database's tables from one version to the next;
// the database keeps its version (PRAGMA user_version; 0: empty). A step that
// was released is never changed: a new one is appended.

namespace mledge {

absl::StatusOr<int> SchemaVersion(Database& database);

// Runs the missing ones of `migrations` up to `version`, at most their number,
// each in a transaction of its own. FAILED_PRECONDITION: written by a newer
// `program`. DATA_LOSS: of a version that is none.
absl::Status RunMigrations(Database& database,
                           std::span<const char* const> migrations, int version,
                           std::string_view program);

}  // namespace mledge

#endif  // MLEDGE_CORE_STORAGE_SCHEMA_MIGRATIONS_H_
