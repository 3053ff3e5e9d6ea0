#include "mledge/aggregation/secagg/merkle.h"

#include <array>
#include <utility>

#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr std::string_view kLeafPrefix("\x00", 1);
constexpr std::string_view kNodePrefix("\x01", 1);
constexpr std::string_view kRootPrefix("\x02", 1);

Digest NodeHash(const Digest& left, const Digest& right) {
  return Sha256()
      .Update(kNodePrefix)
      .Update(left.bytes)
      .Update(right.bytes)
      .Finish();
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

absl::StatusOr<MerkleTree> MerkleTree::Create(std::vector<Digest> leaf_hashes) {
  if (leaf_hashes.empty()) {
    return absl::InvalidArgumentError("a Merkle tree needs at least one leaf");
  }
  MerkleTree tree;
  tree.levels_.push_back(std::move(leaf_hashes));
  while (tree.levels_.back().size() > 1) {
    const std::vector<Digest>& below = tree.levels_.back();
    std::vector<Digest> level;
    level.reserve((below.size() + 1) / 2);
    for (size_t i = 0; i + 1 < below.size(); i += 2) {
      level.push_back(NodeHash(below[i], below[i + 1]));
    }
    if (below.size() % 2 != 0) level.push_back(below.back());
    tree.levels_.push_back(std::move(level));
  }
  tree.root_ = RootHash(tree.leaf_count(), tree.levels_.back()[0]);
  return tree;
}

absl::StatusOr<MerklePath> MerkleTree::PathOf(int64_t index) const {
  if (index < 0 || index >= leaf_count()) {
    return absl::InvalidArgumentError(
        StrCat("leaf ", index, " of a tree of ", leaf_count()));
  }
  MerklePath path;
  size_t position = static_cast<size_t>(index);
  for (const std::vector<Digest>& level : levels_) {
    const size_t sibling = position ^ 1;
    if (sibling < level.size()) path.push_back(level[sibling]);
    position /= 2;
  }
  return path;
}

absl::Status VerifyInclusion(const Digest& root, int64_t leaf_count,
                             int64_t index, const Digest& leaf_hash,
                             std::span<const Digest> path) {
  if (leaf_count < 1 || leaf_count > kMostMerkleLeaves || index < 0 ||
      index >= leaf_count) {
    return absl::InvalidArgumentError(
        StrCat("leaf ", index, " of a tree of ", leaf_count));
  }
  Digest node = leaf_hash;
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
      const Digest& sibling = path[used++];
      node =
          position % 2 == 0 ? NodeHash(node, sibling) : NodeHash(sibling, node);
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
  return absl::OkStatus();
}

}  // namespace mledge::secagg
