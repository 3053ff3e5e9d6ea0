#include "mledge/core/storage/schema_migrations.h"

#include <cstdint>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {

absl::StatusOr<int> SchemaVersion(Database& database) {
  MLEDGE_ASSIGN_OR_RETURN(Statement statement,
                          database.Prepare("PRAGMA user_version"));
  MLEDGE_ASSIGN_OR_RETURN(const bool row, statement.Step());
  return row ? static_cast<int>(statement.Integer(0)) : 0;
}

absl::Status RunMigrations(Database& database,
                           std::span<const char* const> migrations, int version,
                           std::string_view program) {
  MLEDGE_ASSIGN_OR_RETURN(int current, SchemaVersion(database));
  const int latest = static_cast<int>(migrations.size());
  if (current < 0) {
    return absl::DataLossError(StrCat(database.path(),
                                      " is damaged, its schema version is ",
                                      current, ": ", database.damage_remedy()));
  }
  if (current > latest) {
    return absl::FailedPreconditionError(
        StrCat(database.path(), " has schema version ", current,
               ", this program knows versions up to ", latest,
               ": it was written by a newer ", program, "; run that one"));
  }
  for (; current < version; ++current) {
    MLEDGE_RETURN_IF_ERROR(database.InTransaction([&]() -> absl::Status {
      MLEDGE_RETURN_IF_ERROR(
          database.Execute(migrations[static_cast<size_t>(current)]));
      return database.Execute(StrCat("PRAGMA user_version = ", current + 1));
    }));
  }
  return absl::OkStatus();
}

}  // namespace mledge
