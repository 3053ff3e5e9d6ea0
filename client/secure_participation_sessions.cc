#include <utility>
#include <variant>

#include "mledge/client/internal/secure_turn.h"
#include "mledge/client/secure_participation.h"
#include "mledge/core/strings.h"

// One session after the other, until the update is in a sum or used up.

namespace mledge {
namespace {

MaskedInputAction ActionOf(secagg::PersistJournal::MaskedInput action) {
  switch (action) {
    case secagg::PersistJournal::MaskedInput::kKeep:
      return MaskedInputAction::kKeep;
    case secagg::PersistJournal::MaskedInput::kStore:
      return MaskedInputAction::kStore;
    case secagg::PersistJournal::MaskedInput::kErase:
      return MaskedInputAction::kErase;
  }
  return MaskedInputAction::kErase;
}

}  // namespace

// Encoding and masking run here, inside one event. A million values with a
// hundred neighbours take less than 100 ms; no round waits for that.
void SecureParticipation::MakeClient(Turn& turn) {
  in_session_ = false;
  absl::StatusOr<std::vector<secagg::ModularVector>> sections =
      codec_.Encode(*inputs_.update, *dependencies_.rounding);
  if (!sections.ok()) {
    Finish(turn, sections.status());
    return;
  }
  secagg::ClientUpdate update;
  update.id = assignment_id_;
  update.task = inputs_.task;
  update.package = inputs_.package;
  update.base_version = inputs_.base_version;
  update.base_version_entry = inputs_.base_version_entry;
  update.sections = *std::move(sections);
  const auto journal = journal_.bytes.bytes(RevealSecret());
  absl::StatusOr<std::unique_ptr<secagg::SecaggClient>> client =
      secagg::SecaggClient::Create(
          options_.policy, std::move(update),
          {.signer = dependencies_.signer,
           .members = dependencies_.members,
           .random = dependencies_.random,
           .registrar = dependencies_.registrar,
           .cryptography = dependencies_.cryptography},
          {reinterpret_cast<const char*>(journal.data()), journal.size()},
          journal_.masked_input);
  if (absl::IsFailedPrecondition(client.status())) {
    // It was in a session before a restart, and what became of that is not
    // known here.
    AwaitVerdict(turn);
    return;
  }
  if (!client.ok()) {
    Finish(turn, client.status());
    return;
  }
  client_ = *std::move(client);
  in_session_ = client_->update_spent();
  Apply(turn, client_->Start(turn.now));
}

void SecureParticipation::Apply(Turn& turn, secagg::ClientEffects effects) {
  for (secagg::ClientEffect& effect : effects) {
    if (auto* send = std::get_if<secagg::SendToServer>(&effect)) {
      if (send->message.has_share_boxes()) refusals_ = 0;
      if (!quiet_) Send(turn, std::move(send->message));
    } else if (auto* persist = std::get_if<secagg::PersistJournal>(&effect)) {
      journal_.bytes = persist->journal.Clone(RevealSecret());
      const MaskedInputAction action = ActionOf(persist->masked_input_action);
      if (action != MaskedInputAction::kKeep) {
        journal_.masked_input = persist->masked_input;  // null when erased
      }
      save_ = NextCall();
      save_record_ = persist->record;
      turn.Add(SaveSecaggJournal{save_, inputs_.task,
                                 std::move(persist->journal), action,
                                 std::move(persist->masked_input)});
    } else if (auto* upload = std::get_if<secagg::UploadMaskedInput>(&effect)) {
      // Asked for again while it is on its way: once is enough.
      if (upload_.has_value()) continue;
      upload_ = MaskedUpload{};
      upload_->header.set_assignment_id(assignment_id_);
      upload_->header.set_content_sha256(upload->content_sha256.ToBytes());
      upload_->header.set_size_in_bytes(upload->bytes->size());
      upload_->header.set_session(upload->session.ToBytes());
      upload_->bytes = std::move(upload->bytes);
      SendUpload(turn);
    } else if (auto* wake = std::get_if<secagg::WakeClientAt>(&effect)) {
      client_wakes_at_ = wake->time;
    } else if (auto* end = std::get_if<secagg::ClientFinished>(&effect)) {
      ended_ = std::move(*end);
      client_wakes_at_ = absl::InfiniteFuture();
      upload_.reset();
      upload_backoff_.Reset();
    }
  }
}

void SecureParticipation::Abandon(Turn& turn, std::string_view why) {
  quiet_ = true;
  Apply(turn, client_->Leave(turn.now, absl::AbortedError(StrCat(why))));
  quiet_ = false;
}

// The journal of the session that has ended is on the disk, without secrets.
void SecureParticipation::AfterSession(Turn& turn) {
  using Outcome = secagg::ClientFinished::Outcome;
  using Kind = SecureOutcome::Kind;
  const secagg::ClientFinished end = *std::exchange(ended_, std::nullopt);
  const bool superseded = std::exchange(superseded_, false);
  const std::string reason(end.reason.message());
  client_.reset();
  if (end.outcome == Outcome::kCounted) {
    Finish(turn, SecureOutcome{Kind::kCounted, ""});
    return;
  }
  if (result_.has_value()) {
    Finish(turn, *std::move(result_));
    return;
  }
  if (end.update_spent) {
    if (end.outcome == Outcome::kLeft && !superseded) {
      turn.Warn(StrCat("Secure aggregation of assignment ", assignment_id_,
                       " (task ", task_id_,
                       "): left the session after the masked input: ", reason));
      AwaitVerdict(turn);
    } else {
      Finish(turn, SecureOutcome{Kind::kLost, reason});
    }
    return;
  }
  if (end.outcome == Outcome::kLeft && !superseded) {
    turn.Warn(StrCat(
        "Secure aggregation of assignment ", assignment_id_, " (task ",
        task_id_, "): this device does not take part in a session: ", reason));
    if (++refusals_ >= options_.maximum_refusals) {
      Finish(turn, absl::FailedPreconditionError(reason));
      return;
    }
  } else {
    turn.Say(StrCat("Secure aggregation of assignment ", assignment_id_,
                    " (task ", task_id_, "): a session came to nothing (",
                    reason, "); the update waits for the next one"));
  }
  MakeClient(turn);
  if (finished_ || client_ == nullptr) return;
  if (next_offer_.has_value()) {
    const v1::SecaggServerMessage offer =
        *std::exchange(next_offer_, std::nullopt);
    OnSecagg(turn, offer);
  }
}

void SecureParticipation::AwaitVerdict(Turn& turn) {
  client_.reset();
  verdict_by_ = turn.now + options_.verdict_wait;
}

}  // namespace mledge
