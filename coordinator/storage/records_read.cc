#include <bit>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "mledge/coordinator/storage/records.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// What absl::ToUnixNanos saturates to stands for the infinities.
absl::Time TimeOf(int64_t column) {
  if (column == std::numeric_limits<int64_t>::max()) {
    return absl::InfiniteFuture();
  }
  if (column == std::numeric_limits<int64_t>::min()) {
    return absl::InfinitePast();
  }
  return absl::FromUnixNanos(column);
}

absl::StatusOr<Digest> DigestOf(const Statement& row, int column) {
  absl::StatusOr<Digest> digest = Digest::FromBytes(row.Bytes(column));
  if (!digest.ok()) {
    return absl::DataLossError(
        StrCat("a stored record holds a digest of the wrong length (",
               digest.status().message(),
               "): restore the state directory from a backup"));
  }
  return digest;
}

absl::StatusOr<std::optional<Digest>> OptionalDigestOf(const Statement& row,
                                                       int column) {
  if (row.IsNull(column)) return std::nullopt;
  MLEDGE_ASSIGN_OR_RETURN(const Digest digest, DigestOf(row, column));
  return digest;
}

absl::StatusOr<std::map<TaskId, int64_t>> DecodeCounts(
    const std::string& text) {
  std::map<TaskId, int64_t> counts;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, '=');
    int64_t count = 0;
    if (!absl::SimpleAtoi(parts.second, &count)) {
      return absl::DataLossError(
          StrCat("a stored device record has an unreadable count '", line,
                 "': restore the state directory from a backup"));
    }
    counts[TaskId(parts.first)] = count;
  }
  return counts;
}

std::vector<AssignmentId> DecodeIds(const std::string& text) {
  std::vector<AssignmentId> ids;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    ids.emplace_back(std::string(line));
  }
  return ids;
}

