#include "mledge/coordinator/internal/upload_results.h"

#include <utility>

#include "mledge/core/strings.h"

namespace mledge {

v1::UploadResult MakeUploadResult(v1::UploadResult::Outcome outcome,
                                  std::string reason) {
  v1::UploadResult result;
  result.set_outcome(outcome);
  result.set_reason(std::move(reason));
  return result;
}

v1::UploadResult UploadResultOf(UpdateOutcome outcome,
                                const AssignmentRecord& record,
                                const std::string& failure) {
  const std::string name =
      StrCat("assignment ", record.id.value(), " of task ", record.task.value(),
             ", round ", record.round.value());
  switch (outcome) {
    case UpdateOutcome::kAcknowledged:
    case UpdateOutcome::kAgain:
      return MakeUploadResult(v1::UploadResult::ACKNOWLEDGED, "");
    case UpdateOutcome::kTooLate:
      return MakeUploadResult(
          v1::UploadResult::TOO_LATE,
          StrCat(name,
                 ": the round closed without this update, or the "
                 "assignment expired; check in for new work"));
    case UpdateOutcome::kOtherContent:
      return MakeUploadResult(
          v1::UploadResult::REFUSED,
          StrCat(name,
                 ": an update with other content was acknowledged for "
                 "it before"));
    case UpdateOutcome::kGivenUp:
      return MakeUploadResult(
          v1::UploadResult::REFUSED,
          StrCat(name, " was given up", failure.empty() ? "" : ": ", failure));
  }
  return MakeUploadResult(v1::UploadResult::REFUSED, "");
}

}  // namespace mledge
