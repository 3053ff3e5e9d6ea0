#include <bit>
#include <cstdint>

#include "mledge/coordinator/storage/records.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// The infinities saturate to the ends of the range.
int64_t ToColumn(absl::Time time) { return absl::ToUnixNanos(time); }

void BindOptional(Statement& statement, const std::optional<Digest>& digest) {
  if (digest.has_value()) {
    statement.BindBlob(digest->ToBytes());
  } else {
    statement.BindNull();
  }
}

// Ids hold neither '=' nor a line break.
std::string EncodeCounts(const std::map<TaskId, int64_t>& counts) {
  std::string text;
  for (const auto& [task, count] : counts) {
    StrAppend(&text, task.value(), "=", count, "\n");
  }
  return text;
}

std::string EncodeIds(const std::vector<AssignmentId>& ids) {
  std::string text;
  for (const AssignmentId& id : ids) StrAppend(&text, id.value(), "\n");
  return text;
}

absl::Status Write(Database& database, const TaskRecord& task) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row, database.Prepare("INSERT OR REPLACE INTO tasks VALUES "
                                      "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"));
  return row.BindText(task.id.value())
      .BindBlob(task.signed_task.ToBytes())
      .BindBlob(task.package.ToBytes())
      .BindText(task.submitted_by)
      .Bind(ToColumn(task.submitted_at))
      .Bind(static_cast<int64_t>(task.state))
      .BindText(task.reason)
      .Bind(task.round.value())
      .Bind(task.version.value())
      .Bind(static_cast<int64_t>(task.bytes_received))
      .Bind(static_cast<int64_t>(task.bytes_sent))
      .Bind(task.secure_session)
      .Bind(task.ledger.sequence)
      .BindBlob(task.ledger.hash.ToBytes())
      .Bind(task.lost_head.sequence)
      .BindBlob(task.lost_head.hash.ToBytes())
      .Run();
}

absl::Status Write(Database& database, const VersionRecord& version) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare(
          "INSERT OR REPLACE INTO versions VALUES (?,?,?,?,?,?,?,?,?,?)"));
  row.BindText(version.task.value())
      .Bind(version.version.value())
      .Bind(version.round.value())
      .BindBlob(version.parameters.ToBytes())
      .Bind(static_cast<int64_t>(version.parameters_size_in_bytes));
  BindOptional(row, version.optimizer_state);
  row.BindBlob(version.signed_statement).Bind(ToColumn(version.published_at));
  BindOptional(row, version.noise_state);
  return row.Bind(std::bit_cast<int64_t>(version.clip_norm)).Run();
}

absl::Status Write(Database& database, const AssignmentRecord& assignment) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare(
          "INSERT OR REPLACE INTO assignments VALUES (?,?,?,?,?,?,?,?,?,?,?)"));
  row.BindText(assignment.id.value())
      .BindText(assignment.task.value())
      .BindText(assignment.device.value())
      .Bind(assignment.round.value())
      .Bind(static_cast<int64_t>(assignment.kind))
      .Bind(assignment.ordinal.value())
      .Bind(assignment.base_version.value())
      .Bind(ToColumn(assignment.issued_at))
      .Bind(ToColumn(assignment.expires_at))
      .Bind(static_cast<int64_t>(assignment.state));
  BindOptional(row, assignment.content);
  return row.Run();
}

absl::Status Write(Database& database, const RoundRecord& round) {
  {
    MLEDGE_ASSIGN_OR_RETURN(
        Statement row,
        database.Prepare("INSERT OR REPLACE INTO rounds VALUES (?,?,?,?,?,?)"));
    MLEDGE_RETURN_IF_ERROR(row.BindText(round.task.value())
                               .Bind(round.round.value())
                               .Bind(static_cast<int64_t>(round.state))
                               .Bind(round.base_version.value())
                               .Bind(ToColumn(round.started_at))
                               .Bind(ToColumn(round.deadline))
                               .Run());
  }
  if (round.state == RoundState::kRunning) return absl::OkStatus();
  MLEDGE_ASSIGN_OR_RETURN(
      Statement obsolete,
      database.Prepare("DELETE FROM checkpoints WHERE task = ? AND round = ?"));
  return obsolete.BindText(round.task.value()).Bind(round.round.value()).Run();
}