absl::Status LoadTasks(Database& database, std::vector<TaskRecord>* out) {
  MLEDGE_ASSIGN_OR_RETURN(Statement row,
                          database.Prepare("SELECT * FROM tasks"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    MLEDGE_ASSIGN_OR_RETURN(const Digest signed_task, DigestOf(row, 1));
    MLEDGE_ASSIGN_OR_RETURN(const Digest package, DigestOf(row, 2));
    MLEDGE_ASSIGN_OR_RETURN(const Digest ledger_hash, DigestOf(row, 13));
    MLEDGE_ASSIGN_OR_RETURN(const Digest lost_hash, DigestOf(row, 15));
    out->push_back({.id = TaskId(row.Bytes(0)),
                    .signed_task = signed_task,
                    .package = package,
                    .submitted_by = row.Bytes(3),
                    .submitted_at = TimeOf(row.Integer(4)),
                    .state = static_cast<TaskState>(row.Integer(5)),
                    .reason = row.Bytes(6),
                    .round = RoundNumber(row.Integer(7)),
                    .version = VersionNumber(row.Integer(8)),
                    .bytes_received = static_cast<uint64_t>(row.Integer(9)),
                    .bytes_sent = static_cast<uint64_t>(row.Integer(10)),
                    .secure_session = static_cast<uint64_t>(row.Integer(11)),
                    .ledger = {row.Integer(12), ledger_hash},
                    .lost_head = {row.Integer(14), lost_hash}});
  }
}

absl::Status LoadVersions(Database& database, std::vector<VersionRecord>* out) {
  MLEDGE_ASSIGN_OR_RETURN(Statement row,
                          database.Prepare("SELECT * FROM versions"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    MLEDGE_ASSIGN_OR_RETURN(const Digest parameters, DigestOf(row, 3));
    MLEDGE_ASSIGN_OR_RETURN(const std::optional<Digest> optimizer_state,
                            OptionalDigestOf(row, 5));
    MLEDGE_ASSIGN_OR_RETURN(const std::optional<Digest> noise_state,
                            OptionalDigestOf(row, 8));
    out->push_back(
        {.task = TaskId(row.Bytes(0)),
         .version = VersionNumber(row.Integer(1)),
         .round = RoundNumber(row.Integer(2)),
         .parameters = parameters,
         .parameters_size_in_bytes = static_cast<uint64_t>(row.Integer(4)),
         .optimizer_state = optimizer_state,
         .noise_state = noise_state,
         .clip_norm = std::bit_cast<double>(row.Integer(9)),
         .signed_statement = row.Bytes(6),
         .published_at = TimeOf(row.Integer(7))});
  }
}

absl::StatusOr<AssignmentRecord> AssignmentOf(const Statement& row) {
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<Digest> content,
                          OptionalDigestOf(row, 10));
  return AssignmentRecord{.id = AssignmentId(row.Bytes(0)),
                          .task = TaskId(row.Bytes(1)),
                          .device = DeviceId(row.Bytes(2)),
                          .round = RoundNumber(row.Integer(3)),
                          .kind = static_cast<AssignmentKind>(row.Integer(4)),
                          .ordinal = AssignmentOrdinal(row.Integer(5)),
                          .base_version = VersionNumber(row.Integer(6)),
                          .issued_at = TimeOf(row.Integer(7)),
                          .expires_at = TimeOf(row.Integer(8)),
                          .state = static_cast<AssignmentState>(row.Integer(9)),
                          .content = content};
}

absl::Status LoadAssignments(Database& database,
                             std::vector<AssignmentRecord>* out) {
  // Of running tasks: rounds that run, the last one that finished, and
  // evaluations that somebody still works on, with what others have answered;
  // their round may lie further back.
  MLEDGE_ASSIGN_OR_RETURN(Statement row, database.Prepare(R"sql(
SELECT a.* FROM tasks t JOIN rounds r ON r.task = t.id
  JOIN assignments a ON a.task = r.task AND a.round = r.round
  WHERE t.state = 0 AND (r.state = 0 OR r.round =
    (SELECT MAX(round) FROM rounds f WHERE f.task = t.id AND f.state <> 0))
UNION
SELECT a.* FROM tasks t JOIN assignments a ON a.task = t.id
  WHERE t.state = 0 AND a.kind = 1 AND a.round IN
    (SELECT o.round FROM assignments o
      WHERE o.task = t.id AND o.kind = 1 AND o.state = 0))sql"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    MLEDGE_ASSIGN_OR_RETURN(AssignmentRecord assignment, AssignmentOf(row));
    out->push_back(std::move(assignment));
  }
}

absl::Status LoadRounds(Database& database, std::vector<RoundRecord>* out) {
  MLEDGE_ASSIGN_OR_RETURN(Statement row,
                          database.Prepare("SELECT * FROM rounds"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    out->push_back({.task = TaskId(row.Bytes(0)),
                    .round = RoundNumber(row.Integer(1)),
                    .state = static_cast<RoundState>(row.Integer(2)),
                    .base_version = VersionNumber(row.Integer(3)),
                    .started_at = TimeOf(row.Integer(4)),
                    .deadline = TimeOf(row.Integer(5))});
  }
}

absl::Status LoadCheckpoints(Database& database,
                             std::vector<CheckpointRecord>* out) {
  MLEDGE_ASSIGN_OR_RETURN(Statement row,
                          database.Prepare("SELECT * FROM checkpoints"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    MLEDGE_ASSIGN_OR_RETURN(const Digest sum, DigestOf(row, 3));
    out->push_back({.task = TaskId(row.Bytes(0)),
                    .round = RoundNumber(row.Integer(1)),
                    .slot = static_cast<int>(row.Integer(2)),
                    .sum = sum,
                    .folded = DecodeIds(row.Bytes(4))});
  }
}

absl::Status LoadDevices(Database& database, std::vector<DeviceRecord>* out) {
  MLEDGE_ASSIGN_OR_RETURN(Statement row,
                          database.Prepare("SELECT * FROM devices"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    MLEDGE_ASSIGN_OR_RETURN(auto assignments, DecodeCounts(row.Bytes(5)));
    MLEDGE_ASSIGN_OR_RETURN(const auto times, DecodeCounts(row.Bytes(8)));
    std::map<TaskId, absl::Time> last_assigned;
    for (const auto& [task, time] : times) last_assigned[task] = TimeOf(time);
    out->push_back({.id = DeviceId(row.Bytes(0)),
                    .role = row.Bytes(1),
                    .population = row.Bytes(2),
                    .software = row.Bytes(3),
                    .last_seen = TimeOf(row.Integer(4)),
                    .assignments = std::move(assignments),
                    .last_assigned = std::move(last_assigned),
                    .acknowledged = row.Integer(6),
                    .failed = row.Integer(7)});
  }
}

absl::Status LoadLastEvents(Database& database,
                            std::map<TaskId, int64_t>* out) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare("SELECT task, MAX(sequence) FROM events GROUP BY task"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    (*out)[TaskId(row.Bytes(0))] = row.Integer(1);
  }
}

absl::Status LoadLedger(Database& database, std::vector<LedgerRecord>* out) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare("SELECT * FROM ledger ORDER BY task, sequence"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    MLEDGE_ASSIGN_OR_RETURN(const Digest hash, DigestOf(row, 3));
    out->push_back(
        {.task = TaskId(row.Bytes(0)),
         .entry = {
             .sequence = row.Integer(1), .entry = row.Bytes(2), .hash = hash}});
  }
}

absl::Status LoadParticipations(Database& database,
                                std::vector<ParticipationRow>* out) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare("SELECT p.* FROM participations p JOIN tasks t ON "
                       "t.id = p.task WHERE t.state = 0"));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return absl::OkStatus();
    ParticipationRecord record = {.participations = row.Integer(2)};
    if (row.Integer(3) >= 0) record.last_round = row.Integer(3);
    out->push_back({.task = TaskId(row.Bytes(0)),
                    .device = DeviceId(row.Bytes(1)),
                    .record = record});
  }
}

}  // namespace

