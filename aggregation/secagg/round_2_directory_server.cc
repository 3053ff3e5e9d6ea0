#include <utility>

#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/aggregation/secagg/merkle.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 2 on the server: the directory, and what each member is shown of it.

namespace mledge::secagg {
namespace {

using DirectoryMessage = std::shared_ptr<const v1::SecaggServerMessage>;

std::vector<MerkleLeaf> MerkleLeaves(
    const std::map<std::string, Leaf>& leaves) {
  std::vector<MerkleLeaf> result;
  result.reserve(leaves.size());
  for (const auto& [id, leaf] : leaves) {
    result.push_back({MerkleLeafHash(leaf.bytes), id, leaf.base_version});
  }
  return result;
}

// What all members' messages are made of.
struct Book {
  Directory directory;
  v1::WitnessStatement witness;
  std::vector<std::string> leaves;  // of the cohort
  std::vector<std::string> paths;
};

DirectoryMessage ShowAllLeaves(const Book& book) {
  auto message = std::make_shared<v1::SecaggServerMessage>();
  v1::SecaggDirectoryMessage& shown = *message->mutable_directory();
  shown.set_directory(book.directory.bytes);
  *shown.mutable_witness() = book.witness;
  for (uint32_t i = 0; i < book.leaves.size(); ++i) {
    v1::SecaggDirectoryMessage::Leaf& entry = *shown.add_leaves();
    entry.set_cohort_index(i);
    entry.set_leaf(book.leaves[i]);
  }
  return message;
}

// `members`: the group's places in the cohort.
void ShowNeighbors(const Book& book, const std::vector<uint32_t>& members,
                   uint32_t own, const std::vector<uint32_t>& neighbors,
                   v1::SecaggDirectoryMessage& shown) {
  shown.Clear();
  shown.set_directory(book.directory.bytes);
  *shown.mutable_witness() = book.witness;
  shown.set_cohort_index(members[own]);
  shown.set_merkle_path(book.paths[members[own]]);
  for (const uint32_t neighbor : neighbors) {
    const uint32_t place = members[neighbor];
    v1::SecaggDirectoryMessage::Leaf& entry = *shown.add_leaves();
    entry.set_cohort_index(place);
    entry.set_leaf(book.leaves[place]);
    entry.set_merkle_path(book.paths[place]);
  }
}

}  // namespace

absl::StatusOr<v1::SecaggDirectory> SecaggServer::MakeDirectory() {
  const auto devices = static_cast<uint32_t>(advertised_.size());
  const uint32_t groups =
      options_.largest_group == 0
          ? 1
          : static_cast<uint32_t>((devices + options_.largest_group - 1) /
                                  options_.largest_group);
  v1::SecaggDirectory directory;
  directory.set_offer_sha256(offer_.hash.ToBytes());
  directory.set_devices(devices);
  directory.set_groups(groups);
  std::vector<uint32_t> sizes = {devices / groups};
  if (devices % groups != 0) sizes.insert(sizes.begin(), sizes[0] + 1);
  for (const uint32_t size : sizes) {
    MLEDGE_ASSIGN_OR_RETURN(const GroupParameters parameters,
                            ParametersFor(size));
    v1::SecaggGroupParameters& entry = *directory.add_parameters();
    entry.set_devices(parameters.devices);
    entry.set_neighbors(parameters.neighbors);
    entry.set_threshold(parameters.threshold);
    entry.set_least_alive(parameters.least_alive);
  }
  std::map<uint64_t, uint32_t> versions;
  for (const auto& [id, leaf] : advertised_) ++versions[leaf.base_version];
  MLEDGE_ASSIGN_OR_RETURN(tree_, MerkleTree::Create(MerkleLeaves(advertised_)));
  directory.set_merkle_root(tree_->root().ToBytes());
  for (const auto& [version, count] : versions) {
    v1::SecaggVersionCount& entry = *directory.add_versions();
    entry.set_version(version);
    entry.set_devices(count);
  }
  return directory;
}

ServerEffects SecaggServer::OnWitnessed(
    absl::Time now, absl::StatusOr<WitnessStatement> statement) {
  ServerEffects effects;
  if (state_ != State::kWitnessing) return effects;
  absl::Status status = statement.status();
  if (status.ok() && (statement->task != offer_.task ||
                      statement->session_number != offer_.session_number ||
                      statement->directory != directory_->hash)) {
    status = absl::InternalError("the registrar answered something else");
  }
  if (status.ok()) {
    auto book = std::make_shared<Book>();
    book->directory = *directory_;
    book->witness = statement->ToProto();
    for (const auto& [id, leaf] : advertised_) {
      book->leaves.push_back(leaf.bytes);
    }
    if (!directory_->ShowsAllLeaves()) {
      for (uint32_t i = 0; i < book->leaves.size(); ++i) {
        book->paths.push_back(SerializePath(*tree_->PathOf(i)));
      }
    }
    tree_.reset();
    status =
        StartGroups(now, std::move(book),
                    dependencies_.cryptography->DrawnFrom(*statement), effects);
  }
  if (!status.ok()) AbortCohort(Annotate(status, "directory"), effects);
  Wake(effects);
  return effects;
}

absl::Status SecaggServer::StartGroups(absl::Time now,
                                       std::shared_ptr<const void> opaque,
                                       const std::string& drawn_from,
                                       ServerEffects& effects) {
  const auto book = std::static_pointer_cast<const Book>(opaque);
  std::vector<std::pair<DeviceId, Leaf>> cohort;
  for (auto& [id, leaf] : advertised_) {
    cohort.emplace_back(DeviceId(id), std::move(leaf));
  }
  const std::vector<std::vector<uint32_t>> groups =
      DivideIntoGroups(directory_->devices, directory_->groups, drawn_from);
  DirectoryMessage all;
  if (directory_->ShowsAllLeaves()) all = ShowAllLeaves(*book);
  for (uint32_t i = 0; i < groups.size(); ++i) {
    ServerGroup::Setup setup;
    setup.options = &options_;
    setup.offer = &offer_;
    setup.pool = dependencies_.pool;
    setup.inputs_are_masked = dependencies_.cryptography->masks();
    setup.group = i;
    setup.parameters = directory_->ParametersOf(i);
    setup.session = SessionId(offer_.bytes, directory_->bytes, i);
    MLEDGE_ASSIGN_OR_RETURN(NeighborGraph graph,
                            GraphOfGroup(setup.parameters, i, drawn_from));
    for (const uint32_t index : groups[i]) {
      setup.devices.push_back(cohort[index].first);
      setup.leaves.push_back(std::move(cohort[index].second));
      group_of_[cohort[index].first] = i;
    }
    if (all != nullptr) {
      setup.directory = all;
    } else {
      setup.show_directory = [book, members = groups[i]](
                                 uint32_t member,
                                 const std::vector<uint32_t>& neighbors,
                                 v1::SecaggDirectoryMessage& shown) {
        ShowNeighbors(*book, members, member, neighbors, shown);
      };
    }
    setup.graph = std::move(graph);
    groups_.push_back(std::make_unique<ServerGroup>(std::move(setup)));
  }
  state_ = State::kRunning;
  deadline_ = absl::InfiniteFuture();
  for (const auto& group : groups_) group->Start(now, effects);
  return absl::OkStatus();
}

}  // namespace mledge::secagg
