#include "mledge/client/device_session.h"

#include <algorithm>
#include <utility>

#include "mledge/client/internal/session_turn.h"
#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge {
DeviceSession::DeviceSession(Options options,
                             std::shared_ptr<PackageCache> cache)
    : options_(std::move(options)),
      cache_(std::move(cache)),
      call_backoff_(options_.backoff,
                    JitterStream(options_.device, "call-backoff")),
      work_backoff_(options_.backoff,
                    JitterStream(options_.device, "work-backoff")) {
  CHECK(cache_ != nullptr);
}

void DeviceSession::Restore(JournalRecord record) {
  CHECK(phase_ == Phase::kNotStarted) << "Restore comes before Start";
  work_ = Work();
  work_->record = std::move(record);
}

void DeviceSession::RestorePrivacy(PrivacyLedger ledger) {
  CHECK(phase_ == Phase::kNotStarted) << "RestorePrivacy comes before Start";
  privacy_ledger_ = std::move(ledger);
}

Effects DeviceSession::Start(absl::Time now) {
  CHECK(phase_ == Phase::kNotStarted) << "Start is called once";
  Turn turn(now);
  if (!work_.has_value()) {
    CheckIn(turn);
    return Finish(turn);
  }
  turn.Say(StrCat("Goes on with ", Describe(), " after a restart."));
  if (work_->record.update.has_value()) {
    SendUpdate(turn);
    return Finish(turn);
  }
  // The configuration may have changed since.
  const absl::Status status =
      CheckAssignment(work_->record.assignment, options_.policy, now);
  if (absl::IsDeadlineExceeded(status)) {
    Expire(turn);
  } else if (!status.ok()) {
    Abandon(turn, Ending::kRefused, "the assignment", status);
  } else {
    Fetch(turn, Blob::kTask);
  }
  return Finish(turn);
}

Effects DeviceSession::OnWake(absl::Time now) {
  if (!running()) return {};
  Turn turn(now);
  wake_at_ = absl::InfiniteFuture();
  // A clock that was set back lengthens no pause.
  if (now < last_turn_) due_ -= last_turn_ - now;
  const bool perishable = phase_ == Phase::kAccepting ||
                          phase_ == Phase::kFetching ||
                          phase_ == Phase::kTraining;
  if (perishable && now >= ExpiryOf(work_->record.assignment)) {
    Expire(turn);
  } else if (now >= due_) {
    if (awaiting_) {
      CallFailed(turn, absl::DeadlineExceededError("no answer came"));
    } else {
      Resume(turn);
    }
  }
  return Finish(turn);
}

Effects DeviceSession::OnCheckInAnswer(
    absl::Time now, CallId call, absl::StatusOr<v1::CheckInResponse> answer) {
  if (!Awaited(Phase::kCheckingIn, call)) return {};
  Turn turn(now);
  if (!answer.ok()) {
    CallFailed(turn, answer.status());
    return Finish(turn);
  }
  switch (answer->outcome_case()) {
    case v1::CheckInResponse::kAssignment:
      call_backoff_.Reset();
      Accept(turn, std::move(*answer->mutable_assignment()));
      break;
    case v1::CheckInResponse::kComeBack: {
      call_backoff_.Reset();
      const absl::Duration wanted =
          absl::Milliseconds(answer->come_back().after_milliseconds());
      Wait(turn, std::clamp(wanted, options_.backoff.minimum,
                            std::max(options_.backoff.minimum,
                                     options_.maximum_check_in_interval)));
      break;
    }
    case v1::CheckInResponse::kVersionMismatch: {
      const v1::VersionMismatch& spoken = answer->version_mismatch();
      turn.Warn(StrCat("The coordinator speaks device protocol ",
                       spoken.minimum_protocol_version(), " to ",
                       spoken.maximum_protocol_version(), ", this device ",
                       kProtocolVersion, ". Update the ",
                       spoken.minimum_protocol_version() > kProtocolVersion
                           ? "device's software."
                           : "coordinator."));
      Wait(turn, options_.maximum_check_in_interval);
      break;
    }
    case v1::CheckInResponse::OUTCOME_NOT_SET:
      CallFailed(turn,
                 absl::InternalError(
                     "the coordinator's answer to the check-in is empty"));
      break;
  }
  return Finish(turn);
}

