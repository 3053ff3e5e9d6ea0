#include "mledge/aggregation/secagg/merkle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/v1/secure_aggregation.pb.h"

namespace mledge::secagg {
namespace {

// Every third leaf is of version 4, the others of version 7.
std::vector<MerkleLeaf> Leaves(int64_t count) {
  std::vector<MerkleLeaf> leaves;
  for (int64_t i = 0; i < count; ++i) {
    const std::string name = StrCat("device-", i / 10, i % 10);
    leaves.push_back({MerkleLeafHash(StrCat("leaf ", i)), name,
                      i % 3 == 0 ? uint64_t{4} : uint64_t{7}});
  }
  return leaves;
}

VersionCounts Count(std::span<const MerkleLeaf> leaves) {
  std::map<uint64_t, uint32_t> counts;
  for (const MerkleLeaf& leaf : leaves) ++counts[leaf.version];
  return {counts.begin(), counts.end()};
}

Digest Node(const Digest& left, const Digest& right, const std::string& divider,
            const VersionCounts& left_versions,
            const VersionCounts& right_versions) {
  Sha256 hash;
  hash.Update("\x01").Update(left.bytes).Update(right.bytes);
  hash.UpdateField(divider);
  for (const VersionCounts& versions : {left_versions, right_versions}) {
    hash.UpdateU64(versions.size());
    for (const auto& [version, count] : versions) {
      hash.UpdateU64(version).UpdateU64(count);
    }
  }
  return hash.Finish();
}

// The definition, by recursion.
Digest TopOf(std::span<const MerkleLeaf> leaves) {
  if (leaves.size() == 1) return leaves[0].hash;
  size_t left = 1;
  while (2 * left < leaves.size()) left *= 2;
  std::string divider = leaves[left].id;
  while (divider.size() > 1 &&
         divider.substr(0, divider.size() - 1) > leaves[left - 1].id) {
    divider.pop_back();
  }
  return Node(TopOf(leaves.first(left)), TopOf(leaves.subspan(left)), divider,
              Count(leaves.first(left)), Count(leaves.subspan(left)));
}

Digest RootOver(const Digest& top, uint64_t count) {
  return Sha256()
      .Update("\x02")
      .UpdateField("mledge secagg directory v1")
      .UpdateU64(count)
      .Update(top.bytes)
      .Finish();
}

TEST(MerkleTest, RootIsThatOfTheDefinition) {
  for (int64_t count = 1; count <= 40; ++count) {
    const std::vector<MerkleLeaf> leaves = Leaves(count);
    EXPECT_EQ(MerkleTree::Create(leaves)->root(),
              RootOver(TopOf(leaves), leaves.size()))
        << count;
  }
}

TEST(MerkleTest, EveryLeafIsProven) {
  for (int64_t count = 1; count <= 40; ++count) {
    const std::vector<MerkleLeaf> leaves = Leaves(count);
    const auto tree = MerkleTree::Create(leaves);
    for (int64_t i = 0; i < count; ++i) {
      const auto path = tree->PathOf(i);
      ASSERT_THAT(path, IsOk());
      const auto travelled = ParsePath(SerializePath(*path));
      ASSERT_THAT(travelled, IsOk());
      EXPECT_THAT(VerifyInclusion(tree->root(), count, Count(leaves), i,
                                  leaves[i], *travelled),
                  IsOk());
    }
  }
}

// A tree of four that somebody else made, with any dividers and counts.
struct ForgedTree {
  std::vector<MerkleLeaf> leaves;
  std::string left_divider, right_divider, top_divider;
  VersionCounts left_versions, right_versions;

