#ifndef MLEDGE_CORE_STORAGE_OWNER_EPOCH_H_
#define MLEDGE_CORE_STORAGE_OWNER_EPOCH_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/storage/database.h"

// Who owns a server's database: a number that each server moves on when it
// starts, so that one that was thought dead and wakes up can write nothing
// more. In the one row of a table of
//
//   CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1),
//                       epoch INTEGER NOT NULL) STRICT;
//
// A value; as thread-safe as the database is.

namespace mledge {

class OwnerEpoch {
 public:
  // Takes the database over. `server`: "coordinator", for messages. DATA_LOSS:
  // the table has no row.
  static absl::StatusOr<OwnerEpoch> Take(Database& database,
                                         std::string server);

  // At the start of every write transaction. FAILED_PRECONDITION: another
  // server has taken the database over.
  absl::Status Check(Database& database) const;

 private:
  OwnerEpoch(std::string server, int64_t epoch)
      : server_(std::move(server)), epoch_(epoch) {}

  std::string server_;
  int64_t epoch_;
};

}  // namespace mledge

#endif  // MLEDGE_CORE_STORAGE_OWNER_EPOCH_H_
