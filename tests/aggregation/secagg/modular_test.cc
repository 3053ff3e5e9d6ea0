#include "mledge/aggregation/secagg/modular.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "mledge/aggregation/secagg/internal/lane_kernel.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;

ModularVector VectorOf(int bits, int64_t size) {
  return *ModularVector::Create(*Modulus::Create(bits), size);
}

ModularVector RandomVector(int bits, int64_t size, TrainingRandom& random) {
  ModularVector vector = VectorOf(bits, size);
  for (int64_t i = 0; i < size; ++i) {
    vector.Set(i, static_cast<int64_t>(random.NextU64()));
  }
  return vector;
}

// Bit by bit.
std::string PackNaively(const ModularVector& vector) {
  const int bits = vector.modulus().bits();
  std::string packed(static_cast<size_t>((vector.size() * bits + 7) / 8), '\0');
  for (int64_t i = 0; i < vector.size(); ++i) {
    for (int bit = 0; bit < bits; ++bit) {
      const int64_t at = i * bits + bit;
      if ((vector.residue(i) >> bit & 1) != 0) {
        packed[static_cast<size_t>(at / 8)] |= static_cast<char>(1 << (at % 8));
      }
    }
  }
  return packed;
}

class EveryModulusTest : public ::testing::TestWithParam<int> {
 protected:
  const uint64_t seed_ = TestSeed(5);
  const ::testing::ScopedTrace trace_ = TraceSeed(seed_);
  TrainingRandom random_{{.task_seed = seed_, .purpose = "modular"}};
};

TEST_P(EveryModulusTest, PacksAsBitByBit) {
  for (const int64_t size : {0, 1, 7, 8, 9, 31, 32, 33, 40, 1000, 1003}) {
    const ModularVector vector = RandomVector(GetParam(), size, random_);
    EXPECT_EQ(vector.Pack(), PackNaively(vector)) << size;
  }
}

TEST_P(EveryModulusTest, UnpackAndAddIsAddition) {
  for (const int64_t size : {0, 1, 7, 8, 9, 31, 32, 33, 40, 1000, 1003}) {
    const ModularVector a = RandomVector(GetParam(), size, random_);
    ModularVector sum = RandomVector(GetParam(), size, random_);
    const ModularVector before = sum;
    ASSERT_THAT(sum.UnpackAndAdd(a.Pack()), IsOk());
    for (int64_t i = 0; i < size; ++i) {
      ASSERT_EQ(sum.residue(i), (uint64_t{a.residue(i)} + before.residue(i)) &
                                    a.modulus().mask())
          << i << " of " << size;
    }
    ModularVector added = before;
    ASSERT_THAT(added.Add(a), IsOk());
    EXPECT_EQ(added.Pack(), sum.Pack());
  }
}

TEST_P(EveryModulusTest, PortableUnpackingAgrees) {
  const ModularVector a = RandomVector(GetParam(), 1003, random_);
  const std::string packed = a.Pack();
  const auto* bytes = reinterpret_cast<const uint8_t*>(packed.data());
  const auto check = [&]<typename Lane>(Lane) {
    std::vector<Lane> fast(1003, Lane{7});
    std::vector<Lane> portable(1003, Lane{7});
    secagg_internal::UnpackAndAdd(GetParam(), bytes, 1003, fast.data());
    secagg_internal::UnpackAndAddPortable(GetParam(), bytes, 1003,
                                          portable.data());
    EXPECT_EQ(fast, portable);
  };
  GetParam() <= 16 ? check(uint16_t{}) : check(uint32_t{});
}

TEST_P(EveryModulusTest, RangesAreTheWhole) {
  constexpr int64_t kSize = 1003;
  const ModularVector a = RandomVector(GetParam(), kSize, random_);
  ModularVector sum = VectorOf(GetParam(), kSize);
  for (int64_t begin = 0; begin < kSize; begin += 136) {
    const int64_t end = std::min(begin + 136, kSize);
    std::vector<uint8_t> packed(
        static_cast<size_t>(a.modulus().PackedSize(end - begin)));
    ASSERT_THAT(a.PackRange(begin, end, packed), IsOk());
    ASSERT_THAT(sum.UnpackAndAdd(begin, end, packed), IsOk());
  }
  EXPECT_EQ(sum.Pack(), a.Pack());
}

TEST_P(EveryModulusTest, SignedNumbersComeBack) {
  const int64_t half = int64_t{1} << (GetParam() - 1);
  ModularVector vector = VectorOf(GetParam(), 4);
  vector.Set(0, -half);
  vector.Set(1, half - 1);
  vector.Set(2, -1);
  vector.Set(3, 2 * half + 5);
  EXPECT_EQ(vector.centered(0), -half);
  EXPECT_EQ(vector.centered(1), half - 1);
  EXPECT_EQ(vector.centered(2), -1);
  EXPECT_EQ(vector.centered(3), 5);
  EXPECT_EQ(vector.residue(2), vector.modulus().mask());
}