absl::Status Write(Database& database, const CheckpointRecord& checkpoint) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare(
          "INSERT OR REPLACE INTO checkpoints VALUES (?,?,?,?,?)"));
  return row.BindText(checkpoint.task.value())
      .Bind(checkpoint.round.value())
      .Bind(checkpoint.slot)
      .BindBlob(checkpoint.sum.ToBytes())
      .BindText(EncodeIds(checkpoint.folded))
      .Run();
}

absl::Status Write(Database& database, const DeviceRecord& device) {
  std::map<TaskId, int64_t> last_assigned;
  for (const auto& [task, time] : device.last_assigned) {
    last_assigned[task] = ToColumn(time);
  }
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare(
          "INSERT OR REPLACE INTO devices VALUES (?,?,?,?,?,?,?,?,?)"));
  return row.BindText(device.id.value())
      .BindText(device.role)
      .BindText(device.population)
      .BindText(device.software)
      .Bind(ToColumn(device.last_seen))
      .BindText(EncodeCounts(device.assignments))
      .Bind(device.acknowledged)
      .Bind(device.failed)
      .BindText(EncodeCounts(last_assigned))
      .Run();
}

absl::Status Write(Database& database, const EventRecord& event) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare("INSERT OR REPLACE INTO events VALUES (?,?,?)"));
  return row.BindText(event.task.value())
      .Bind(event.sequence)
      .BindBlob(event.event)
      .Run();
}

absl::Status Write(Database& database, const LedgerRecord& record) {
  {
    // A transaction whose commit was reported as failed may have got there.
    MLEDGE_ASSIGN_OR_RETURN(
        Statement row,
        database.Prepare(
            "SELECT entry, hash FROM ledger WHERE task = ? AND sequence = ?"));
    row.BindText(record.task.value()).Bind(record.entry.sequence);
    MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
    if (found) {
      return row.Bytes(0) == record.entry.entry &&
                     row.Bytes(1) == record.entry.hash.ToBytes()
                 ? absl::OkStatus()
                 : LedgerEntryExists(record);
    }
  }
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row, database.Prepare("INSERT INTO ledger VALUES (?,?,?,?)"));
  return row.BindText(record.task.value())
      .Bind(record.entry.sequence)
      .BindBlob(record.entry.entry)
      .BindBlob(record.entry.hash.ToBytes())
      .Run();
}

absl::Status Write(Database& database, const ParticipationRow& row) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement statement,
      database.Prepare(
          "INSERT OR REPLACE INTO participations VALUES (?,?,?,?)"));
  return statement.BindText(row.task.value())
      .BindText(row.device.value())
      .Bind(row.record.participations)
      .Bind(row.record.last_round.value_or(-1))
      .Run();
}

template <typename Record>
absl::Status WriteAll(Database& database, const std::vector<Record>& records) {
  for (const Record& record : records) {
    MLEDGE_RETURN_IF_ERROR(Write(database, record));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteRecords(Database& database, const Transaction& transaction) {
  MLEDGE_RETURN_IF_ERROR(WriteAll(database, transaction.tasks));
  MLEDGE_RETURN_IF_ERROR(WriteAll(database, transaction.versions));
  MLEDGE_RETURN_IF_ERROR(WriteAll(database, transaction.assignments));
  // Before rounds, which drop the checkpoints of those that are finished.
  MLEDGE_RETURN_IF_ERROR(WriteAll(database, transaction.checkpoints));
  MLEDGE_RETURN_IF_ERROR(WriteAll(database, transaction.rounds));
  MLEDGE_RETURN_IF_ERROR(WriteAll(database, transaction.devices));
  MLEDGE_RETURN_IF_ERROR(WriteAll(database, transaction.events));
  MLEDGE_RETURN_IF_ERROR(WriteAll(database, transaction.ledger));
  return WriteAll(database, transaction.participations);
}

std::set<Digest> BlobsNamedBy(const Transaction& transaction) {
  std::set<Digest> blobs;
  for (const TaskRecord& task : transaction.tasks) {
    blobs.insert(task.signed_task);
    blobs.insert(task.package);
  }
  for (const VersionRecord& version : transaction.versions) {
    blobs.insert(version.parameters);
    if (version.optimizer_state) blobs.insert(*version.optimizer_state);
    if (version.noise_state) blobs.insert(*version.noise_state);
  }
  for (const CheckpointRecord& checkpoint : transaction.checkpoints) {
    blobs.insert(checkpoint.sum);
  }
  return blobs;
}

}  // namespace mledge
