#include "mledge/aggregation/secagg/merkle.h"

#include <utility>

#include "mledge/core/strings.h"
#include "mledge/v1/secure_aggregation.pb.h"

namespace mledge::secagg {
namespace {

constexpr std::string_view kLeafPrefix("\x00", 1);
constexpr std::string_view kNodePrefix("\x01", 1);
constexpr std::string_view kRootPrefix("\x02", 1);
constexpr int kMostLevels = 32;
constexpr size_t kMostPathBytes = 1 << 20;

void HashVersions(const VersionCounts& versions, Sha256& hash) {
  hash.UpdateU64(versions.size());
  for (const auto& [version, count] : versions) {
    hash.UpdateU64(version).UpdateU64(count);
  }
}

Digest NodeHash(const Digest& left, const Digest& right,
                std::string_view divider, const VersionCounts& left_versions,
                const VersionCounts& right_versions) {
  Sha256 hash;
  hash.Update(kNodePrefix).Update(left.bytes).Update(right.bytes);
  hash.UpdateField(divider);
  HashVersions(left_versions, hash);
  HashVersions(right_versions, hash);
  return hash.Finish();
}

// The shortest text above all ids of the left side and not above any of the
// right. Precondition: left < right.
std::string DividerOf(std::string_view last_left,
                      std::string_view first_right) {
  size_t common = 0;
  while (common < last_left.size() &&
         last_left[common] == first_right[common]) {
    ++common;
  }
  return std::string(first_right.substr(0, common + 1));
}

VersionCounts Add(const VersionCounts& a, const VersionCounts& b) {
  VersionCounts sum;
  auto next = b.begin();
  for (const auto& [version, count] : a) {
    while (next != b.end() && next->first < version) sum.push_back(*next++);
    sum.emplace_back(version, count);
    if (next != b.end() && next->first == version) {
      sum.back().second += next++->second;
    }
  }
  sum.insert(sum.end(), next, b.end());
  return sum;
}

Digest RootHash(int64_t leaf_count, const Digest& top) {
  return Sha256()
      .Update(kRootPrefix)
      .UpdateField("mledge secagg directory v1")
      .UpdateU64(static_cast<uint64_t>(leaf_count))
      .Update(top.bytes)
      .Finish();
}

}  // namespace

Digest MerkleLeafHash(std::string_view leaf) {
  return Sha256().Update(kLeafPrefix).Update(leaf).Finish();
}

std::string SerializePath(const MerklePath& path) {
  v1::SecaggMerklePath message;
  for (const MerkleStep& step : path) {
    v1::SecaggMerklePath::Step& entry = *message.add_steps();
    entry.set_sibling(step.sibling.ToBytes());
    entry.set_divider(step.divider);
    for (const auto& [version, count] : step.sibling_versions) {
      v1::SecaggVersionCount& counted = *entry.add_sibling_versions();
      counted.set_version(version);
      counted.set_devices(count);
    }
  }
  return message.SerializeAsString();
}

absl::StatusOr<MerklePath> ParsePath(std::string_view bytes) {
  v1::SecaggMerklePath message;
  if (bytes.size() > kMostPathBytes ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      message.steps_size() > kMostLevels) {
    return absl::InvalidArgumentError("a Merkle path is malformed");
  }
  MerklePath path(static_cast<size_t>(message.steps_size()));
  for (size_t i = 0; i < path.size(); ++i) {
    const v1::SecaggMerklePath::Step& entry =
        message.steps(static_cast<int>(i));
    const absl::StatusOr<Digest> sibling = Digest::FromBytes(entry.sibling());
    if (!sibling.ok()) {
      return absl::InvalidArgumentError("a Merkle path is no list of hashes");
    }
    path[i].sibling = *sibling;
    path[i].divider = entry.divider();
    for (const v1::SecaggVersionCount& count : entry.sibling_versions()) {
      VersionCounts& versions = path[i].sibling_versions;
      if (!versions.empty() && count.version() <= versions.back().first) {
        return absl::InvalidArgumentError(
            "the versions of a Merkle path are not in order");
      }
      versions.emplace_back(count.version(), count.devices());
    }
  }
  return path;
}

absl::StatusOr<MerkleTree> MerkleTree::Create(
    const std::vector<MerkleLeaf>& leaves) {
  if (leaves.empty()) {
    return absl::InvalidArgumentError("a Merkle tree needs at least one leaf");
  }
  MerkleTree tree;
  std::vector<Node>& bottom = tree.levels_.emplace_back();
  for (const MerkleLeaf& leaf : leaves) {
    bottom.push_back({leaf.hash, "", {{leaf.version, 1}}});
  }
  for (size_t i = 1; i < leaves.size(); ++i) {
    if (leaves[i - 1].id >= leaves[i].id) {
      return absl::InvalidArgumentError(
          "leaves are not in the order of their devices, or a device is there "
          "twice");
    }
  }
  for (size_t width = 2; tree.levels_.back().size() > 1; width *= 2) {
    const std::vector<Node>& below = tree.levels_.back();
    std::vector<Node> level;
    level.reserve((below.size() + 1) / 2);
    for (size_t i = 0; i + 1 < below.size(); i += 2) {
      const Node& left = below[i];
      const Node& right = below[i + 1];
      // The first leaf of the right side.
      const size_t first = i / 2 * width + width / 2;
      Node node{.divider = DividerOf(leaves[first - 1].id, leaves[first].id),
                .versions = Add(left.versions, right.versions)};
      node.hash = NodeHash(left.hash, right.hash, node.divider, left.versions,
                           right.versions);
      level.push_back(std::move(node));
    }
    if (below.size() % 2 != 0) level.push_back(below.back());
    tree.levels_.push_back(std::move(level));
  }
  tree.root_ = RootHash(tree.leaf_count(), tree.levels_.back()[0].hash);
  return tree;
}

absl::StatusOr<MerklePath> MerkleTree::PathOf(int64_t index) const {
  if (index < 0 || index >= leaf_count()) {
    return absl::InvalidArgumentError(
        StrCat("leaf ", index, " of a tree of ", leaf_count()));
  }
  MerklePath path;
  size_t position = static_cast<size_t>(index);
  for (size_t level = 0; level + 1 < levels_.size(); ++level) {
    const size_t sibling = position ^ 1;
    position /= 2;
    if (sibling >= levels_[level].size()) continue;
    const Node& node = levels_[level][sibling];
    path.push_back(
        {node.hash, levels_[level + 1][position].divider, node.versions});
  }
  return path;
}

absl::Status VerifyInclusion(const Digest& root, int64_t leaf_count,
                             const VersionCounts& versions, int64_t index,
                             const MerkleLeaf& leaf,
                             std::span<const MerkleStep> path) {
  if (leaf_count < 1 || leaf_count > kMostMerkleLeaves || index < 0 ||
      index >= leaf_count) {
    return absl::InvalidArgumentError(
        StrCat("leaf ", index, " of a tree of ", leaf_count));
  }
  Digest node = leaf.hash;
  VersionCounts counted = {{leaf.version, 1}};
  size_t used = 0;
  int64_t position = index;
  for (int64_t width = leaf_count; width > 1; width = (width + 1) / 2) {
    // The last node of an odd level has no sibling and rises unchanged.
    if ((position ^ 1) < width) {
      if (used == path.size()) {
        return absl::InvalidArgumentError(
            StrCat("the Merkle path of leaf ", index, " of ", leaf_count,
                   " is too short: ", path.size(), " hashes"));
      }
      const MerkleStep& step = path[used++];
      const bool is_left = position % 2 == 0;
      if (is_left != (leaf.id < step.divider)) {
        return absl::FailedPreconditionError(
            StrCat("leaf ", index, " of ", leaf_count,
                   " is not in the order of the devices, or its device is "
                   "there twice"));
      }
      node = is_left ? NodeHash(node, step.sibling, step.divider, counted,
                                step.sibling_versions)
                     : NodeHash(step.sibling, node, step.divider,
                                step.sibling_versions, counted);
      counted = Add(counted, step.sibling_versions);
    }
    position /= 2;
  }
  if (used != path.size()) {
    return absl::InvalidArgumentError(
        StrCat("the Merkle path of leaf ", index, " of ", leaf_count, " has ",
               path.size(), " hashes instead of ", used));
  }
  if (RootHash(leaf_count, node) != root) {
    return absl::UnauthenticatedError(
        StrCat("leaf ", index, " of ", leaf_count,
               " is not under the directory's root"));
  }
  if (counted != versions) {
    return absl::UnauthenticatedError(
        StrCat("the base versions that the directory counts are not those of "
               "its leaves (seen from leaf ",
               index, ")"));
  }
  return absl::OkStatus();
}

}  // namespace mledge::secagg
