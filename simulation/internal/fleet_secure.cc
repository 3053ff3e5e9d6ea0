// Devices of a simulated fleet in secure aggregation.
#include <algorithm>
#include <utility>
#include <variant>

#include "mledge/aggregation/update_file.h"
#include "mledge/client/uploader.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/simulation/internal/fleet.h"

namespace mledge::simulation_internal {
namespace {

// Steps before which a device may vanish.
enum Step { kShareKeys, kMaskedInput, kSignSets, kUnmask, kSteps };

// Sizes of what keys and signatures make a few bytes longer or shorter.
constexpr uint64_t kLeaf = 1000;
constexpr uint64_t kSignature = 72;
constexpr uint64_t kFrame = 8;  // a field's tag and length, at most

uint64_t SizeOnTheWire(const v1::SecaggDeviceMessage& message) {
  if (message.has_advertise()) return kLeaf + 2 * kFrame;
  if (message.has_sets_signature()) return 32 + kSignature + 3 * kFrame;
  return message.ByteSizeLong();
}

uint64_t SizeOnTheWire(const v1::SecureAggregationResponse& response) {
  if (response.has_revocation_list()) {
    return ChargedSize(response.revocation_list());
  }
  if (!response.has_secagg()) return response.ByteSizeLong();
  const v1::SecaggServerMessage& message = response.secagg();
  if (message.has_signatures()) {
    const auto count =
        static_cast<uint64_t>(message.signatures().signatures_size());
    return 32 + 3 * kFrame + count * (kSignature + 3 * kFrame);
  }
  if (!message.has_directory()) return response.ByteSizeLong();
  const v1::SecaggDirectoryMessage& directory = message.directory();
  uint64_t size = directory.directory().size() +
                  directory.witness().ByteSizeLong() +
                  directory.merkle_path().size() + 5 * kFrame;
  for (const auto& leaf : directory.leaves()) {
    size += kLeaf + leaf.merkle_path().size() + 4 * kFrame;
  }
  return size;
}

}  // namespace

void Fleet::Do(int64_t device, AggregateSecurely effect) {
  Active& active = *devices_[device].active;
  active.aggregation = std::make_unique<Aggregation>();
  Aggregation& aggregation = *active.aggregation;
  aggregation.number = ++last_aggregation_;
  aggregation.call = effect.call;
  if (!active.trained.has_value()) {
    // Its round had closed: nobody computed the update.
    React(queue_->now(), device, [this, device](Active&) {
      Aggregated(device, SecureOutcome{SecureOutcome::Kind::kTooLate,
                                       "the round closed while it trained"});
      return Effects();
    });
    return;
  }
  aggregation.vanishes_before = options_.model->VanishesBeforeStep(
      IdOf(device).value(), effect.assignment, kSteps);
  aggregation.randomness =
      options_.secure->RandomnessOf(IdOf(device).value(), effect.assignment);
  absl::StatusOr<std::unique_ptr<SecureParticipation>> participation =
      MakeParticipation(device, effect.assignment, *aggregation.randomness);
  if (!participation.ok()) {
    React(queue_->now(), device,
          [this, device, status = participation.status()](Active&) {
            Aggregated(device, status);
            return Effects();
          });
    return;
  }
  aggregation.participation = *std::move(participation);
  CarryOutSecurely(device, aggregation.participation->Start(queue_->now()));
}

absl::StatusOr<std::unique_ptr<SecureParticipation>> Fleet::MakeParticipation(
    int64_t device, const v1::Assignment& assignment,
    SecureFleet::Randomness& randomness) {
  Device& state = devices_[device];
  TrainedUpdate& trained = *state.active->trained;
  std::shared_ptr<const Update>& update = state.active->update;
  if (update != nullptr) {
    // Tried again.
  } else if (trained.update.has_value()) {
    update = std::make_shared<const Update>(*std::move(trained.update));
  } else {
    MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<UpdateFile> file,
                            UpdateFile::FromBytes(std::move(trained.file)));
    update = std::make_shared<const Update>(file->view().ToUpdate());
  }
  MLEDGE_ASSIGN_OR_RETURN(const secagg::MemberSigner* signer,
                          options_.secure->SignerOf(IdOf(device).value()));
  return SecureParticipation::Create(
      {.device = IdOf(device), .policy = options_.secure->policy()},
      {.signer = signer,
       .members = options_.secure->members(),
       .random = &randomness.keys,
       .rounding = &randomness.rounding,
       .registrar = options_.secure->registrar(),
       .cryptography = options_.secure->cryptography()},
      assignment, update,
      {.bytes = state.journal.bytes.Clone(RevealSecret()),
       .masked_input = state.journal.masked_input});
}