absl::StatusOr<StoredState> LoadRecords(Database& database) {
  StoredState state;
  MLEDGE_RETURN_IF_ERROR(LoadTasks(database, &state.tasks));
  MLEDGE_RETURN_IF_ERROR(LoadVersions(database, &state.versions));
  MLEDGE_RETURN_IF_ERROR(LoadAssignments(database, &state.assignments));
  MLEDGE_RETURN_IF_ERROR(LoadRounds(database, &state.rounds));
  MLEDGE_RETURN_IF_ERROR(LoadCheckpoints(database, &state.checkpoints));
  MLEDGE_RETURN_IF_ERROR(LoadDevices(database, &state.devices));
  MLEDGE_RETURN_IF_ERROR(LoadLastEvents(database, &state.last_event_sequence));
  MLEDGE_RETURN_IF_ERROR(LoadLedger(database, &state.ledger));
  MLEDGE_RETURN_IF_ERROR(LoadParticipations(database, &state.participations));
  return state;
}

absl::StatusOr<AssignmentRecord> LoadAssignment(Database& database,
                                                const AssignmentId& id) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare("SELECT * FROM assignments WHERE id = ?"));
  row.BindText(id.value());
  MLEDGE_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) {
    return absl::NotFoundError(
        StrCat("assignment ", id.value(), " was never issued here"));
  }
  return AssignmentOf(row);
}

absl::StatusOr<std::vector<EventRecord>> LoadEvents(Database& database,
                                                    const TaskId& task,
                                                    int64_t after_sequence) {
  MLEDGE_ASSIGN_OR_RETURN(
      Statement row,
      database.Prepare("SELECT sequence, event FROM events WHERE task = ? AND "
                       "sequence > ? ORDER BY sequence"));
  row.BindText(task.value()).Bind(after_sequence);
  std::vector<EventRecord> events;
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return events;
    events.push_back(
        {.task = task, .sequence = row.Integer(0), .event = row.Bytes(1)});
  }
}

absl::StatusOr<std::set<Digest>> ReferencedBlobs(Database& database) {
  MLEDGE_ASSIGN_OR_RETURN(Statement row, database.Prepare(R"sql(
SELECT signed_task FROM tasks
UNION SELECT package FROM tasks
UNION SELECT parameters FROM versions
UNION SELECT optimizer_state FROM versions WHERE optimizer_state IS NOT NULL
UNION SELECT noise_state FROM versions WHERE noise_state IS NOT NULL
UNION SELECT sum FROM checkpoints)sql"));
  std::set<Digest> blobs;
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return blobs;
    MLEDGE_ASSIGN_OR_RETURN(const Digest digest, DigestOf(row, 0));
    blobs.insert(digest);
  }
}

absl::StatusOr<bool> SpoolIsNeeded(Database& database,
                                   const AssignmentId& assignment) {
  MLEDGE_ASSIGN_OR_RETURN(Statement row, database.Prepare(R"sql(
SELECT 1 FROM assignments a JOIN tasks t ON t.id = a.task
  WHERE a.id = ? AND t.state = 0 AND a.state <= 1)sql"));
  row.BindText(assignment.value());
  return row.Step();
}

}  // namespace mledge
