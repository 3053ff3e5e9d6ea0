#ifndef MLEDGE_AGGREGATION_SECAGG_MERKLE_H_
#define MLEDGE_AGGREGATION_SECAGG_MERKLE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/sha256.h"

// The tree over a directory's leaves, in the shape of RFC 6962: with L(x) =
// SHA-256(0x00 ‖ x) of a leaf and N(a, b) = SHA-256(0x01 ‖ a ‖ b) of two
// subtrees, where the left one holds the largest power of two of leaves that
// leaves something for the right. The root is SHA-256(0x02 ‖ label ‖ number of
// leaves ‖ top), so that it also says how many members there are: nobody can be
// shown a member beyond the count, nor two counts for one root. A value.

namespace mledge::secagg {

inline constexpr int64_t kMostMerkleLeaves = int64_t{1} << 32;

// L of above, of a leaf's bytes.
Digest MerkleLeafHash(std::string_view leaf);

// Hashes of the siblings from the leaf upwards.
using MerklePath = std::vector<Digest>;

class MerkleTree {
 public:
  // INVALID_ARGUMENT: no leaves.
  static absl::StatusOr<MerkleTree> Create(std::vector<Digest> leaf_hashes);

  int64_t leaf_count() const { return static_cast<int64_t>(levels_[0].size()); }
  const Digest& root() const { return root_; }
  // INVALID_ARGUMENT unless 0 ≤ index < leaf_count().
  absl::StatusOr<MerklePath> PathOf(int64_t index) const;

 private:
  MerkleTree() = default;
  // levels_[0] are the leaves; an odd last node rises unchanged.
  std::vector<std::vector<Digest>> levels_;
  Digest root_;
};

// Whether the leaf of that hash is number `index` of `leaf_count` under `root`.
// INVALID_ARGUMENT: index outside the count, or a path of another length than
// that index has. UNAUTHENTICATED: another leaf, index, count or root.
absl::Status VerifyInclusion(const Digest& root, int64_t leaf_count,
                             int64_t index, const Digest& leaf_hash,
                             std::span<const Digest> path);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_MERKLE_H_
