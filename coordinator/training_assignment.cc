#include "mledge/coordinator/training_assignment.h"

#include <utility>

#include "mledge/core/status_macros.h"

namespace mledge {

absl::Status TrainingAssignment::Move(AssignmentState to) {
  if (!IsLegalMove(record_.state, to)) {
    return absl::FailedPreconditionError(
        StrCat("assignment ", record_.id.value(), " of device ",
               record_.device.value(), " is ", ToString(record_.state),
               " and cannot become ", ToString(to)));
  }
  record_.state = to;
  return absl::OkStatus();
}

absl::Status TrainingAssignment::Acknowledge(const Digest& content) {
  MLEDGE_RETURN_IF_ERROR(Move(AssignmentState::kAcknowledged));
  record_.content = content;
  return absl::OkStatus();
}

absl::Status TrainingAssignment::Fail(std::string reason) {
  MLEDGE_RETURN_IF_ERROR(Move(AssignmentState::kFailed));
  reason_ = std::move(reason);
  return absl::OkStatus();
}

absl::Status TrainingAssignment::Expire() {
  return Move(AssignmentState::kExpired);
}

void SettleSession(
    const SecureSessionEnd& end,
    std::map<AssignmentId, TrainingAssignment>& assignments,
    const std::function<void(const TrainingAssignment&)>& ended) {
  const auto settle = [&](const AssignmentId& id, const auto& move) {
    const auto found = assignments.find(id);
    if (found != assignments.end() && move(found->second).ok()) {
      ended(found->second);
    }
  };
  // By `entry`, because clang 14 lets no lambda take a structured binding.
  for (const auto& entry : end.counted) {
    settle(entry.first, [&entry](TrainingAssignment& a) {
      return a.Acknowledge(entry.second);
    });
  }
  for (const auto& entry : end.lost) {
    settle(entry.first,
           [&entry](TrainingAssignment& a) { return a.Fail(entry.second); });
  }
}

UpdateOutcome JudgeUpdate(const AssignmentRecord& record,
                          const Digest& content) {
  switch (record.state) {
    case AssignmentState::kAcknowledged:
      return record.content == content ? UpdateOutcome::kAgain
                                       : UpdateOutcome::kOtherContent;
    case AssignmentState::kFailed:
      return UpdateOutcome::kGivenUp;
    case AssignmentState::kIssued:
    case AssignmentState::kExpired:
      break;
  }
  return UpdateOutcome::kTooLate;
}

AssignmentId MakeAssignmentId(const AssignmentRecord& record) {
  Sha256 hash;
  hash.UpdateField("mledge/v1/assignment-id")
      .UpdateField(record.task.value())
      .UpdateField(record.device.value())
      .UpdateU64(static_cast<uint64_t>(record.ordinal.value()));
  if (record.kind == AssignmentKind::kEvaluate) {
    hash.UpdateField("evaluate")
        .UpdateU64(static_cast<uint64_t>(record.base_version.value()))
        .UpdateU64(static_cast<uint64_t>(absl::ToUnixNanos(record.issued_at)));
  } else {
    hash.UpdateField("train");
  }
  return AssignmentId(hash.Finish().ToHex().substr(0, 32));
}

std::string_view ToString(AssignmentState state) {
  switch (state) {
    case AssignmentState::kIssued:
      return "issued";
    case AssignmentState::kAcknowledged:
      return "acknowledged";
    case AssignmentState::kFailed:
      return "failed";
    case AssignmentState::kExpired:
      return "expired";
  }
  return "unknown";
}

}  // namespace mledge
