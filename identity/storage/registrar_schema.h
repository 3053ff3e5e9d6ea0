#ifndef MLEDGE_IDENTITY_STORAGE_REGISTRAR_SCHEMA_H_
#define MLEDGE_IDENTITY_STORAGE_REGISTRAR_SCHEMA_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/storage/database.h"

// The registrar's tables. Migrations are numbered and never change once
// released; a new one is appended.

namespace mledge {

// The registrar's database as it is, not migrated yet. Codes: database.h.
absl::StatusOr<std::unique_ptr<Database>> OpenRegistrarDatabase(
    std::string path);

int LatestRegistrarSchema();

// Brings the database to the latest version. Codes: schema_migrations.h.
absl::Status MigrateRegistrarSchema(Database& database);

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_STORAGE_REGISTRAR_SCHEMA_H_
