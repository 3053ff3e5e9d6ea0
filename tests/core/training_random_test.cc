#include "mledge/core/training_random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

namespace mledge {
namespace {

using ::testing::ElementsAre;

constexpr TrainingRandom::Stream kStream = {
    .task_seed = 7, .device = "d1", .ordinal = 3, .purpose = "shuffle"};

std::array<uint32_t, 4> FirstBlock(const TrainingRandom::State& state) {
  TrainingRandom random(state);
  return {random.NextU32(), random.NextU32(), random.NextU32(),
          random.NextU32()};
}

// "philox4x32 10" of kat_vectors in Random123, the authors' own library.
TEST(TrainingRandomTest, MatchesThePublishedVectorOfZeros) {
  EXPECT_THAT(FirstBlock({}),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
}

TEST(TrainingRandomTest, MatchesThePublishedVectorOfOnes) {
  EXPECT_THAT(FirstBlock({.key = {0xffffffff, 0xffffffff},
                          .stream = 0xffffffffffffffff,
                          .counter = 0xffffffffffffffff}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
}

TEST(TrainingRandomTest, MatchesThePublishedVectorOfPi) {
  EXPECT_THAT(FirstBlock({.key = {0xa4093822, 0x299f31d0},
                          .stream = 0x0370734413198a2e,
                          .counter = 0x85a308d3243f6a88}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

// Computed with an independent implementation (Python, hashlib). Fixes the way
// from a stream's name to its words: another value here means that every
// earlier simulation result changes.
TEST(TrainingRandomTest, StreamNamesKeepTheirMeaning) {
  TrainingRandom random(kStream);
  EXPECT_EQ(random.NextU64(), 747797266490976004u);
  EXPECT_EQ(random.NextU64(), 18069487864262915242u);
}

TEST(TrainingRandomTest, EveryPartOfTheNameSelectsAnotherStream) {
  std::vector<TrainingRandom::Stream> streams(5, kStream);
  streams[1].task_seed = 8;
  streams[2].device = "d2";
  streams[3].ordinal = 4;
  streams[4].purpose = "dropout";
  std::set<uint64_t> first;
  for (const TrainingRandom::Stream& stream : streams) {
    first.insert(TrainingRandom(stream).NextU64());
  }
  EXPECT_EQ(first.size(), streams.size());
}

TEST(TrainingRandomTest, NeighbouringPartsCannotRunIntoEachOther) {
  EXPECT_NE(TrainingRandom({.device = "ab", .purpose = "c"}).NextU64(),
            TrainingRandom({.device = "a", .purpose = "bc"}).NextU64());
}

TEST(TrainingRandomTest, ContinuesFromASnapshotAtEveryPosition) {
  TrainingRandom random(kStream);
  for (int i = 0; i < 9; ++i) {
    TrainingRandom resumed(random.state());
    EXPECT_EQ(resumed.state(), random.state());
    EXPECT_EQ(resumed.NextU32(), random.NextU32()) << "after " << i << " words";
  }
}

TEST(TrainingRandomTest, ToleratesASnapshotPastTheBlock) {
  TrainingRandom at_end({.counter = 2, .used = 6});
  TrainingRandom next_block({.counter = 3, .used = 2});
  EXPECT_EQ(at_end.state(), next_block.state());
  EXPECT_EQ(at_end.NextU32(), next_block.NextU32());
}

TEST(TrainingRandomTest, WordAtReadsWithoutMoving) {
  TrainingRandom random(kStream);
  std::vector<uint32_t> words;
  for (int i = 0; i < 11; ++i) words.push_back(random.NextU32());
  const TrainingRandom::State before = random.state();
  for (size_t i = 0; i < words.size(); ++i) {
    EXPECT_EQ(random.WordAt(i), words[i]) << i;
  }
  EXPECT_EQ(random.state(), before);
}

TEST(TrainingRandomTest, UniformValuesStayInTheirRange) {
  TrainingRandom random(kStream);
  for (int i = 0; i < 10000; ++i) {
    const float f = random.UniformFloat();
    ASSERT_TRUE(f >= 0 && f < 1) << f;
    const double d = random.UniformDouble();
    ASSERT_TRUE(d >= 0 && d < 1) << d;
    ASSERT_LT(random.UniformBelow(3), 3u);
  }
  EXPECT_EQ(random.UniformBelow(1), 0u);
}

TEST(TrainingRandomTest, ShuffleKeepsTheElements) {
  std::vector<int> values(100);
  std::iota(values.begin(), values.end(), 0);
  const std::vector<int> original = values;
  TrainingRandom random(kStream);
  random.Shuffle(std::span<int>(values));
  EXPECT_NE(values, original);
  std::sort(values.begin(), values.end());
  EXPECT_EQ(values, original);
}

TEST(TrainingRandomTest, ShuffleOfNothingAndOfOneDrawsNothing) {
  TrainingRandom random(kStream);
  const TrainingRandom::State before = random.state();
  std::vector<int> values;
  random.Shuffle(std::span<int>(values));
  values = {5};
  random.Shuffle(std::span<int>(values));
  EXPECT_EQ(random.state(), before);
}

TEST(TrainingRandomDeathTest, RefusesAnEmptyRangeAndABadShape) {
  TrainingRandom random(kStream);
  EXPECT_DEATH(random.UniformBelow(0), "CHECK failed");
  EXPECT_DEATH(random.Gamma(0), "CHECK failed");
  EXPECT_DEATH(random.Gamma(-1), "CHECK failed");
  EXPECT_DEATH(random.Gamma(std::nan("")), "CHECK failed");
}

}  // namespace
}  // namespace mledge