  VersionCounts Own(int i) const { return {{leaves[i].version, 1}}; }
  Digest Left() const {
    return Node(leaves[0].hash, leaves[1].hash, left_divider, Own(0), Own(1));
  }
  Digest Right() const {
    return Node(leaves[2].hash, leaves[3].hash, right_divider, Own(2), Own(3));
  }
  absl::Status Verify(int i, const VersionCounts& versions) const {
    const Digest root = RootOver(
        Node(Left(), Right(), top_divider, left_versions, right_versions), 4);
    const bool left = i < 2;
    const MerklePath path = {
        {leaves[i ^ 1].hash, left ? left_divider : right_divider, Own(i ^ 1)},
        {left ? Right() : Left(), top_divider,
         left ? right_versions : left_versions}};
    return VerifyInclusion(root, 4, versions, i, leaves[i], path);
  }
};

// Whatever the dividers say, of two leaves of one device at most one is proven:
// whoever sees the other leaves.
TEST(MerkleTest, TwoLeavesOfOneDeviceAreNotBothProven) {
  const std::vector<std::string> dividers = {"", "a", "b", "bb", "c", "d"};
  for (int first = 0; first < 4; ++first) {
    for (int second = first + 1; second < 4; ++second) {
      ForgedTree tree{.leaves = Leaves(4)};
      const std::vector<std::string> ids = {"a", "b", "c", "d"};
      for (int i = 0; i < 4; ++i) tree.leaves[i].id = ids[i];
      tree.leaves[second].id = tree.leaves[first].id;
      tree.left_versions = Count(std::span(tree.leaves).first(2));
      tree.right_versions = Count(std::span(tree.leaves).subspan(2));
      int proven = 0;
      for (const std::string& left : dividers) {
        for (const std::string& right : dividers) {
          for (const std::string& top : dividers) {
            tree.left_divider = left;
            tree.right_divider = right;
            tree.top_divider = top;
            const VersionCounts versions = Count(tree.leaves);
            const bool one = tree.Verify(first, versions).ok();
            const bool other = tree.Verify(second, versions).ok();
            EXPECT_FALSE(one && other) << left << " " << right << " " << top;
            proven += one + other;
          }
        }
      }
      EXPECT_GT(proven, 0);
    }
  }
}

// A count that is not that of the leaves is noticed below the node at which it
// stops adding up.
TEST(MerkleTest, FalseCountsOfVersionsAreNotProvenForEveryLeaf) {
  ForgedTree tree{.leaves = Leaves(4),
                  .left_divider = "device-01",
                  .right_divider = "device-03",
                  .top_divider = "device-02"};
  tree.left_versions = Count(std::span(tree.leaves).first(2));
  tree.right_versions = Count(std::span(tree.leaves).subspan(2));
  ASSERT_EQ(Count(tree.leaves), (VersionCounts{{4, 2}, {7, 2}}));
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(tree.Verify(i, {{4, 2}, {7, 2}}), IsOk());
    EXPECT_THAT(tree.Verify(i, {{4, 1}, {7, 3}}),
                StatusIs(absl::StatusCode::kUnauthenticated));
  }
  tree.right_versions = {{7, 2}};  // a leaf of version 4 is called one of 7
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(tree.Verify(i, {{4, 1}, {7, 3}}).ok(), i < 2) << i;
  }
}

TEST(MerkleTest, MalformedPathsAreRefused) {
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(ParsePath("\xff"), invalid);
  v1::SecaggMerklePath path;
  path.add_steps()->set_sibling("short");
  EXPECT_THAT(ParsePath(path.SerializeAsString()), invalid);
  path.Clear();
  for (int i = 0; i < 33; ++i)
    path.add_steps()->set_sibling(std::string(32, 's'));
  EXPECT_THAT(ParsePath(path.SerializeAsString()), invalid);
  path.mutable_steps()->DeleteSubrange(1, 32);
  EXPECT_THAT(ParsePath(path.SerializeAsString()), IsOk());
  for (int i = 0; i < 2; ++i) {
    path.mutable_steps(0)->add_sibling_versions()->set_version(3);
  }
  EXPECT_THAT(ParsePath(path.SerializeAsString()), invalid);
  EXPECT_THAT(ParsePath(std::string((1 << 20) + 1, '\0')), invalid);
}

