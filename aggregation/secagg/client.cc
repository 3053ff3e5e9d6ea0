#include "mledge/aggregation/secagg/client.h"

#include <utility>

#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {

SecaggClient::Neighbor* SecaggClient::Session::FindNeighbor(uint32_t neighbor) {
  const auto found = std::lower_bound(
      neighbors.begin(), neighbors.end(), neighbor,
      [](const Neighbor& a, uint32_t b) { return a.member < b; });
  return found != neighbors.end() && found->member == neighbor ? &*found
                                                               : nullptr;
}

SecaggClient::SecaggClient(ClientPolicy policy, ClientUpdate update,
                           Dependencies dependencies)
    : policy_(std::move(policy)),
      update_(std::move(update)),
      dependencies_(std::move(dependencies)) {}

ClientEffects SecaggClient::TakeEffects() {
  return std::exchange(effects_, {});
}

void SecaggClient::Send(v1::SecaggDeviceMessage message) {
  answered_[answering_].reply = message;
  effects_.push_back(SendToServer{std::move(message)});
}

void SecaggClient::WakeAtExpiry() {
  effects_.push_back(WakeClientAt{session_->offer.expires});
}

void SecaggClient::SendUpload() {
  effects_.push_back(UploadMaskedInput{
      .session = session_->id,
      .content_sha256 = *Digest::FromBytes(session_->content_sha256),
      .bytes = masked_input_});
}

void SecaggClient::Persist(PersistJournal::MaskedInput action) {
  PersistJournal effect;
  effect.record = ++last_record_;
  effect.journal = SerializeJournal();
  effect.masked_input_action = action;
  if (action == PersistJournal::MaskedInput::kStore) {
    effect.masked_input = masked_input_;
  }
  effects_.push_back(std::move(effect));
}

void SecaggClient::Finish(ClientFinished::Outcome outcome,
                          absl::Status reason) {
  session_.reset();
  masked_input_.reset();
  answered_.clear();
  state_ = State::kFinished;
  Persist(PersistJournal::MaskedInput::kErase);
  effects_.push_back(ClientFinished{.outcome = outcome,
                                    .reason = std::move(reason),
                                    .update_spent = update_spent_});
}

absl::Status SecaggClient::CheckSession(std::string_view session) const {
  if (session_ == nullptr || !session_->directory.has_value() ||
      session != session_->id.ToBytes()) {
    return absl::InvalidArgumentError("a message of another session");
  }
  return absl::OkStatus();
}