Effects DeviceSession::OnFetched(
    absl::Time now, CallId call,
    absl::StatusOr<std::shared_ptr<const std::string>> bytes) {
  if (!Awaited(Phase::kFetching, call)) return {};
  Turn turn(now);
  if (!bytes.ok()) {
    CallFailed(turn, bytes.status());
    return Finish(turn);
  }
  call_backoff_.Reset();
  awaiting_ = false;
  if (const absl::Status status = TakeBlob(turn, **bytes); !status.ok()) {
    Abandon(turn, Ending::kRefused, "the assignment", status);
  }
  return Finish(turn);
}

Effects DeviceSession::OnPersisted(absl::Time now, CallId call,
                                   absl::Status status) {
  Turn turn(now);
  if (Awaited(Phase::kAccepting, call)) {
    awaiting_ = false;
    if (status.ok()) {
      Fetch(turn, Blob::kTask);
    } else {
      Abandon(turn, Ending::kFailed, "storing the assignment", status);
    }
  } else if (Awaited(Phase::kPersisting, call)) {
    awaiting_ = false;
    if (status.ok()) {
      SendUpdate(turn);
    } else {
      Abandon(turn, Ending::kFailed, "storing the update", status);
    }
  } else {
    return {};
  }
  return Finish(turn);
}

Effects DeviceSession::OnTrainingFinished(
    absl::Time now, CallId call, absl::StatusOr<FinishedUpdate> update) {
  if (!Awaited(Phase::kTraining, call)) return {};
  Turn turn(now);
  awaiting_ = false;
  if (!update.ok()) {
    Abandon(turn, Ending::kFailed, "training", update.status());
    return Finish(turn);
  }
  std::optional<PrivacyCharge> charge;
  if (work_->privacy != nullptr) {
    absl::StatusOr<std::string> record = privacy_ledger_.Charge(
        *work_->privacy, work_->participation, work_->ledger);
    if (!record.ok()) {
      Abandon(turn, Ending::kRefused, "the assignment", record.status());
      return Finish(turn);
    }
    charge = {work_->participation.task, *std::move(record)};
  }
  work_->record.update = *update;
  phase_ = Phase::kPersisting;
  turn.Add(Persist{NextCall(absl::InfiniteFuture()), work_->record,
                   std::move(charge)});
  return Finish(turn);
}

Effects DeviceSession::OnUploadAnswer(absl::Time now, CallId call,
                                      absl::StatusOr<v1::UploadResult> answer) {
  if (!Awaited(Phase::kUploading, call)) return {};
  Turn turn(now);
  if (!answer.ok()) {
    CallFailed(turn, answer.status());
    return Finish(turn);
  }
  switch (answer->outcome()) {
    case v1::UploadResult::ACKNOWLEDGED:
      UpdateAcknowledged(turn);
      break;
    case v1::UploadResult::TOO_LATE:
      UpdateTooLate(turn, answer->reason());
      break;
    case v1::UploadResult::REFUSED:
      UpdateRefused(turn, answer->reason());
      break;
    default:
      CallFailed(
          turn, absl::InternalError("the coordinator's answer has no outcome"));
  }
  return Finish(turn);
}

Effects DeviceSession::OnAggregated(absl::Time now, CallId call,
                                    absl::StatusOr<SecureOutcome> outcome) {
  if (!Awaited(Phase::kAggregating, call)) return {};
  Turn turn(now);
  if (!outcome.ok()) {
    CallFailed(turn, outcome.status());
    return Finish(turn);
  }
  switch (outcome->kind) {
    case SecureOutcome::Kind::kCounted:
      UpdateAcknowledged(turn);
      break;
    case SecureOutcome::Kind::kTooLate:
      UpdateTooLate(turn, outcome->reason);
      break;
    case SecureOutcome::Kind::kRefused:
      UpdateRefused(turn, outcome->reason);
      break;
    case SecureOutcome::Kind::kLost:
      awaiting_ = false;
      Abandon(turn, Ending::kLost, "the masked update",
              absl::AbortedError(outcome->reason));
      break;
  }
  return Finish(turn);
}

Effects DeviceSession::OnReportAnswer(absl::Time now, CallId call,
                                      absl::Status status) {
  if (!Awaited(Phase::kReporting, call)) return {};
  Turn turn(now);
  if (status.ok()) {
    End(turn, /*success=*/false);
  } else {
    CallFailed(turn, status);
  }
  return Finish(turn);
}

Effects DeviceSession::Stop(absl::Time now) {
  Turn turn(now);
  if (phase_ == Phase::kTraining) turn.Add(StopTraining{true});
  phase_ = Phase::kStopped;
  awaiting_ = false;
  return std::move(turn.effects);
}

}  // namespace mledge
