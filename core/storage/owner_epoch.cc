#include "mledge/core/storage/owner_epoch.h"

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

absl::StatusOr<int64_t> ReadEpoch(Database& database) {
  MLEDGE_ASSIGN_OR_RETURN(Statement row,
                          database.Prepare("SELECT epoch FROM owner"));
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) {
    return absl::DataLossError(
        StrCat(database.path(), " has no owner: ", database.damage_remedy()));
  }
  return row.Integer(0);
}

}  // namespace

absl::StatusOr<OwnerEpoch> OwnerEpoch::Take(Database& database,
                                            std::string server) {
  int64_t epoch = 0;
  MLEDGE_RETURN_IF_ERROR(database.InTransaction([&]() -> absl::Status {
    MLEDGE_RETURN_IF_ERROR(
        database.Execute("UPDATE owner SET epoch = epoch + 1"));
    MLEDGE_ASSIGN_OR_RETURN(epoch, ReadEpoch(database));
    return absl::OkStatus();
  }));
  return OwnerEpoch(std::move(server), epoch);
}

absl::Status OwnerEpoch::Check(Database& database) const {
  MLEDGE_ASSIGN_OR_RETURN(const int64_t epoch, ReadEpoch(database));
  if (epoch == epoch_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("another ", server_, " has taken over ", database.path(),
             " (owner epoch ", epoch, ", this process has ", epoch_,
             "): this one must stop"));
}

}  // namespace mledge
