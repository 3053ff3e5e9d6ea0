#include <algorithm>

#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/aggregation/secagg/merkle.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 2 on the device: who takes part, vouched for by the registrar; whether
// that is safe, by the device's own policy; and who its neighbours are.

namespace mledge::secagg {
namespace {

absl::Status Refuse(std::string_view why) {
  return absl::FailedPreconditionError(StrCat("directory: ", why));
}

absl::StatusOr<std::vector<Digest>> ReadPath(std::string_view bytes) {
  constexpr size_t kMostLevels = 32;
  if (bytes.size() % 32 != 0 || bytes.size() / 32 > kMostLevels) {
    return absl::InvalidArgumentError(
        "directory: a Merkle path is no list of hashes");
  }
  std::vector<Digest> path;
  for (size_t i = 0; i < bytes.size(); i += 32) {
    path.push_back(*Digest::FromBytes(bytes.substr(i, 32)));
  }
  return path;
}

}  // namespace

// Everything about the directory but its leaves.
absl::Status SecaggClient::CheckDirectory(absl::Time now) {
  const Offer& offer = session_->offer;
  const Directory& directory = *session_->directory;
  const WitnessStatement& witness = *session_->witness;
  if (directory.offer_hash != offer.hash) return Refuse("is for another offer");
  if (witness.task != offer.task ||
      witness.session_number != offer.session_number ||
      witness.directory != directory.hash) {
    return Refuse("the registrar's statement is about something else");
  }
  MLEDGE_RETURN_IF_ERROR(
      Annotate(witness.Verify(*dependencies_.registrar), "directory"));
  const absl::Duration age = std::max(now - witness.time, witness.time - now);
  if (age > policy_.maximum_lifetime + policy_.clock_tolerance) {
    return Refuse(StrCat("witnessed ",
                         absl::FormatTime(witness.time, absl::UTCTimeZone()),
                         ", which is not now"));
  }

  // The device believes its own arithmetic and not the server's threshold.
  SecaggPolicy policy = policy_.session;
  policy.sigma =
      SigmaForSessions(policy.sigma, policy_.registrar_sessions_per_day);
  for (const GroupParameters& group : directory.parameters) {
    if (group.least_alive < offer.least_alive ||
        group.devices < offer.least_devices) {
      return Refuse("promises less than the offer");
    }
    MLEDGE_RETURN_IF_ERROR(
        Annotate(CheckParameters(group.devices, group.neighbors,
                                 group.threshold, group.least_alive, policy),
                 "directory"));
  }

  // Of a group's base versions a device could not know the numbers.
  if (directory.groups > 1 && offer.maximum_staleness > 0) {
    return Refuse("groups need one base version");
  }
  for (const auto& [version, devices] : directory.versions) {
    if (!offer.AllowsBaseVersion(version)) {
      return Refuse(StrCat("base version ", version, " is not allowed"));
    }
    if (version == update_.base_version &&
        devices < policy_.session.least_clients) {
      return Refuse(StrCat("only ", devices, " devices have base version ",
                           version, ", where this device demands ",
                           policy_.session.least_clients));
    }
  }
  return absl::OkStatus();
}

// Leaves of all neighbours, each under the root, each believed.
absl::Status SecaggClient::ReadLeaves(
    absl::Time now, const v1::SecaggDirectoryMessage& message) {
  Session& session = *session_;
  const Directory& directory = *session.directory;
  const std::vector<uint32_t> members =
      DivideIntoGroups(directory.devices, directory.groups,
                       session.witness->signature)[session.group];
  MLEDGE_ASSIGN_OR_RETURN(const NeighborGraph graph,
                          GraphOfGroup(session.parameters(), session.group,
                                       session.witness->signature));
  const std::vector<uint32_t> neighbors = graph.Neighbors(session.member);
  const bool all = directory.ShowsAllLeaves();
  if (static_cast<size_t>(message.leaves_size()) !=
      neighbors.size() + (all ? 1 : 0)) {
    return Refuse(StrCat(message.leaves_size(), " leaves for ",
                         neighbors.size(), " neighbors"));
  }

  std::vector<Digest> hashes;
  std::optional<std::string> previous_id;  // of the leaf before, by index
  bool own_seen = all;
  const auto check_order = [&](const std::string& id) {
    const bool ascending = !previous_id.has_value() || *previous_id < id;
    previous_id = id;
    return ascending ? absl::OkStatus()
                     : Refuse(
                           "leaves are not in the order of their devices, "
                           "or a device is there twice");
  };
  size_t next = 0;
  for (const v1::SecaggDirectoryMessage::Leaf& entry : message.leaves()) {
    const Digest hash = MerkleLeafHash(entry.leaf());
    if (all) {
      if (entry.cohort_index() != hashes.size() ||
          !entry.merkle_path().empty()) {
        return Refuse("leaves are not numbered one by one");
      }
      hashes.push_back(hash);
      if (entry.cohort_index() == session.cohort_index) {
        MLEDGE_RETURN_IF_ERROR(check_order(dependencies_.signer->id()));
        continue;
      }
    }
    const uint32_t member = neighbors[next++];
    if (entry.cohort_index() != members[member]) {
      return Refuse("a leaf of a device that is no neighbor");
    }
    if (!all) {
      MLEDGE_ASSIGN_OR_RETURN(const std::vector<Digest> path,
                              ReadPath(entry.merkle_path()));
      MLEDGE_RETURN_IF_ERROR(
          Annotate(VerifyInclusion(directory.merkle_root, directory.devices,
                                   entry.cohort_index(), hash, path),
                   "directory"));
    }
    MLEDGE_ASSIGN_OR_RETURN(Leaf leaf,
                            Leaf::Parse(entry.leaf(), session.offer));
    MLEDGE_ASSIGN_OR_RETURN(
        MemberIdentity identity,
        dependencies_.members->Identify(leaf.certificates, now));
    MLEDGE_RETURN_IF_ERROR(dependencies_.members->CheckSignature(
        identity, leaf.signed_bytes, leaf.signature));
    if (!own_seen && entry.cohort_index() > session.cohort_index) {
      own_seen = true;
      MLEDGE_RETURN_IF_ERROR(check_order(dependencies_.signer->id()));
    }
    MLEDGE_RETURN_IF_ERROR(check_order(identity.id));
    const bool counted = std::any_of(
        directory.versions.begin(), directory.versions.end(),
        [&](const auto& count) { return count.first == leaf.base_version; });
    if (!counted)
      return Refuse("a leaf with a base version that it leaves out");
    if (leaf.mask_key == session.secrets->mask_key.public_key() ||
        leaf.transport_key == session.secrets->transport_key.public_key()) {
      return Refuse("a neighbor shows this device's own key");
    }
    Neighbor& neighbor = session.neighbors.emplace_back();
    neighbor.member = member;
    neighbor.identity = std::move(identity);
    neighbor.certificates = std::move(leaf.certificates);
    neighbor.mask_key = std::move(leaf.mask_key);
    neighbor.transport_key = std::move(leaf.transport_key);
  }
  if (!own_seen) {
    MLEDGE_RETURN_IF_ERROR(check_order(dependencies_.signer->id()));
  }
  if (all) {
    MLEDGE_ASSIGN_OR_RETURN(const MerkleTree tree,
                            MerkleTree::Create(std::move(hashes)));
    if (tree.root() != directory.merkle_root) {
      return Refuse("the leaves are not those of the witnessed root");
    }
  }
  return absl::OkStatus();
}

absl::Status SecaggClient::OnDirectory(
    absl::Time now, const v1::SecaggDirectoryMessage& message) {
  Session& session = *session_;
  MLEDGE_ASSIGN_OR_RETURN(session.directory,
                          Directory::Parse(message.directory()));
  MLEDGE_ASSIGN_OR_RETURN(session.witness,
                          WitnessStatement::FromProto(message.witness()));
  MLEDGE_RETURN_IF_ERROR(CheckDirectory(now));
  const Directory& directory = *session.directory;

  // Its own leaf, as it was sent, and nobody else's in its place.
  session.cohort_index = message.cohort_index();
  if (directory.ShowsAllLeaves()) {
    const auto own = std::find_if(
        message.leaves().begin(), message.leaves().end(),
        [&](const auto& entry) { return entry.leaf() == session.leaf; });
    if (own == message.leaves().end() || message.cohort_index() != 0 ||
        !message.merkle_path().empty()) {
      return Refuse("this device's own leaf is not in it");
    }
    session.cohort_index = own->cohort_index();
    if (session.cohort_index >= directory.devices) {
      return Refuse("leaves are not numbered one by one");
    }
  } else {
    MLEDGE_ASSIGN_OR_RETURN(const std::vector<Digest> path,
                            ReadPath(message.merkle_path()));
    MLEDGE_RETURN_IF_ERROR(
        Annotate(VerifyInclusion(directory.merkle_root, directory.devices,
                                 session.cohort_index,
                                 MerkleLeafHash(session.leaf), path),
                 "directory: this device's own leaf"));
  }
  const std::vector<std::vector<uint32_t>> groups = DivideIntoGroups(
      directory.devices, directory.groups, session.witness->signature);
  for (uint32_t group = 0; group < groups.size(); ++group) {
    const auto place = std::lower_bound(
        groups[group].begin(), groups[group].end(), session.cohort_index);
    if (place != groups[group].end() && *place == session.cohort_index) {
      session.group = group;
      session.member = static_cast<uint32_t>(place - groups[group].begin());
    }
  }
  session.id = SessionId(session.offer.bytes, directory.bytes, session.group);
  MLEDGE_RETURN_IF_ERROR(ReadLeaves(now, message));
  return ShareKeys();
}

}  // namespace mledge::secagg
