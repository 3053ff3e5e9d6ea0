#include "mledge/client/secure_participation.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "mledge/client/internal/secure_turn.h"
#include "mledge/client/training_plan.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/v1/model.pb.h"

// Events, and what is made of what the coordinator says. The sessions
// themselves, one after the other, are in secure_participation_sessions.cc.

namespace mledge {
absl::StatusOr<std::unique_ptr<SecureParticipation>>
SecureParticipation::Create(Options options, Dependencies dependencies,
                            const v1::Assignment& assignment,
                            std::shared_ptr<const Update> update,
                            SecaggJournal journal) {
  if (dependencies.signer == nullptr || dependencies.members == nullptr ||
      dependencies.random == nullptr || dependencies.rounding == nullptr ||
      !dependencies.registrar.has_value() || update == nullptr ||
      options.maximum_refusals < 1) {
    return absl::InvalidArgumentError(
        "secure aggregation needs a signer, members, randomness, the "
        "registrar's witness key and an update");
  }
  // What the device would accept is not what the operator asked for.
  if (!assignment.secure().semi_honest()) {
    options.policy.session.threat_model = secagg::ThreatModel::kSemiMalicious;
  }
  // Both were compared with the signed task (assignment_check.h).
  options.policy.session.least_honest =
      assignment.secure().grid().least_honest();
  options.policy.session.noise_corrupt_fraction =
      assignment.secure().grid().corrupt_fraction();
  MLEDGE_ASSIGN_OR_RETURN(
      secagg::UpdateCodec codec,
      secagg::UpdateCodec::Create(MakeCodecOptions(assignment.secure())));
  SessionInputs inputs;
  MLEDGE_ASSIGN_OR_RETURN(inputs.task,
                          Digest::FromBytes(assignment.secure().task_sha256()));
  MLEDGE_ASSIGN_OR_RETURN(inputs.package,
                          Digest::FromBytes(assignment.package().sha256()));
  const std::string& payload = assignment.version_statement().payload();
  v1::VersionStatement version;
  if (!version.ParseFromString(payload) || version.version() < 0) {
    return absl::InvalidArgumentError(
        "the assignment's version statement cannot be read");
  }
  inputs.base_version = static_cast<uint64_t>(version.version());
  inputs.base_version_entry = Sha256Of(payload);
  inputs.update = std::move(update);
  return std::unique_ptr<SecureParticipation>(new SecureParticipation(
      std::move(options), std::move(dependencies), assignment,
      std::move(inputs), std::move(codec), std::move(journal)));
}

SecureParticipation::SecureParticipation(Options options,
                                         Dependencies dependencies,
                                         const v1::Assignment& assignment,
                                         SessionInputs inputs,
                                         secagg::UpdateCodec codec,
                                         SecaggJournal journal)
    : options_(std::move(options)),
      dependencies_(std::move(dependencies)),
      task_id_(assignment.task_id()),
      assignment_id_(assignment.assignment_id()),
      inputs_(std::move(inputs)),
      codec_(std::move(codec)),
      journal_(std::move(journal)),
      stream_backoff_(options_.backoff,
                      JitterStream(options_.device, "stream-backoff")),
      upload_backoff_(options_.backoff,
                      JitterStream(options_.device, "masked-upload-backoff")) {}

SecureParticipation::~SecureParticipation() = default;

SecureEffects SecureParticipation::Start(absl::Time now) {
  Turn turn(now);
  MakeClient(turn);
  if (!finished_) OpenStream(turn);
  return EndTurn(turn);
}

SecureEffects SecureParticipation::OnStreamMessage(
    absl::Time now, CallId stream,
    const v1::SecureAggregationResponse& message) {
  if (finished_ || !stream_open_ || stream != stream_) return {};
  Turn turn(now);
  switch (message.message_case()) {
    case v1::SecureAggregationResponse::kRevocationList:
      OnList(turn, message.revocation_list());
      break;
    case v1::SecureAggregationResponse::kSecagg:
      OnSecagg(turn, message.secagg());
      break;
    case v1::SecureAggregationResponse::kResult:
      OnResult(turn, message.result());
      break;
    case v1::SecureAggregationResponse::MESSAGE_NOT_SET:
      Reopen(turn, absl::InternalError(
                       "the coordinator sent an empty message during secure "
                       "aggregation"));
      break;
  }
  return EndTurn(turn);
}

void SecureParticipation::OnList(Turn& turn, const v1::SignedMessage& list) {
  const uint64_t before = dependencies_.members->list_number();
  const absl::Status updated = dependencies_.members->Update(list, turn.now);
  if (!updated.ok()) {
    // The one that is here will do; else the next stream may bring a better
    // one.
    if (dependencies_.members->CheckFresh(turn.now).ok()) return;
    Reopen(turn, updated);
    return;
  }
  stream_backoff_.Reset();
  const uint64_t number = dependencies_.members->list_number();
  if (number > before) turn.Add(KeepListNumber{number});
}

void SecureParticipation::OnSecagg(Turn& turn,
                                   const v1::SecaggServerMessage& message) {
  if (client_ == nullptr) {
    OnVerdict(turn, message);
    return;
  }
  if (ended_.has_value()) {
    if (message.has_offer()) next_offer_ = message;
    return;
  }
  if (const absl::Status fresh = dependencies_.members->CheckFresh(turn.now);
      !fresh.ok()) {
    Reopen(turn, fresh);
    return;
  }
  if (!message.has_offer()) {
    if (in_session_) {
      if (message.has_signatures()) {
        turn.Say(StrCat("Secure aggregation of assignment ", assignment_id_,
                        " (task ", task_id_, "): asked to unmask session ",
                        client_->session_number(), " of step ",
                        inputs_.base_version));
      }
      Apply(turn, client_->OnMessage(turn.now, message));
    } else if (!message.has_outcome() && !told_to_leave_) {
      // Of a session that this device has left, perhaps before a restart:
      // nobody need wait for it.
      told_to_leave_ = true;
      v1::SecaggDeviceMessage leave;
      leave.mutable_leave()->set_reason("left this session before");
      Send(turn, std::move(leave));
    }
    return;
  }
  const Digest offer = Sha256Of(message.offer().offer());
  if (!in_session_) {
    // The same again is of no use: this device has left that session.
    if (offer == offer_) return;
    offer_ = offer;
    in_session_ = true;
    told_to_leave_ = false;
    Apply(turn, client_->OnMessage(turn.now, message));
    return;
  }
  if (client_->update_spent()) {
    // A client that was restored knows its offer, and no other one.
    Apply(turn, client_->OnMessage(turn.now, message));
    if (ended_.has_value()) superseded_ = true;
    return;
  }
  if (offer != offer_) {
    next_offer_ = message;
    superseded_ = true;
    Abandon(turn, "the coordinator began another session");
    return;
  }
  Apply(turn, client_->OnMessage(turn.now, message));
}

void SecureParticipation::OnVerdict(Turn& turn,
                                    const v1::SecaggServerMessage& message) {
  if (message.has_outcome()) {
    const v1::SecaggOutcome& outcome = message.outcome();
    Finish(turn, SecureOutcome{outcome.outcome() == v1::SecaggOutcome::COUNTED
                                   ? SecureOutcome::Kind::kCounted
                                   : SecureOutcome::Kind::kLost,
                               outcome.reason()});
  } else if (message.has_offer()) {
    Finish(turn, SecureOutcome{SecureOutcome::Kind::kLost,
                               "the session that it was in is over"});
  }
}

void SecureParticipation::OnResult(Turn& turn, const v1::UploadResult& result) {
  using Kind = SecureOutcome::Kind;
  const bool spent = client_ == nullptr || client_->update_spent();
  SecureOutcome outcome{.kind = Kind::kLost, .reason = result.reason()};
  switch (result.outcome()) {
    case v1::UploadResult::ACKNOWLEDGED:
      outcome.kind = spent ? Kind::kCounted : Kind::kRefused;
      if (!spent) {
        outcome.reason =
            "the coordinator counts an update that never left this device";
      }
      break;
    case v1::UploadResult::TOO_LATE:
      if (!spent) outcome.kind = Kind::kTooLate;
      break;
    case v1::UploadResult::REFUSED:
      if (!spent) outcome.kind = Kind::kRefused;
      break;
    default:
      Reopen(turn, absl::InternalError(
                       "the coordinator's result of secure aggregation has no "
                       "outcome"));
      return;
  }
  if (client_ == nullptr) {
    Finish(turn, std::move(outcome));
    return;
  }
  result_ = std::move(outcome);
  // What the journal holds of the session is erased before anything else.
  if (!ended_.has_value()) Abandon(turn, "the assignment has ended");
}

SecureEffects SecureParticipation::OnStreamClosed(absl::Time now, CallId stream,
                                                  absl::Status status) {
  if (finished_ || !stream_open_ || stream != stream_) return {};
  Turn turn(now);
  stream_open_ = false;
  if (!kPermanentUploadFailures.Contains(status.code())) {
    Reopen(turn, status.ok()
                     ? absl::UnavailableError(
                           "the coordinator ended the stream without a result")
                     : status);
  } else if (client_ == nullptr || client_->update_spent()) {
    result_ = SecureOutcome{SecureOutcome::Kind::kLost,
                            std::string(status.message())};
    if (client_ == nullptr) {
      Finish(turn, *result_);
    } else if (!ended_.has_value()) {
      Abandon(turn, ToStdView(status.message()));
    }
  } else {
    Finish(turn, status);
  }
  return EndTurn(turn);
}

SecureEffects SecureParticipation::OnSaved(absl::Time now, CallId call,
                                           absl::Status status) {
  if (finished_ || call != save_ || client_ == nullptr) return {};
  Turn turn(now);
  save_ = CallId();
  if (ended_.has_value()) {
    if (!status.ok()) {
      turn.Warn(StrCat("The journal of secure aggregation for task ", task_id_,
                       " cannot be written after the session's end; what it "
                       "held before stays on the disk: ",
                       status.message()));
    }
    AfterSession(turn);
  } else if (status.ok()) {
    Apply(turn, client_->OnPersisted(now, save_record_));
  } else {
    // What is not on the disk must not leave the device.
    Apply(turn, client_->Leave(now, status));
  }
  return EndTurn(turn);
}

SecureEffects SecureParticipation::OnUploadAnswer(
    absl::Time now, CallId call, absl::StatusOr<v1::UploadResult> answer) {
  if (finished_ || !upload_.has_value() || !upload_->awaiting ||
      call != upload_->call) {
    return {};
  }
  Turn turn(now);
  upload_->awaiting = false;
  const auto outcome =
      answer.ok() ? answer->outcome() : v1::UploadResult::OUTCOME_UNSPECIFIED;
  if (outcome == v1::UploadResult::RECEIVED ||
      outcome == v1::UploadResult::ACKNOWLEDGED) {
    // What comes of it is said on the stream.
    upload_.reset();
  } else if (outcome == v1::UploadResult::TOO_LATE ||
             outcome == v1::UploadResult::REFUSED ||
             kPermanentUploadFailures.Contains(answer.status().code())) {
    upload_.reset();
    if (client_ != nullptr && !ended_.has_value()) {
      Apply(turn,
            client_->Leave(
                now, absl::FailedPreconditionError(StrCat(
                         "the masked input was not taken: ",
                         answer.ok() ? std::string_view(answer->reason())
                                     : ToStdView(answer.status().message())))));
    }
  } else {
    const absl::Duration pause = upload_backoff_.Next();
    upload_->retry_at = now + pause;
    turn.Warn(StrCat("Uploading the masked input of assignment ",
                     assignment_id_, " failed, next attempt in ",
                     ToStdView(absl::FormatDuration(pause)), ": ",
                     answer.ok() ? "the answer has no outcome"
                                 : ToStdView(answer.status().message())));
  }
  return EndTurn(turn);
}

SecureEffects SecureParticipation::OnWake(absl::Time now) {
  if (finished_) return {};
  Turn turn(now);
  wake_at_ = absl::InfiniteFuture();
  if (now < last_turn_) {
    // A clock that was set back lengthens no pause.
    reopen_at_ -= last_turn_ - now;
    verdict_by_ -= last_turn_ - now;
    if (upload_.has_value()) upload_->retry_at -= last_turn_ - now;
  }
  if (now >= verdict_by_) {
    Finish(turn, SecureOutcome{SecureOutcome::Kind::kLost,
                               "no word came about the session it was in"});
    return EndTurn(turn);
  }
  if (now >= reopen_at_) OpenStream(turn);
  if (upload_.has_value() && !upload_->awaiting && now >= upload_->retry_at) {
    SendUpload(turn);
  }
  if (now >= client_wakes_at_) {
    client_wakes_at_ = absl::InfiniteFuture();
    if (client_ != nullptr && !ended_.has_value()) {
      Apply(turn, client_->OnTimer(now));
    }
  }
  return EndTurn(turn);
}

void SecureParticipation::OpenStream(Turn& turn) {
  reopen_at_ = absl::InfiniteFuture();
  stream_ = NextCall();
  stream_open_ = true;
  v1::SecureAggregationJoin join;
  join.set_assignment_id(assignment_id_);
  turn.Add(OpenSecureStream{stream_, std::move(join)});
}

void SecureParticipation::Reopen(Turn& turn, const absl::Status& why) {
  if (stream_open_) turn.Add(CloseSecureStream{stream_});
  stream_open_ = false;
  const absl::Duration pause = stream_backoff_.Next();
  reopen_at_ = turn.now + pause;
  turn.Warn(StrCat("Secure aggregation of assignment ", assignment_id_,
                   " (task ", task_id_, ") is cut off, next attempt in ",
                   ToStdView(absl::FormatDuration(pause)), ": ",
                   why.message()));
}

void SecureParticipation::Send(Turn& turn, v1::SecaggDeviceMessage message) {
  // What is not sent now is asked for again when the stream is back.
  if (stream_open_) turn.Add(SendSecurely{stream_, std::move(message)});
}

void SecureParticipation::SendUpload(Turn& turn) {
  upload_->call = NextCall();
  upload_->awaiting = true;
  upload_->retry_at = absl::InfiniteFuture();
  turn.Add(UploadMasked{upload_->call, upload_->header, upload_->bytes});
}

void SecureParticipation::Finish(Turn& turn,
                                 absl::StatusOr<SecureOutcome> outcome) {
  if (stream_open_) turn.Add(CloseSecureStream{stream_});
  stream_open_ = false;
  finished_ = true;
  turn.Add(Aggregated{std::move(outcome)});
}

CallId SecureParticipation::NextCall() {
  last_call_ = last_call_.Next();
  return last_call_;
}

// Tells the driver of the next wake-up where that has changed.
SecureEffects SecureParticipation::EndTurn(Turn& turn) {
  last_turn_ = turn.now;
  if (finished_) return std::move(turn.effects);
  absl::Time wake_at = std::min({reopen_at_, client_wakes_at_, verdict_by_});
  if (upload_.has_value()) wake_at = std::min(wake_at, upload_->retry_at);
  if (wake_at != wake_at_) {
    wake_at_ = wake_at;
    turn.Add(WakeAt{wake_at});
  }
  return std::move(turn.effects);
}

}  // namespace mledge
