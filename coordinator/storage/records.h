#ifndef MLEDGE_COORDINATOR_STORAGE_RECORDS_H_
#define MLEDGE_COORDINATOR_STORAGE_RECORDS_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/coordinator/storage.h"
#include "mledge/core/storage/database.h"

// Records to rows and back. All functions belong inside a transaction or a
// lock of the caller.

namespace mledge {

// Replaces records of the same key. A round that is written as finished loses
// its checkpoints: nothing reads them any more.
absl::Status WriteRecords(Database& database, const Transaction& transaction);

absl::StatusOr<StoredState> LoadRecords(Database& database);

// NOT_FOUND.
absl::StatusOr<AssignmentRecord> LoadAssignment(Database& database,
                                                const AssignmentId& id);

absl::StatusOr<std::vector<EventRecord>> LoadEvents(Database& database,
                                                    const TaskId& task,
                                                    int64_t after_sequence);

// The blobs that records name.
absl::StatusOr<std::set<Digest>> ReferencedBlobs(Database& database);
// The blobs that a transaction names.
std::set<Digest> BlobsNamedBy(const Transaction& transaction);

// Whether spooled bytes of an assignment may still matter: it is issued or
// acknowledged, and its task runs.
absl::StatusOr<bool> SpoolIsNeeded(Database& database,
                                   const AssignmentId& assignment);

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_STORAGE_RECORDS_H_
