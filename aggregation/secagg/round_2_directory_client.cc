#include <algorithm>
#include <map>

#include "mledge/aggregation/secagg/internal/client_session.h"
#include "mledge/aggregation/secagg/merkle.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 2 on the device: who takes part, vouched for by the registrar; whether
// that is safe, by the device's own policy; and who its neighbours are.

namespace mledge::secagg {
namespace {

absl::Status RefuseDirectory(std::string_view why) {
  return absl::FailedPreconditionError(StrCat("directory: ", why));
}

}  // namespace

// Everything about the directory but its leaves.
absl::Status SecaggClient::CheckDirectory(absl::Time now) {
  const Offer& offer = session_->offer;
  const Directory& directory = *session_->directory;
  const WitnessStatement& witness = *session_->witness;
  if (directory.offer_hash != offer.hash)
    return RefuseDirectory("is for another offer");
  if (witness.task != offer.task ||
      witness.session_number != offer.session_number ||
      witness.directory != directory.hash) {
    return RefuseDirectory("the registrar's statement is about something else");
  }
  MLEDGE_RETURN_IF_ERROR(Annotate(
      dependencies_.cryptography->Verify(witness, *dependencies_.registrar),
      "directory"));
  const absl::Duration age = std::max(now - witness.time, witness.time - now);
  if (age > policy_.maximum_lifetime + policy_.clock_tolerance) {
    return RefuseDirectory(StrCat(
        "witnessed ", absl::FormatTime(witness.time, absl::UTCTimeZone()),
        ", which is not now"));
  }

  // The device believes its own arithmetic and not the server's threshold.
  SecaggPolicy policy = policy_.session;
  policy.sigma =
      SigmaForSessions(policy.sigma, policy_.registrar_sessions_per_day);
  for (const GroupParameters& group : directory.parameters) {
    if (group.least_alive < offer.least_alive ||
        group.devices < offer.least_devices) {
      return RefuseDirectory("promises less than the offer");
    }
    MLEDGE_RETURN_IF_ERROR(
        Annotate(CheckParameters(group.devices, group.neighbors,
                                 group.threshold, group.least_alive, policy),
                 "directory"));
  }

  // Of a group's base versions a device could not know the numbers.
  if (directory.groups > 1 && offer.maximum_staleness > 0) {
    return RefuseDirectory("groups need one base version");
  }
  for (const auto& [version, devices] : directory.versions) {
    if (!offer.AllowsBaseVersion(version)) {
      return RefuseDirectory(
          StrCat("base version ", version, " is not allowed"));
    }
    if (version == update_.base_version &&
        devices < policy_.session.least_clients) {
      return RefuseDirectory(StrCat(
          "only ", devices, " devices have base version ", version,
          ", where this device demands ", policy_.session.least_clients));
    }
  }
  return absl::OkStatus();
}

// Leaves of all neighbours, each under the root, each believed.
absl::StatusOr<std::vector<NeighborKeys>> SecaggClient::ReadLeaves(
    absl::Time now, const v1::SecaggDirectoryMessage& message) {
  Session& session = *session_;
  const Directory& directory = *session.directory;
  const std::string drawn_from =
      dependencies_.cryptography->DrawnFrom(*session.witness);
  const std::vector<uint32_t> members = DivideIntoGroups(
      directory.devices, directory.groups, drawn_from)[session.group];
  MLEDGE_ASSIGN_OR_RETURN(
      const NeighborGraph graph,
      GraphOfGroup(session.parameters(), session.group, drawn_from));
  const std::vector<uint32_t> neighbors = graph.Neighbors(session.member);
  const bool all = directory.ShowsAllLeaves();
  if (static_cast<size_t>(message.leaves_size()) !=
      neighbors.size() + (all ? 1 : 0)) {
    return RefuseDirectory(StrCat(message.leaves_size(), " leaves for ",
                                  neighbors.size(), " neighbors"));
  }

  // Of all leaves the device forms the root itself; of its neighbours' it
  // checks the paths. Either way no device is there twice among those that it
  // sees, or that anybody else in the session sees, and the counts of base
  // versions hold.
  std::vector<NeighborKeys> keys;
  std::vector<MerkleLeaf> shown;
  size_t next = 0;
  for (const v1::SecaggDirectoryMessage::Leaf& entry : message.leaves()) {
    MerkleLeaf merkle_leaf{.hash = MerkleLeafHash(entry.leaf())};
    if (all) {
      if (entry.cohort_index() != shown.size() ||
          !entry.merkle_path().empty()) {
        return RefuseDirectory("leaves are not numbered one by one");
      }
      if (entry.cohort_index() == session.cohort_index) {
        merkle_leaf.id = dependencies_.signer->id();
        merkle_leaf.version = update_.base_version;
        shown.push_back(std::move(merkle_leaf));
        continue;
      }
    }
    const uint32_t member = neighbors[next++];
    if (entry.cohort_index() != members[member]) {
      return RefuseDirectory("a leaf of a device that is no neighbor");
    }
    MLEDGE_ASSIGN_OR_RETURN(Leaf leaf,
                            Leaf::Parse(entry.leaf(), session.offer));
    MLEDGE_ASSIGN_OR_RETURN(
        MemberIdentity identity,
        dependencies_.members->Identify(leaf.certificates, now));
    MLEDGE_RETURN_IF_ERROR(dependencies_.members->CheckSignature(
        identity, leaf.signed_bytes, leaf.signature));
    merkle_leaf.id = identity.id;
    merkle_leaf.version = leaf.base_version;
    if (all) {
      shown.push_back(std::move(merkle_leaf));
    } else {
      MLEDGE_RETURN_IF_ERROR(
          CheckPath(entry.cohort_index(), merkle_leaf, entry.merkle_path()));
    }
    const DeviceSecrets::PublicPart& own = session.secrets->Shown();
    if (leaf.mask_key.encoded() == own.mask_key ||
        leaf.transport_key.encoded() == own.transport_key) {
      return RefuseDirectory("a neighbor shows this device's own key");
    }
    Neighbor& neighbor = session.neighbors.emplace_back();
    neighbor.member = member;
    neighbor.identity = std::move(identity);
    neighbor.certificates = std::move(leaf.certificates);
    keys.push_back({.member = member,
                    .mask_key = std::move(leaf.mask_key),
                    .transport_key = std::move(leaf.transport_key)});
  }
  if (!all) return keys;
  std::map<uint64_t, uint32_t> versions;
  for (const MerkleLeaf& leaf : shown) ++versions[leaf.version];
  const absl::StatusOr<MerkleTree> tree = MerkleTree::Create(shown);
  if (!tree.ok()) return Annotate(tree.status(), "directory");
  if (tree->root() != directory.merkle_root) {
    return RefuseDirectory("the leaves are not those of the witnessed root");
  }
  if (VersionCounts(versions.begin(), versions.end()) != directory.versions) {
    return RefuseDirectory(
        "the base versions that it counts are not those of its leaves");
  }
  return keys;
}

absl::Status SecaggClient::CheckPath(uint32_t cohort_index,
                                     const MerkleLeaf& leaf,
                                     std::string_view path) const {
  return Annotate(dependencies_.cryptography->VerifyPath(
                      *session_->directory, cohort_index, leaf, path),
                  "directory");
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
      return RefuseDirectory("this device's own leaf is not in it");
    }
    session.cohort_index = own->cohort_index();
    if (session.cohort_index >= directory.devices) {
      return RefuseDirectory("leaves are not numbered one by one");
    }
  } else {
    MLEDGE_RETURN_IF_ERROR(
        Annotate(CheckPath(session.cohort_index,
                           {.hash = MerkleLeafHash(session.leaf),
                            .id = dependencies_.signer->id(),
                            .version = update_.base_version},
                           message.merkle_path()),
                 "this device's own leaf"));
  }
  const std::vector<std::vector<uint32_t>> groups =
      DivideIntoGroups(directory.devices, directory.groups,
                       dependencies_.cryptography->DrawnFrom(*session.witness));
  for (uint32_t group = 0; group < groups.size(); ++group) {
    const auto place = std::lower_bound(
        groups[group].begin(), groups[group].end(), session.cohort_index);
    if (place != groups[group].end() && *place == session.cohort_index) {
      session.group = group;
      session.member = static_cast<uint32_t>(place - groups[group].begin());
    }
  }
  session.id = SessionId(session.offer.bytes, directory.bytes, session.group);
  MLEDGE_ASSIGN_OR_RETURN(std::vector<NeighborKeys> neighbors,
                          ReadLeaves(now, message));
  return ShareKeys(std::move(neighbors));
}

}  // namespace mledge::secagg