void Fleet::ReactSecurely(absl::Time time, int64_t device,
                          SecureReaction reaction) {
  const uint64_t number = devices_[device].active->aggregation->number;
  React(time, device,
        [this, device, number, reaction = std::move(reaction)](Active& active) {
          if (Aggregates(device, number)) {
            CarryOutSecurely(device,
                             reaction(*active.aggregation->participation));
          }
          return Effects();
        });
}

bool Fleet::Aggregates(int64_t device, uint64_t number) const {
  const std::unique_ptr<Active>& active = devices_[device].active;
  return active != nullptr && active->aggregation != nullptr &&
         active->aggregation->number == number &&
         active->aggregation->participation != nullptr;
}

void Fleet::CarryOutSecurely(int64_t device, SecureEffects effects) {
  const uint32_t generation = devices_[device].generation;
  for (SecureEffect& effect : effects) {
    // It may vanish, or have nothing left to do, in the middle.
    const Device& state = devices_[device];
    if (state.generation != generation || state.active == nullptr ||
        state.active->aggregation == nullptr) {
      return;
    }
    std::visit([&](auto& e) { DoSecurely(device, std::move(e)); }, effect);
  }
}

void Fleet::Aggregated(int64_t device, absl::StatusOr<SecureOutcome> outcome) {
  Active& active = *devices_[device].active;
  const CallId call = active.aggregation->call;
  active.aggregation.reset();
  CarryOut(device, active.session.OnAggregated(queue_->now(), call,
                                               std::move(outcome)));
}

bool Fleet::VanishesBefore(int64_t device, int step) {
  const Active& active = *devices_[device].active;
  if (active.aggregation->vanishes_before != step) return false;
  const absl::Time expires = absl::FromUnixMillis(
      active.session.assignment()->expires_at_unix_milliseconds());
  Vanish(device, std::max(queue_->now(), expires) + kAbsence);
  return true;
}

void Fleet::DoSecurely(int64_t device, OpenSecureStream effect) {
  devices_[device].active->aggregation->stream_call = effect.call;
  ReactSecurely(
      queue_->now() + Up(device, effect.join.ByteSizeLong()), device,
      [this, device, effect](SecureParticipation& participation) {
        Aggregation& aggregation = *devices_[device].active->aggregation;
        absl::StatusOr<std::unique_ptr<Coordinator::SecureStream>> stream =
            link_.JoinSecureAggregation(
                queue_->now(), PeerOf(device), effect.join,
                [this, device, number = aggregation.number, call = effect.call](
                    const v1::SecureAggregationResponse& response) {
                  if (!Aggregates(device, number)) return;
                  Aggregation& to = *devices_[device].active->aggregation;
                  to.last_received = std::max(
                      to.last_received,
                      queue_->now() + Down(device, SizeOnTheWire(response)));
                  ReactSecurely(
                      to.last_received, device,
                      [this, call, response](SecureParticipation& to_whom) {
                        return to_whom.OnStreamMessage(queue_->now(), call,
                                                       response);
                      });
                });
        if (!stream.ok()) {
          return participation.OnStreamClosed(queue_->now(), effect.call,
                                              stream.status());
        }
        aggregation.stream = *std::move(stream);
        return SecureEffects();
      });
}

