#include "mledge/core/secret_random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "mledge/core/training_random.h"

namespace mledge {
namespace {

using ::testing::MatchesRegex;

static_assert(!std::is_base_of_v<SecretRandom, TrainingRandom>);
static_assert(!std::is_convertible_v<TrainingRandom*, SecretRandom*>);
static_assert(!std::is_convertible_v<SecretRandom*, TrainingRandom*>);

// 64 random bytes leave one given byte zero in each of 20 fills with a
// probability of 256^-20.
TEST(SystemSecretRandomTest, FillsEveryByte) {
  SystemSecretRandom random;
  std::vector<uint8_t> seen(64, 0);
  for (int fill = 0; fill < 20; ++fill) {
    std::vector<uint8_t> bytes(seen.size(), 0);
    random.Fill(bytes);
    for (size_t i = 0; i < bytes.size(); ++i) seen[i] |= bytes[i];
  }
  EXPECT_THAT(seen, ::testing::Each(::testing::Ne(0)));
  random.Fill({});
}

TEST(SystemSecretRandomTest, TokensAreHexAndDiffer) {
  SystemSecretRandom random;
  std::set<std::string> tokens;
  for (int i = 0; i < 100; ++i) tokens.insert(random.HexToken(16));
  EXPECT_EQ(tokens.size(), 100u);
  EXPECT_EQ(tokens.begin()->size(), 32u);
  EXPECT_THAT(*tokens.begin(), MatchesRegex("[0-9a-f]+"));
}

TEST(SystemSecretRandomTest, BytesHaveTheSizeAskedFor) {
  EXPECT_EQ(SystemSecretRandom().Bytes(48).size(), 48u);
  EXPECT_TRUE(SystemSecretRandom().Bytes(0).empty());
}

}  // namespace
}  // namespace mledge
