#ifndef MLEDGE_AGGREGATION_SECAGG_MERKLE_H_
#define MLEDGE_AGGREGATION_SECAGG_MERKLE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/sha256.h"

// The tree over a directory's leaves, which are sorted by device id, in the
// shape of RFC 6962: the left subtree holds the largest power of two of leaves
// that leaves something for the right. With L(x) = SHA-256(0x00 ‖ x) of a leaf,
// a node is
//   SHA-256(0x01 ‖ left ‖ right ‖ divider ‖ versions left ‖ versions right),
// and the root SHA-256(0x02 ‖ label ‖ number of leaves ‖ top); lengths,
// versions and counts as 8 bytes.
//
// A path thus proves more than that a leaf is there. The *divider* of a node
// stands between the ids of its two sides (left < divider ≤ right), and each
// path is checked to be on its side: two leaves of one id part at some node,
// and one of their paths fails there. The *versions* of a subtree say how many
// leaves have each base version, and each path is checked to add up to the
// root's: if every leaf of a tree is on a path that somebody checks, the counts
// are true. The root says how many members there are: nobody can be shown a
// member beyond the count, nor two counts for one root. Values.

namespace mledge::secagg {

inline constexpr int64_t kMostMerkleLeaves = int64_t{1} << 32;

// L of above, of a leaf's bytes.
Digest MerkleLeafHash(std::string_view leaf);

// How many leaves have each base version, ascending.
using VersionCounts = std::vector<std::pair<uint64_t, uint32_t>>;

struct MerkleLeaf {
  Digest hash;
  std::string id;
  uint64_t version = 0;
};

// What a node above a leaf is made of besides the leaf's own side.
struct MerkleStep {
  Digest sibling;
  std::string divider;
  VersionCounts sibling_versions;
};

// From the leaf upwards.
using MerklePath = std::vector<MerkleStep>;

std::string SerializePath(const MerklePath& path);
// INVALID_ARGUMENT: malformed, or longer than any tree is high.
absl::StatusOr<MerklePath> ParsePath(std::string_view bytes);

class MerkleTree {
 public:
  // INVALID_ARGUMENT: no leaves, or ids that do not ascend.
  static absl::StatusOr<MerkleTree> Create(
      const std::vector<MerkleLeaf>& leaves);

  int64_t leaf_count() const { return static_cast<int64_t>(levels_[0].size()); }
  const Digest& root() const { return root_; }
  // INVALID_ARGUMENT unless 0 ≤ index < leaf_count().
  absl::StatusOr<MerklePath> PathOf(int64_t index) const;

 private:
  MerkleTree() = default;
  struct Node {
    Digest hash;
    std::string divider;  // between its two sides; empty for a leaf
    VersionCounts versions;
  };
  // levels_[0] are the leaves; an odd last node rises unchanged.
  std::vector<std::vector<Node>> levels_;
  Digest root_;
};

// Whether that leaf is number `index` of `leaf_count` under `root`, on its side
// of every divider, in a tree with these versions. INVALID_ARGUMENT: index
// outside the count, or a path of another length than that index has.
// UNAUTHENTICATED: another leaf, index, count, root or versions.
// FAILED_PRECONDITION: an id on the wrong side.
absl::Status VerifyInclusion(const Digest& root, int64_t leaf_count,
                             const VersionCounts& versions, int64_t index,
                             const MerkleLeaf& leaf,
                             std::span<const MerkleStep> path);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_MERKLE_H_