absl::Status SecaggClient::Repeat(const v1::SecaggServerMessage& message,
                                  const Answered& answered) {
  if (answered.message != Sha256Of(message.SerializeAsString())) {
    return absl::FailedPreconditionError(
        "a second message of a kind that was answered already, and another "
        "one");
  }
  if (answered.reply.has_value()) {
    effects_.push_back(SendToServer{*answered.reply});
  } else if (message.has_boxes() && state_ >= State::kUploaded) {
    SendUpload();
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> SecaggClient::RepeatAfterRestart(
    const v1::SecaggServerMessage& message) {
  if (!restarted_) return false;
  if (message.has_offer() && message.offer().offer() == session_->offer.bytes) {
    return true;
  }
  if (message.has_directory() &&
      message.directory().directory() == session_->directory->bytes) {
    return true;
  }
  if (message.has_boxes()) {
    MLEDGE_RETURN_IF_ERROR(CheckSession(message.boxes().session()));
    SendUpload();
    return true;
  }
  if (message.has_sets() && state_ >= State::kSigned) {
    MLEDGE_RETURN_IF_ERROR(CheckSession(message.sets().session()));
    if (message.sets().alive() != session_->alive->bytes() ||
        message.sets().dead() != session_->dead->bytes()) {
      return absl::FailedPreconditionError(
          "other sets than those that were signed before the restart");
    }
    const State state = state_;
    SignSets();
    state_ = state;
    return true;
  }
  if (message.has_signatures() && state_ == State::kUnmasked) {
    MLEDGE_RETURN_IF_ERROR(CheckSession(message.signatures().session()));
    v1::SecaggDeviceMessage reply;
    *reply.mutable_unmask() = session_->unmask;
    Send(std::move(reply));
    return true;
  }
  return false;
}

absl::Status SecaggClient::Dispatch(absl::Time now,
                                    const v1::SecaggServerMessage& message) {
  MLEDGE_RETURN_IF_ERROR(
      RefuseUnknownFields("message of the coordinator", message));
  const int kind = message.message_case();
  if (message.has_outcome()) return OnOutcome(message.outcome());
  const auto answered = answered_.find(kind);
  if (answered != answered_.end()) return Repeat(message, answered->second);
  if (session_ != nullptr && now >= session_->offer.expires) {
    return absl::DeadlineExceededError("the session has expired");
  }

  State expected = State::kFinished;
  switch (kind) {
    case v1::SecaggServerMessage::kOffer:
      expected = State::kWaitingForOffer;
      break;
    case v1::SecaggServerMessage::kDirectory:
      expected = State::kAdvertised;
      break;
    case v1::SecaggServerMessage::kBoxes:
      expected = State::kShared;
      break;
    case v1::SecaggServerMessage::kSets:
      expected = State::kUploaded;
      break;
    case v1::SecaggServerMessage::kSignatures:
      expected = State::kSigned;
      break;
    default:
      return absl::InvalidArgumentError("a message without contents");
  }
  answering_ = kind;
  if (state_ != expected) {
    MLEDGE_ASSIGN_OR_RETURN(const bool repeated, RepeatAfterRestart(message));
    if (repeated) {
      answered_[kind].message = Sha256Of(message.SerializeAsString());
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        StrCat("a message of kind ", kind, " out of order"));
  }
  answered_[kind].message = Sha256Of(message.SerializeAsString());
  switch (kind) {
    case v1::SecaggServerMessage::kOffer:
      return OnOffer(now, message.offer());
    case v1::SecaggServerMessage::kDirectory:
      return OnDirectory(now, message.directory());
    case v1::SecaggServerMessage::kBoxes:
      return OnBoxes(message.boxes());
    case v1::SecaggServerMessage::kSets:
      return OnSets(message.sets());
    default:
      return OnSignatures(message.signatures());
  }
}

ClientEffects SecaggClient::Start(absl::Time now) {
  if (!journal_.session().empty()) {
    const absl::Status restored = RestoreSession(now);
    if (!restored.ok()) {
      EraseJournaledSession();
      return Leave(now, restored);
    }
    restarted_ = true;
    WakeAtExpiry();
    if (state_ == State::kUploaded) SendUpload();
  }
  return TakeEffects();
}

ClientEffects SecaggClient::OnMessage(absl::Time now,
                                      const v1::SecaggServerMessage& message) {
  if (finished()) return {};
  const absl::Status status = Dispatch(now, message);
  if (!status.ok()) return Leave(now, status);
  return TakeEffects();
}

ClientEffects SecaggClient::OnPersisted(absl::Time now, uint64_t record) {
  if (finished() || record != last_record_) return {};
  if (state_ == State::kJoining) {
    answering_ = v1::SecaggServerMessage::kOffer;
    const absl::Status status = Advertise();
    if (!status.ok()) return Leave(now, status);
  } else if (state_ == State::kMasking) {
    state_ = State::kUploaded;
    SendUpload();
  } else if (state_ == State::kSigning) {
    answering_ = v1::SecaggServerMessage::kSets;
    SignSets();
  } else if (state_ == State::kReleasing) {
    answering_ = v1::SecaggServerMessage::kSignatures;
    v1::SecaggDeviceMessage message;
    *message.mutable_unmask() = session_->unmask;
    state_ = State::kUnmasked;
    Send(std::move(message));
  }
  return TakeEffects();
}

ClientEffects SecaggClient::OnTimer(absl::Time now) {
  if (finished() || session_ == nullptr) return {};
  if (now < session_->offer.expires) {
    WakeAtExpiry();
    return TakeEffects();
  }
  return Leave(now, absl::DeadlineExceededError("the session has expired"));
}

ClientEffects SecaggClient::Leave(absl::Time, absl::Status reason) {
  if (finished()) return {};
  // What a failed handler wanted to send is not sent.
  effects_.clear();
  constexpr size_t kLongestReason = 200;
  v1::SecaggDeviceMessage message;
  message.mutable_leave()->set_reason(
      std::string(ToStdView(reason.message()).substr(0, kLongestReason)));
  effects_.push_back(SendToServer{std::move(message)});
  Finish(ClientFinished::Outcome::kLeft, std::move(reason));
  return TakeEffects();
}

}  // namespace mledge::secagg
