#include "mledge/privacy/matrix/participation.h"

#include <algorithm>
#include <string_view>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

absl::Status CheckCount(std::string_view name, int64_t value) {
  if (value >= 1 && value <= kMaximumRounds) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(name, " ", value, ": it must be between 1 and ", kMaximumRounds));
}

absl::Status CheckRecord(const ParticipationLimits& limits,
                         const ParticipationRecord& record) {
  const int64_t last = record.last_round.value_or(-1);
  // The first participation may be in round 0, each later one a separation on.
  const bool possible =
      record.last_round.has_value()
          ? record.participations >= 1 && last >= 0 && last < limits.rounds &&
                record.participations <= limits.participations &&
                (record.participations - 1) <= last / limits.separation
          : record.participations == 0;
  if (possible) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("a record of ", record.participations,
             " participations, the last one in round ", last,
             ": no device can have it with at most ", limits.participations,
             " participations at least ", limits.separation,
             " rounds apart in ", limits.rounds, " rounds"));
}

absl::Status CheckRound(const ParticipationLimits& limits, int64_t round) {
  if (round >= 0 && round < limits.rounds) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(
      "round ", round, ": it must be between 0 and ", limits.rounds - 1));
}

}  // namespace

absl::Status ValidateParticipationLimits(const ParticipationLimits& limits) {
  MLEDGE_RETURN_IF_ERROR(CheckCount("rounds", limits.rounds));
  MLEDGE_RETURN_IF_ERROR(CheckCount("participations", limits.participations));
  return CheckCount("separation", limits.separation);
}

int64_t MostParticipations(const ParticipationLimits& limits) {
  return std::min(limits.participations,
                  (limits.rounds - 1) / limits.separation + 1);
}

absl::StatusOr<ParticipationRecord> ParticipationRecordOf(
    const ParticipationLimits& limits, std::span<const int64_t> rounds) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(limits));
  ParticipationRecord record;
  for (int64_t round : rounds) {
    absl::StatusOr<ParticipationRecord> next =
        Participate(limits, record, round);
    if (!next.ok()) {
      return absl::InvalidArgumentError(next.status().message());
    }
    record = *next;
  }
  return record;
}

absl::StatusOr<std::optional<int64_t>> EarliestRound(
    const ParticipationLimits& limits, const ParticipationRecord& record) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(limits));
  MLEDGE_RETURN_IF_ERROR(CheckRecord(limits, record));
  if (!record.last_round.has_value()) return 0;
  const int64_t next = *record.last_round + limits.separation;
  if (record.participations == limits.participations || next >= limits.rounds) {
    return std::nullopt;
  }
  return next;
}

absl::StatusOr<ParticipationRecord> Participate(
    const ParticipationLimits& limits, const ParticipationRecord& record,
    int64_t round) {
  MLEDGE_RETURN_IF_ERROR(ValidateParticipationLimits(limits));
  MLEDGE_RETURN_IF_ERROR(CheckRecord(limits, record));
  MLEDGE_RETURN_IF_ERROR(CheckRound(limits, round));
  if (record.participations == limits.participations) {
    return absl::FailedPreconditionError(StrCat(
        "round ", round, " would be participation ", record.participations + 1,
        " of a device that may take part ", limits.participations, " times"));
  }
  if (record.last_round.has_value() &&
      round < *record.last_round + limits.separation) {
    return absl::FailedPreconditionError(
        StrCat("round ", round, " is less than ", limits.separation,
               " rounds after round ", *record.last_round,
               ", in which the device took part; it may join again from round ",
               *record.last_round + limits.separation));
  }
  return ParticipationRecord{record.participations + 1, round};
}

}  // namespace mledge
