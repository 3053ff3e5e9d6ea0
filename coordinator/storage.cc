#include "mledge/coordinator/storage.h"

#include <iterator>
#include <utility>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

template <typename T>
void AppendAll(std::vector<T>& to, std::vector<T>& from) {
  if (to.empty()) {
    to = std::move(from);
    return;
  }
  to.insert(to.end(), std::make_move_iterator(from.begin()),
            std::make_move_iterator(from.end()));
}

absl::Status DamagedBlob(const Digest& name, std::string_view how) {
  const std::string hex = name.ToHex();
  return absl::DataLossError(
      StrCat("blob ", hex, " ", how, ": restore blobs/", hex.substr(0, 2), "/",
             hex.substr(2),
             " of the state directory from a backup and start the coordinator "
             "again"));
}

absl::StatusOr<std::shared_ptr<const BlobReader>> OpenNamedBlob(
    CoordinatorStorage& storage, const Digest& name) {
  absl::StatusOr<std::shared_ptr<const BlobReader>> reader =
      storage.OpenBlob(name);
  if (absl::IsNotFound(reader.status())) return DamagedBlob(name, "is missing");
  return reader;
}

}  // namespace

bool Transaction::empty() const {
  return tasks.empty() && versions.empty() && assignments.empty() &&
         rounds.empty() && checkpoints.empty() && devices.empty() &&
         events.empty() && ledger.empty() && participations.empty();
}

void Transaction::Append(Transaction other) {
  // Records are written in order, so the later of two with one key wins.
  AppendAll(tasks, other.tasks);
  AppendAll(versions, other.versions);
  AppendAll(assignments, other.assignments);
  AppendAll(rounds, other.rounds);
  AppendAll(checkpoints, other.checkpoints);
  AppendAll(devices, other.devices);
  AppendAll(events, other.events);
  AppendAll(ledger, other.ledger);
  AppendAll(participations, other.participations);
}

absl::Status LedgerEntryExists(const LedgerRecord& record) {
  return absl::DataLossError(
      StrCat("the privacy ledger of task ", record.task.value(),
             " has another entry ", record.entry.sequence,
             " already, and an entry is never rewritten: another program has "
             "written into the state directory; restore it from a backup"));
}

absl::Status SpoolWriter::Adopt(Update update, UpdateContext context) {
  return absl::UnimplementedError(
      "this storage takes an update's bytes, not the update itself");
}

absl::StatusOr<std::string> ReadVerifiedBlob(CoordinatorStorage& storage,
                                             const Digest& name) {
  MLEDGE_ASSIGN_OR_RETURN(const std::shared_ptr<const BlobReader> reader,
                          OpenNamedBlob(storage, name));
  MLEDGE_ASSIGN_OR_RETURN(std::string bytes,
                          reader->Read(0, reader->size_in_bytes()));
  if (Sha256Of(bytes) != name) return DamagedBlob(name, "is damaged");
  return bytes;
}

absl::Status VerifyBlob(CoordinatorStorage& storage, const Digest& name) {
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  MLEDGE_ASSIGN_OR_RETURN(const std::shared_ptr<const BlobReader> reader,
                          OpenNamedBlob(storage, name));
  Sha256 hash;
  for (uint64_t at = 0; at < reader->size_in_bytes(); at += kPiece) {
    MLEDGE_ASSIGN_OR_RETURN(const std::string bytes, reader->Read(at, kPiece));
    hash.Update(bytes);
  }
  if (hash.Finish() != name) return DamagedBlob(name, "is damaged");
  return absl::OkStatus();
}

}  // namespace mledge
