#include "mledge/core/secret_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

// This program's delete[] looks at one watched block just before it goes: the
// only moment at which "it was wiped" can be seen without reading freed memory.
namespace {

const void* watched_block = nullptr;
size_t watched_size = 0;
int watched_frees = 0;
bool freed_with_contents = false;

void Look(void* block) {
  if (block == nullptr || block != watched_block) return;
  const auto* bytes = static_cast<const unsigned char*>(block);
  ++watched_frees;
  freed_with_contents = std::any_of(bytes, bytes + watched_size,
                                    [](unsigned char b) { return b != 0; });
  watched_block = nullptr;
}

}  // namespace

void* operator new[](size_t size) {
  if (void* block = std::malloc(size)) return block;
  throw std::bad_alloc();
}
void operator delete[](void* block) noexcept {
  Look(block);
  std::free(block);
}
void operator delete[](void* block, size_t) noexcept {
  Look(block);
  std::free(block);
}

namespace mledge {
namespace {

using ::testing::ElementsAre;

static_assert(!std::is_copy_constructible_v<SecretBytes>);
static_assert(!std::is_copy_assignable_v<SecretBytes>);
static_assert(!std::is_default_constructible_v<SecretAccessToken>);

void Watch(const SecretBytes& secret) {
  watched_block = secret.bytes(RevealSecret()).data();
  watched_size = secret.size();
  watched_frees = 0;
  freed_with_contents = false;
}

TEST(SecretBytesTest, WipesWhenItDies) {
  {
    const SecretBytes secret = SecretBytes::CopyFrom("correct horse");
    Watch(secret);
  }
  EXPECT_EQ(watched_frees, 1);
  EXPECT_FALSE(freed_with_contents);
}

TEST(SecretBytesTest, WipesWhatAnAssignmentReplaces) {
  SecretBytes secret = SecretBytes::CopyFrom("correct horse");
  Watch(secret);
  secret = SecretBytes::CopyFrom("battery staple");
  EXPECT_EQ(watched_frees, 1);
  EXPECT_FALSE(freed_with_contents);
}

// The watch itself works: a block with contents is seen as such.
TEST(SecretBytesTest, TheWatchSeesABlockThatIsNotWiped) {
  auto* block = new uint8_t[4]{1, 2, 3, 4};
  watched_block = block;
  watched_size = 4;
  freed_with_contents = false;
  // Through a volatile pointer, or the compiler drops the stores with the
  // block.
  uint8_t* volatile kept = block;
  delete[] kept;
  EXPECT_TRUE(freed_with_contents);
}

TEST(SecretBytesTest, MovesWithoutCopying) {
  SecretBytes first = SecretBytes::CopyFrom("key");
  const uint8_t* const data = first.bytes(RevealSecret()).data();
  SecretBytes second = std::move(first);
  EXPECT_EQ(second.bytes(RevealSecret()).data(), data);
  EXPECT_TRUE(first.empty());  // NOLINT: a moved-from secret is empty
  SecretBytes& self = second;
  second = std::move(self);
  EXPECT_EQ(second.size(), 3u);
}

TEST(SecretBytesTest, StartsAtZeroAndCanBeFilled) {
  SecretBytes secret(3);
  EXPECT_THAT(secret.bytes(RevealSecret()), ElementsAre(0, 0, 0));
  secret.mutable_bytes(RevealSecret())[1] = 7;
  EXPECT_THAT(secret.bytes(RevealSecret()), ElementsAre(0, 7, 0));
}

TEST(SecretBytesTest, ACloneIsEqualAndIndependent) {
  const SecretBytes secret = SecretBytes::CopyFrom("key");
  SecretBytes clone = secret.Clone(RevealSecret());
  EXPECT_TRUE(clone.EqualsConstantTime(secret));
  clone.mutable_bytes(RevealSecret())[2] ^= 1;
  EXPECT_FALSE(clone.EqualsConstantTime(secret));
}

TEST(SecretBytesTest, DiffersFromAnotherSizeAndEqualsWhenEmpty) {
  EXPECT_FALSE(SecretBytes::CopyFrom("key").EqualsConstantTime(
      SecretBytes::CopyFrom("keys")));
  EXPECT_TRUE(SecretBytes().EqualsConstantTime(SecretBytes(0)));
}

TEST(SecretBytesTest, RandomSecretsDiffer) {
  EXPECT_FALSE(
      SecretBytes::Random(32).EqualsConstantTime(SecretBytes::Random(32)));
}

}  // namespace
}  // namespace mledge
