#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 5 on the device: who is in the sum. Nobody is both alive and dead; the
// registrar vouches that everybody in the group is told the same; and enough
// neighbours have signed the same sets, so that a server that has the registrar
// on its side still cannot collect one kind of share of a device from some and
// the other kind from the rest.

namespace mledge::secagg {
namespace {

absl::Status RefuseSets(std::string_view why) {
  return absl::FailedPreconditionError(StrCat("sets: ", why));
}

}  // namespace

absl::Status SecaggClient::CheckSetsWitness() const {
  const Session& session = *session_;
  const SetsStatement& witness = *session.sets_witness;
  if (witness.task != session.offer.task ||
      witness.session_number != session.offer.session_number ||
      witness.group != session.group || witness.session != session.id ||
      witness.sets != SetsHash(session.id, session.group,
                               session.alive->bytes(), session.dead->bytes())) {
    return RefuseSets("the registrar's statement is about something else");
  }
  return Annotate(
      dependencies_.cryptography->Verify(witness, *dependencies_.registrar),
      "sets");
}

absl::Status SecaggClient::OnSets(const v1::SecaggSetsMessage& message) {
  MLEDGE_RETURN_IF_ERROR(CheckSession(message.session()));
  Session& session = *session_;
  const uint32_t members = session.parameters().devices;
  MLEDGE_ASSIGN_OR_RETURN(
      MemberSet alive, MemberSet::FromBytes("alive", message.alive(), members));
  MLEDGE_ASSIGN_OR_RETURN(
      MemberSet dead, MemberSet::FromBytes("dead", message.dead(), members));
  if (alive.Intersects(dead)) {
    return RefuseSets("a member is both alive and dead");
  }
  if (!alive.Contains(session.member)) {
    return RefuseSets("this device is not among those alive");
  }
  if (alive.Count() < session.parameters().least_alive) {
    return RefuseSets(StrCat("only ", alive.Count(), " are alive, where ",
                             session.parameters().least_alive,
                             " were promised"));
  }
  uint32_t alive_neighbors = 0;
  for (const Neighbor& neighbor : session.neighbors) {
    if (alive.Contains(neighbor.member)) ++alive_neighbors;
    const bool named =
        alive.Contains(neighbor.member) || dead.Contains(neighbor.member);
    if (named != neighbor.masked) {
      return RefuseSets(StrCat("member ", neighbor.member,
                               neighbor.masked
                                   ? " shared and is neither alive nor dead"
                                   : " is named, but its box was kept back"));
    }
  }
  // Fewer could not open this device's self-mask, so an honest server does not
  // ask; a signature would only help one that shows others something else.
  if (alive_neighbors < session.parameters().threshold) {
    return RefuseSets(StrCat("only ", alive_neighbors,
                             " neighbors are alive, where ",
                             session.parameters().threshold, " are needed"));
  }
  session.alive = std::move(alive);
  session.dead = std::move(dead);
  MLEDGE_ASSIGN_OR_RETURN(session.sets_witness,
                          SetsStatement::FromProto(message.witness()));
  MLEDGE_RETURN_IF_ERROR(CheckSetsWitness());

  state_ = State::kSigning;
  Persist(PersistJournal::MaskedInput::kKeep);
  return absl::OkStatus();
}

// Runs once the sets are on disk: a device that crashes signs no others.
void SecaggClient::SignSets() {
  const std::string id = session_->id.ToBytes();
  v1::SecaggDeviceMessage message;
  message.mutable_sets_signature()->set_session(id);
  message.mutable_sets_signature()->set_signature(dependencies_.signer->Sign(
      SignedBytes(kSetsContext,
                  {id, session_->alive->bytes(), session_->dead->bytes()})));
  state_ = State::kSigned;
  Send(std::move(message));
}

absl::Status SecaggClient::OnSignatures(
    const v1::SecaggSignaturesMessage& message) {
  MLEDGE_RETURN_IF_ERROR(CheckSession(message.session()));
  Session& session = *session_;
  const std::string signed_bytes = SignedBytes(
      kSetsContext,
      {session.id.ToBytes(), session.alive->bytes(), session.dead->bytes()});
  const uint32_t threshold = session.parameters().threshold;
  uint32_t valid = 0;
  int64_t previous = -1;
  for (const auto& entry : message.signatures()) {
    if (static_cast<int64_t>(entry.member()) <= previous) {
      return absl::InvalidArgumentError(
          "signatures are not in the order of their members");
    }
    previous = entry.member();
    const Neighbor* const neighbor = session.FindNeighbor(entry.member());
    if (neighbor == nullptr || !session.alive->Contains(entry.member())) {
      return absl::InvalidArgumentError(
          StrCat("a signature of member ", entry.member(),
                 ", who is no neighbor that is alive"));
    }
    // A wrong one may be its sender's fault; it only does not count.
    if (valid < threshold &&
        dependencies_.members
            ->CheckSignature(neighbor->identity, signed_bytes,
                             entry.signature())
            .ok()) {
      ++valid;
    }
  }
  if (valid < threshold) {
    return absl::FailedPreconditionError(
        StrCat("only ", valid,
               " neighbors signed the sets that this device "
               "was shown, where ",
               threshold, " are needed"));
  }
  return ReleaseShares();
}

}  // namespace mledge::secagg
