#include <algorithm>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/registrar/registrar.h"

namespace mledge {
namespace {

// Statements carry whole milliseconds.
absl::Time WholeMilliseconds(absl::Time time) {
  return absl::FromUnixMillis(absl::ToUnixMillis(time));
}

int64_t DayOf(absl::Time time) {
  return absl::ToUnixSeconds(time) / (24 * 3600);
}

// More groups than any cohort has.
constexpr uint32_t kMostGroups = 1'000'000;

absl::Status CheckSessionNumber(uint64_t number) {
  if (number >= 1 && number <= static_cast<uint64_t>(INT64_MAX)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      StrCat(number, " is no session number; they count from 1"));
}

std::string Name(const Digest& task) { return task.ToHex().substr(0, 16); }

}  // namespace

absl::StatusOr<WitnessStatement> Registrar::WitnessDirectory(
    const RegistrarCaller& caller, const Digest& task, uint64_t session_number,
    const Digest& directory, absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(CheckSessionNumber(session_number));
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(CheckRole(caller, Role::kCoordinator,
                                   options_.coordinators, "coordinators"));
  MLEDGE_ASSIGN_OR_RETURN(std::optional<WitnessStatement> signed_before,
                          storage_->FindStatement(task, session_number));
  if (signed_before.has_value()) {
    if (signed_before->directory == directory) return *signed_before;
    return absl::FailedPreconditionError(
        StrCat("session ", session_number, " of task ", Name(task),
               "… already has another directory, and never gets a second one: "
               "begin a new session under a higher number"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<WitnessedTask> known,
                          storage_->FindTask(task));
  WitnessedTask state = known.value_or(WitnessedTask{.task = task});
  if (session_number <= state.last_session_number) {
    return absl::FailedPreconditionError(
        StrCat("session ", session_number, " of task ", Name(task),
               "… comes after session ", state.last_session_number,
               "; numbers only go up"));
  }
  // A clock that was set back opens no day a second time.
  const int64_t day = std::max(DayOf(now), state.day);
  if (day != state.day) {
    state.day = day;
    state.sessions_that_day = 0;
  }
  if (state.sessions_that_day >= options_.sessions_per_day) {
    return absl::ResourceExhaustedError(
        StrCat("task ", Name(task), "… had its ", options_.sessions_per_day,
               " sessions of this day (UTC); the next is witnessed tomorrow, "
               "or raise the registrar's sessions_per_day and the devices' "
               "figure with it"));
  }
  ++state.sessions_that_day;
  state.last_session_number = session_number;
  WitnessStatement statement{.task = task,
                             .session_number = session_number,
                             .directory = directory,
                             .time = WholeMilliseconds(now)};
  statement.Sign(witness_key_);
  RegistrarTransaction transaction;
  transaction.statement = statement;
  transaction.task = state;
  // From here on nobody ever gets another directory signed for this number,
  // also if the answer is lost.
  MLEDGE_RETURN_IF_ERROR(storage_->Commit(transaction));
  return statement;
}

absl::StatusOr<SetsStatement> Registrar::WitnessSets(
    const RegistrarCaller& caller, const Digest& task, uint64_t session_number,
    uint32_t group, const Digest& session, const Digest& sets, absl::Time now) {
  MLEDGE_RETURN_IF_ERROR(CheckSessionNumber(session_number));
  if (group >= kMostGroups) {
    return absl::InvalidArgumentError(StrCat(
        group, " is no group of a session; there are at most ", kMostGroups));
  }
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(CheckRole(caller, Role::kCoordinator,
                                   options_.coordinators, "coordinators"));
  MLEDGE_ASSIGN_OR_RETURN(
      std::optional<SetsStatement> signed_before,
      storage_->FindSetsStatement(task, session_number, group));
  if (signed_before.has_value()) {
    if (signed_before->session == session && signed_before->sets == sets) {
      return *signed_before;
    }
    return absl::FailedPreconditionError(
        StrCat("group ", group, " of session ", session_number, " of task ",
               Name(task),
               "… already has other sets of who is alive and who is dead, and "
               "never gets second ones: the group is lost, begin a new session "
               "under a higher number"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<WitnessStatement> directory,
                          storage_->FindStatement(task, session_number));
  if (!directory.has_value()) {
    return absl::FailedPreconditionError(
        StrCat("session ", session_number, " of task ", Name(task),
               "… has no witnessed directory; who is in a session is witnessed "
               "before who is alive in it"));
  }
  SetsStatement statement{.task = task,
                          .session_number = session_number,
                          .group = group,
                          .session = session,
                          .sets = sets,
                          .time = WholeMilliseconds(now)};
  statement.Sign(witness_key_);
  RegistrarTransaction transaction;
  transaction.sets_statement = statement;
  // From here on nobody in this group is ever told anything else, also if the
  // answer is lost.
  MLEDGE_RETURN_IF_ERROR(storage_->Commit(transaction));
  return statement;
}

absl::StatusOr<VersionLogHead> Registrar::AppendVersion(
    const RegistrarCaller& caller, const Digest& task, uint64_t version,
    const Digest& entry, absl::Time now) {
  if (version >= static_cast<uint64_t>(INT64_MAX)) {
    return absl::InvalidArgumentError(StrCat(version, " is no version number"));
  }
  MutexLock lock(&mutex_);
  MLEDGE_RETURN_IF_ERROR(CheckRole(caller, Role::kCoordinator,
                                   options_.coordinators, "coordinators"));
  MLEDGE_ASSIGN_OR_RETURN(const std::optional<StoredVersionLogHead> last,
                          storage_->FindVersionLogHead(task));
  const uint64_t length = last.has_value() ? last->head.length : 0;
  if (length > 0 && version == length - 1) {
    if (last->entry == entry) return last->head;
    return absl::FailedPreconditionError(
        StrCat("version ", version, " of task ", Name(task),
               "… is in the log with other content; the log never forks. If "
               "the coordinator lost its state, submit the task under a new "
               "name"));
  }
  if (version != length) {
    return absl::FailedPreconditionError(
        StrCat("the log of task ", Name(task), "… holds ", length,
               " versions, so the next is version ", length, ", not ", version,
               "; a log neither goes back nor leaves gaps"));
  }
  const Digest before =
      last.has_value() ? last->head.head : EmptyVersionLog(task);
  StoredVersionLogHead next{
      .head = {.task = task,
               .length = length + 1,
               .head = ExtendVersionLog(task, version, before, entry),
               .time = WholeMilliseconds(now)},
      .entry = entry};
  next.head.Sign(witness_key_);
  RegistrarTransaction transaction;
  transaction.version_log_head = next;
  MLEDGE_RETURN_IF_ERROR(storage_->Commit(transaction));
  return next.head;
}

}  // namespace mledge