class MerkleVerifierTest : public ::testing::Test {
 protected:
  static constexpr int64_t kCount = 13;
  static constexpr int64_t kIndex = 6;
  absl::Status Verify(int64_t count, int64_t index, const MerkleLeaf& leaf) {
    return VerifyInclusion(tree_.root(), count, versions_, index, leaf, path_);
  }

  const std::vector<MerkleLeaf> leaves_ = Leaves(kCount);
  const VersionCounts versions_ = Count(leaves_);
  const MerkleTree tree_ = *MerkleTree::Create(leaves_);
  MerklePath path_ = *tree_.PathOf(kIndex);
};

TEST_F(MerkleVerifierTest, RefusesAnotherLeaf) {
  EXPECT_FALSE(Verify(kCount, kIndex, leaves_[7]).ok());
  MerkleLeaf other = leaves_[kIndex];
  other.hash.bytes[0] ^= 1;
  EXPECT_THAT(Verify(kCount, kIndex, other),
              StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(MerkleVerifierTest, RefusesAnotherIndex) {
  for (int64_t other = 0; other < kCount; ++other) {
    if (other == kIndex) continue;
    EXPECT_FALSE(Verify(kCount, other, leaves_[kIndex]).ok());
  }
}

TEST_F(MerkleVerifierTest, RefusesAnotherCount) {
  for (int64_t other = kIndex + 1; other < 40; ++other) {
    if (other == kCount) continue;
    EXPECT_FALSE(Verify(other, kIndex, leaves_[kIndex]).ok());
  }
}

TEST_F(MerkleVerifierTest, RefusesAChangedPath) {
  const MerklePath path = path_;
  for (size_t i = 0; i < path.size(); ++i) {
    path_[i].sibling.bytes[5] ^= 1;
    EXPECT_THAT(Verify(kCount, kIndex, leaves_[kIndex]),
                StatusIs(absl::StatusCode::kUnauthenticated));
    path_ = path;
    path_[i].divider.push_back('0');
    EXPECT_FALSE(Verify(kCount, kIndex, leaves_[kIndex]).ok());
    path_ = path;
    ++path_[i].sibling_versions[0].second;
    EXPECT_THAT(Verify(kCount, kIndex, leaves_[kIndex]),
                StatusIs(absl::StatusCode::kUnauthenticated));
    path_ = path;
  }
}

TEST_F(MerkleVerifierTest, RefusesAShortPath) {
  path_.pop_back();
  EXPECT_THAT(Verify(kCount, kIndex, leaves_[kIndex]),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MerkleVerifierTest, RefusesALongPath) {
  path_.push_back({});
  EXPECT_THAT(Verify(kCount, kIndex, leaves_[kIndex]),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MerkleVerifierTest, RefusesAnIndexOutsideTheCount) {
  for (const int64_t bad : {int64_t{-1}, kCount, int64_t{1} << 60}) {
    EXPECT_THAT(Verify(kCount, bad, leaves_[0]),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST_F(MerkleVerifierTest, RefusesAnInnerNodeAsALeaf) {
  // The node above leaves 6 and 7, shown as leaf 3 of a tree half as large.
  MerkleLeaf node = leaves_[6];
  node.hash = Node(leaves_[6].hash, leaves_[7].hash, path_[0].divider,
                   {{leaves_[6].version, 1}}, {{leaves_[7].version, 1}});
  path_.erase(path_.begin());
  EXPECT_FALSE(Verify(7, 3, node).ok());
}

TEST(MerkleTest, RefusesIdsThatDoNotAscend) {
  std::vector<MerkleLeaf> leaves = Leaves(5);
  leaves[3].id = leaves[2].id;
  EXPECT_THAT(MerkleTree::Create(leaves),
              StatusIs(absl::StatusCode::kInvalidArgument));
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