TEST_P(EveryModulusTest, RefusesEveryOtherLength) {
  ModularVector vector = VectorOf(GetParam(), 19);
  const auto right = static_cast<size_t>(vector.packed_size());
  for (size_t size = 0; size < right + 9; ++size) {
    if (size == right) continue;
    EXPECT_THAT(vector.UnpackAndAdd(std::string(size, '\1')),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_EQ(vector.Pack(), std::string(right, '\0'));
}

TEST_P(EveryModulusTest, RefusesFillingBitsThatAreSet) {
  for (int64_t size = 1; size < 9; ++size) {
    ModularVector vector = VectorOf(GetParam(), size);
    if (size * GetParam() % 8 == 0) continue;
    std::string packed(static_cast<size_t>(vector.packed_size()), '\0');
    packed.back() = '\x80';
    EXPECT_THAT(
        vector.UnpackAndAdd(packed),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not zero")));
    EXPECT_EQ(vector.residue(size - 1), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, EveryModulusTest, ::testing::Range(8, 33));

TEST(ModularVectorTest, AddingStreamsIsAddition) {
  TrainingRandom random({.purpose = "streams"});
  constexpr size_t kLanes = 333;
  const auto check = [&]<typename Lane>(Lane) {
    std::vector<std::vector<Lane>> streams(secagg_internal::kMostStreams,
                                           std::vector<Lane>(kLanes));
    std::vector<const uint8_t*> bytes;
    for (std::vector<Lane>& stream : streams) {
      for (Lane& lane : stream) lane = static_cast<Lane>(random.NextU32());
      bytes.push_back(reinterpret_cast<const uint8_t*>(stream.data()));
    }
    for (size_t count = 1; count <= streams.size(); ++count) {
      for (const bool subtract : {false, true}) {
        std::vector<Lane> fast(kLanes, Lane{9});
        std::vector<Lane> portable(kLanes, Lane{9});
        secagg_internal::AddStreams(fast.data(), bytes.data(), count, kLanes,
                                    subtract);
        secagg_internal::AddStreamsPortable(portable.data(), bytes.data(),
                                            count, kLanes, subtract);
        EXPECT_EQ(fast, portable);
        Lane expected = 9;
        for (size_t k = 0; k < count; ++k) {
          expected = static_cast<Lane>(subtract ? expected - streams[k][100]
                                                : expected + streams[k][100]);
        }
        EXPECT_EQ(fast[100], expected);
      }
    }
  };
  check(uint16_t{});
  check(uint32_t{});
}

TEST(ModularVectorTest, RefusesRangesOutsideOrBetweenBytes) {
  ModularVector vector = VectorOf(12, 100);
  std::vector<uint8_t> bytes(1000);
  const auto is_invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
           {-8, 8},
           {0, 104},
           {16, 8},
           {4, 8},
           {0, 12},
           {-(int64_t{1} << 40), 8},
           {0, std::numeric_limits<int64_t>::max()}}) {
    const size_t size =
        end > begin && end - begin < 200 ? (end - begin) * 12 / 8 : 8;
    EXPECT_THAT(vector.PackRange(begin, end, std::span(bytes).first(size)),
                is_invalid);
    EXPECT_THAT(vector.UnpackAndAdd(begin, end, std::span(bytes).first(size)),
                is_invalid);
  }
  EXPECT_THAT(vector.PackRange(96, 100, std::span(bytes).first(6)), IsOk());
}

TEST(ModularVectorTest, RefusesToAddOtherShapes) {
  ModularVector vector = VectorOf(12, 100);
  EXPECT_THAT(vector.Add(VectorOf(12, 99)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(vector.Add(VectorOf(13, 100)),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ModularVectorTest, RefusesSizesThatAreNone) {
  const Modulus modulus = *Modulus::Create(16);
  EXPECT_THAT(ModularVector::Create(modulus, -1),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      ModularVector::Create(modulus, std::numeric_limits<int64_t>::max()),
      StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ModulusTest, RefusesBitsOutsideEightToThirtyTwo) {
  for (const int bad : {-1, 0, 7, 33, 64}) {
    EXPECT_THAT(Modulus::Create(bad),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(ModulusTest, KnowsItsSizes) {
  const Modulus modulus = *Modulus::Create(20);
  EXPECT_EQ(modulus.PackedSize(100'000), 250'000);
  EXPECT_EQ(modulus.PackedSize(1), 3);
  EXPECT_EQ(modulus.lane_size_in_bytes(), 4U);
  EXPECT_EQ(Modulus::Create(16)->lane_size_in_bytes(), 2U);
  EXPECT_EQ(Modulus::Create(32)->mask(), 0xffffffffU);
}

}  // namespace
}  // namespace mledge::secagg