void Fleet::DoSecurely(int64_t device, SendSecurely effect) {
  const v1::SecaggDeviceMessage& message = effect.message;
  if ((message.has_share_boxes() && VanishesBefore(device, kShareKeys)) ||
      (message.has_sets_signature() && VanishesBefore(device, kSignSets)) ||
      (message.has_unmask() && VanishesBefore(device, kUnmask))) {
    return;
  }
  Aggregation& aggregation = *devices_[device].active->aggregation;
  aggregation.last_sent =
      std::max(aggregation.last_sent,
               queue_->now() + Up(device, SizeOnTheWire(message)));
  ReactSecurely(aggregation.last_sent, device,
                [this, device, message](SecureParticipation&) {
                  Aggregation& now = *devices_[device].active->aggregation;
                  if (now.stream != nullptr) {
                    link_.SendSecurely(queue_->now(), *now.stream, message);
                  }
                  return SecureEffects();
                });
}

void Fleet::DoSecurely(int64_t device, CloseSecureStream) {
  devices_[device].active->aggregation->stream.reset();
}

void Fleet::DoSecurely(int64_t device, SaveSecaggJournal effect) {
  SecaggJournal& journal = devices_[device].journal;
  journal.bytes = std::move(effect.journal);
  if (effect.action != MaskedInputAction::kKeep) {
    journal.masked_input = std::move(effect.masked_input);
  }
  ReactSecurely(queue_->now(), device,
                [this, call = effect.call](SecureParticipation& participation) {
                  return participation.OnSaved(queue_->now(), call,
                                               absl::OkStatus());
                });
}

void Fleet::DoSecurely(int64_t device, UploadMasked effect) {
  if (VanishesBefore(device, kMaskedInput)) return;
  const auto answer =
      [this, device, number = devices_[device].active->aggregation->number,
       call = effect.call](absl::StatusOr<v1::UploadResult> result) {
        if (!Aggregates(device, number)) return;
        const uint64_t bytes = result.ok() ? result->ByteSizeLong() : 0;
        ReactSecurely(
            queue_->now() + Down(device, bytes), device,
            [this, call,
             result = std::move(result)](SecureParticipation& participation) {
              return participation.OnUploadAnswer(queue_->now(), call, result);
            });
      };
  const uint64_t size = effect.header.ByteSizeLong() +
                        ChunkedBytes(effect.bytes->size(), kUploadChunkInBytes);
  ReactSecurely(
      queue_->now() + Up(device, size), device,
      [this, device, effect, answer](SecureParticipation&) {
        absl::StatusOr<Coordinator::UploadStart> start =
            link_.BeginUpload(queue_->now(), PeerOf(device), effect.header);
        if (!start.ok()) {
          answer(start.status());
        } else if (start->result.has_value()) {
          answer(*start->result);
        } else {
          link_.FinishMaskedUpload(queue_->now(), PeerOf(device), effect.header,
                                   std::move(start->writer), *effect.bytes,
                                   answer);
        }
        return SecureEffects();
      });
}

void Fleet::DoSecurely(int64_t, KeepListNumber) {}  // the registry lives on

void Fleet::DoSecurely(int64_t device, ::mledge::Aggregated effect) {
  React(queue_->now(), device,
        [this, device, outcome = std::move(effect.outcome)](Active&) {
          Aggregated(device, outcome);
          return Effects();
        });
}

void Fleet::DoSecurely(int64_t device, WakeAt effect) {
  devices_[device].active->aggregation->wake_at = effect.time;
  if (effect.time == absl::InfiniteFuture()) return;
  ReactSecurely(
      effect.time, device,
      [this, device, time = effect.time](SecureParticipation& participation) {
        const Aggregation& now = *devices_[device].active->aggregation;
        if (now.wake_at != time) return SecureEffects();
        return participation.OnWake(queue_->now());
      });
}

void Fleet::DoSecurely(int64_t device, Notice effect) {
  Do(device, std::move(effect));
}

}  // namespace mledge::simulation_internal
