#include <algorithm>
#include <utility>

#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/aggregation/secagg/wiping_bytes.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// What a device keeps of a session, and how it goes on after a restart: with
// its masked input from the disk, or not at all.

namespace mledge::secagg {
namespace {

constexpr size_t kMaximumJournalSize = size_t{64} << 20;
constexpr size_t kLongestUpdateId = 256;
// More are remembered where a day may have more sessions.
constexpr int64_t kFewestSpentUpdates = 256;

void Wipe(std::string& secret) {
  WipeMemory({reinterpret_cast<uint8_t*>(secret.data()), secret.size()});
  secret.clear();
}

// Protobuf does not wipe what it held.
void WipeShares(v1::SecaggJournal& journal) {
  for (v1::SecaggJournal::Neighbor& neighbor : *journal.mutable_neighbors()) {
    Wipe(*neighbor.mutable_mask_key_share());
    Wipe(*neighbor.mutable_self_mask_share());
  }
}

std::string ToString(const ShareValue& value) {
  const auto bytes = value.bytes(RevealSecret());
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace

// Also where a journal was read and refused.
SecaggClient::~SecaggClient() { WipeShares(journal_); }

// Keeps only what outlives a session.
void SecaggClient::EraseJournaledSession() {
  WipeShares(journal_);
  v1::SecaggJournal lasting;
  lasting.set_session_number(journal_.session_number());
  *lasting.mutable_joined_unix_milliseconds() =
      journal_.joined_unix_milliseconds();
  *lasting.mutable_spent_updates() = journal_.spent_updates();
  journal_ = std::move(lasting);
}

SecretBytes SecaggClient::SerializeJournal() const {
  v1::SecaggJournal journal;
  journal.set_session_number(journal_.session_number());
  *journal.mutable_joined_unix_milliseconds() =
      journal_.joined_unix_milliseconds();
  *journal.mutable_spent_updates() = journal_.spent_updates();
  if (session_ != nullptr && state_ >= State::kMasking) {
    const Session& session = *session_;
    journal.set_session(session.id.ToBytes());
    journal.set_offer(session.offer.bytes);
    journal.set_directory(session.directory->bytes);
    journal.set_cohort_index(session.cohort_index);
    journal.set_group(session.group);
    journal.set_member(session.member);
    journal.set_masked_input_sha256(session.content_sha256);
    for (const Neighbor& neighbor : session.neighbors) {
      v1::SecaggJournal::Neighbor& entry = *journal.add_neighbors();
      entry.set_member(neighbor.member);
      entry.mutable_certificates()->Assign(neighbor.certificates.begin(),
                                           neighbor.certificates.end());
      entry.set_masked(neighbor.masked);
      if (neighbor.shares.has_value()) {
        entry.set_mask_key_share(ToString(neighbor.shares->mask_key));
        entry.set_self_mask_share(ToString(neighbor.shares->self_mask));
      }
    }
    if (session.alive.has_value()) {
      journal.set_alive(session.alive->bytes());
      journal.set_dead(session.dead->bytes());
      *journal.mutable_sets_witness() = session.sets_witness->ToProto();
    }
    if (session.unmask.members_size() > 0) {
      journal.set_unmask(session.unmask.SerializeAsString());
    }
  }
  SecretBytes bytes(journal.ByteSizeLong());
  journal.SerializeWithCachedSizesToArray(
      bytes.mutable_bytes(RevealSecret()).data());
  WipeShares(journal);
  return bytes;
}

void SecaggClient::RememberSpent() {
  update_spent_ = true;
  auto& spent = *journal_.mutable_spent_updates();
  *spent.Add() = update_.id;
  const int64_t most = std::max(kFewestSpentUpdates, policy_.sessions_per_day);
  if (spent.size() > most) {
    spent.DeleteSubrange(0, static_cast<int>(spent.size() - most));
  }
}

absl::StatusOr<std::unique_ptr<SecaggClient>> SecaggClient::Create(
    ClientPolicy policy, ClientUpdate update, Dependencies dependencies,
    std::string_view journal, std::shared_ptr<const std::string> masked_input) {
  if (update.id.empty() || update.id.size() > kLongestUpdateId) {
    return absl::InvalidArgumentError(
        StrCat("an update needs a name of 1 to ", kLongestUpdateId, " bytes"));
  }
  if (dependencies.signer == nullptr || dependencies.members == nullptr ||
      dependencies.random == nullptr || !dependencies.registrar.has_value()) {
    return absl::InvalidArgumentError(
        "secure aggregation needs a signer, a verifier, randomness and the "
        "registrar's witness key");
  }
  dependencies.members =
      dependencies.cryptography->VerifierFor(dependencies.members);
  if (policy.registrar_sessions_per_day < 1 || policy.sessions_per_day < 1) {
    return absl::InvalidArgumentError("sessions a day must be at least 1");
  }
  std::unique_ptr<SecaggClient> client(new SecaggClient(
      std::move(policy), std::move(update), std::move(dependencies)));
  v1::SecaggJournal& kept = client->journal_;
  if (journal.size() > kMaximumJournalSize ||
      !kept.ParseFromArray(journal.data(), static_cast<int>(journal.size()))) {
    return absl::DataLossError("the journal of secure aggregation is damaged");
  }
  const auto& all_spent = kept.spent_updates();
  const bool spent = std::find(all_spent.begin(), all_spent.end(),
                               client->update_.id) != all_spent.end();
  // The session in the journal is that of the last one.
  const bool resumable =
      spent && *all_spent.rbegin() == client->update_.id &&
      !kept.session().empty() && masked_input != nullptr &&
      Sha256Of(*masked_input).ToBytes() == kept.masked_input_sha256();
  if (spent && !resumable) {
    return absl::FailedPreconditionError(
        StrCat("update ", client->update_.id,
               " went into a session that is over or cannot go on; it enters "
               "no other, because the difference would show it. Train again"));
  }
  if (resumable) {
    client->masked_input_ = std::move(masked_input);
    client->update_.sections.clear();
    client->update_spent_ = true;
  } else {
    if (client->update_.sections.empty()) {
      return absl::InvalidArgumentError("an update needs a section");
    }
    // A session in which some other update was is over.
    client->EraseJournaledSession();
  }
  return client;
}

absl::Status SecaggClient::RestoreSession(absl::Time now) {
  MLEDGE_ASSIGN_OR_RETURN(Offer offer, Offer::Parse(journal_.offer()));
  if (now >= offer.expires) {
    return absl::DeadlineExceededError("the session has expired");
  }
  auto session = std::make_unique<Session>(std::move(offer));
  MLEDGE_ASSIGN_OR_RETURN(session->directory,
                          Directory::Parse(journal_.directory()));
  session->cohort_index = journal_.cohort_index();
  session->group = journal_.group();
  session->member = journal_.member();
  if (session->group >= session->directory->groups ||
      session->member >= session->parameters().devices) {
    return absl::DataLossError("the journal names a member that is none");
  }
  session->id = SessionId(session->offer.bytes, session->directory->bytes,
                          session->group);
  session->content_sha256 = journal_.masked_input_sha256();
  for (const v1::SecaggJournal::Neighbor& entry : journal_.neighbors()) {
    Neighbor& neighbor = session->neighbors.emplace_back();
    neighbor.member = entry.member();
    neighbor.masked = entry.masked();
    neighbor.certificates = {entry.certificates().begin(),
                             entry.certificates().end()};
    if (neighbor.member >= session->parameters().devices) {
      return absl::DataLossError("the journal names a neighbor that is none");
    }
    // One that was revoked since then keeps an identity without a key, whose
    // signatures do not count.
    absl::StatusOr<MemberIdentity> identity =
        dependencies_.members->Identify(neighbor.certificates, now);
    if (identity.ok()) neighbor.identity = *std::move(identity);
    if (entry.mask_key_share().empty()) continue;
    MLEDGE_ASSIGN_OR_RETURN(ShareValue mask_key,
                            ParseShareValue(entry.mask_key_share()));
    MLEDGE_ASSIGN_OR_RETURN(ShareValue self_mask,
                            ParseShareValue(entry.self_mask_share()));
    neighbor.shares.emplace(
        SharePair{std::move(mask_key), std::move(self_mask)});
  }
  state_ = State::kUploaded;
  if (!journal_.alive().empty()) {
    const uint32_t members = session->parameters().devices;
    MLEDGE_ASSIGN_OR_RETURN(
        session->alive,
        MemberSet::FromBytes("alive", journal_.alive(), members));
    MLEDGE_ASSIGN_OR_RETURN(
        session->dead, MemberSet::FromBytes("dead", journal_.dead(), members));
    MLEDGE_ASSIGN_OR_RETURN(session->sets_witness,
                            SetsStatement::FromProto(journal_.sets_witness()));
    state_ = State::kSigned;
  }
  if (!journal_.unmask().empty()) {
    if (!session->unmask.ParseFromString(journal_.unmask())) {
      return absl::DataLossError("the journal's unmasking shares are damaged");
    }
    state_ = State::kUnmasked;
  }
  session_ = std::move(session);
  EraseJournaledSession();
  return session_->alive.has_value() ? CheckSetsWitness() : absl::OkStatus();
}

}  // namespace mledge::secagg
