#include "mledge/aggregation/secagg/merkle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

std::vector<Digest> Leaves(int64_t count) {
  std::vector<Digest> leaves;
  for (int64_t i = 0; i < count; ++i) {
    leaves.push_back(MerkleLeafHash("leaf " + std::to_string(i)));
  }
  return leaves;
}

// RFC 6962's definition, by recursion.
Digest TopOf(std::span<const Digest> leaves) {
  if (leaves.size() == 1) return leaves[0];
  size_t left = 1;
  while (2 * left < leaves.size()) left *= 2;
  std::string bytes(1, '\x01');
  bytes += TopOf(leaves.first(left)).ToBytes();
  bytes += TopOf(leaves.subspan(left)).ToBytes();
  return Sha256Of(bytes);
}

Digest RootOf(std::span<const Digest> leaves) {
  return Sha256()
      .Update("\x02")
      .UpdateField("mledge secagg directory v1")
      .UpdateU64(leaves.size())
      .Update(TopOf(leaves).bytes)
      .Finish();
}

TEST(MerkleTest, RootIsThatOfTheDefinition) {
  for (int64_t count = 1; count <= 40; ++count) {
    const std::vector<Digest> leaves = Leaves(count);
    EXPECT_EQ(MerkleTree::Create(leaves)->root(), RootOf(leaves)) << count;
  }
}

TEST(MerkleTest, EveryLeafIsProven) {
  for (int64_t count = 1; count <= 40; ++count) {
    const std::vector<Digest> leaves = Leaves(count);
    const auto tree = MerkleTree::Create(leaves);
    for (int64_t i = 0; i < count; ++i) {
      const auto path = tree->PathOf(i);
      ASSERT_THAT(path, IsOk());
      EXPECT_THAT(VerifyInclusion(tree->root(), count, i, leaves[i], *path),
                  IsOk());
    }
  }
}

class MerkleVerifierTest : public ::testing::Test {
 protected:
  static constexpr int64_t kCount = 13;
  static constexpr int64_t kIndex = 6;
  const std::vector<Digest> leaves_ = Leaves(kCount);
  const MerkleTree tree_ = *MerkleTree::Create(leaves_);
  MerklePath path_ = *tree_.PathOf(kIndex);
};

TEST_F(MerkleVerifierTest, RefusesAnotherLeaf) {
  EXPECT_THAT(VerifyInclusion(tree_.root(), kCount, kIndex, leaves_[7], path_),
              StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(MerkleVerifierTest, RefusesAnotherIndex) {
  for (int64_t other = 0; other < kCount; ++other) {
    if (other == kIndex) continue;
    EXPECT_FALSE(
        VerifyInclusion(tree_.root(), kCount, other, leaves_[kIndex], path_)
            .ok());
  }
}

TEST_F(MerkleVerifierTest, RefusesAnotherCount) {
  for (int64_t other = kIndex + 1; other < 40; ++other) {
    if (other == kCount) continue;
    EXPECT_FALSE(
        VerifyInclusion(tree_.root(), other, kIndex, leaves_[kIndex], path_)
            .ok());
  }
}

TEST_F(MerkleVerifierTest, RefusesAChangedPath) {
  for (Digest& hash : path_) {
    hash.bytes[5] ^= 1;
    EXPECT_THAT(
        VerifyInclusion(tree_.root(), kCount, kIndex, leaves_[kIndex], path_),
        StatusIs(absl::StatusCode::kUnauthenticated));
    hash.bytes[5] ^= 1;
  }
}

TEST_F(MerkleVerifierTest, RefusesAShortPath) {
  path_.pop_back();
  EXPECT_THAT(
      VerifyInclusion(tree_.root(), kCount, kIndex, leaves_[kIndex], path_),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MerkleVerifierTest, RefusesALongPath) {
  path_.push_back(Digest{});
  EXPECT_THAT(
      VerifyInclusion(tree_.root(), kCount, kIndex, leaves_[kIndex], path_),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MerkleVerifierTest, RefusesAnIndexOutsideTheCount) {
  for (const int64_t bad : {int64_t{-1}, kCount, int64_t{1} << 60}) {
    EXPECT_THAT(VerifyInclusion(tree_.root(), kCount, bad, leaves_[0], path_),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST_F(MerkleVerifierTest, RefusesAnInnerNodeAsALeaf) {
  // The node above leaves 6 and 7, shown as leaf 3 of a tree half as large.
  const Digest node = Sha256()
                          .Update("\x01")
                          .Update(leaves_[6].bytes)
                          .Update(leaves_[7].bytes)
                          .Finish();
  const std::span<const Digest> rest = std::span(path_).subspan(1);
  EXPECT_FALSE(VerifyInclusion(tree_.root(), 7, 3, node, rest).ok());
}

TEST(MerkleTest, RefusesAnEmptyTree) {
  EXPECT_THAT(MerkleTree::Create({}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(MerkleTest, HasNoPathOutsideTheCount) {
  const auto tree = MerkleTree::Create(Leaves(3));
  EXPECT_THAT(tree->PathOf(3), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(tree->PathOf(-1), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge::secagg
