#include "mledge/aggregation/secagg/shamir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "mledge/aggregation/secagg/field128.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/aggregation/secagg/test_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge::secagg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Field128 Draw(TrainingRandom& random) {
  return {random.NextU64(), random.NextU64()};
}

// Schoolbook multiplication over single bits, then division by the polynomial.
Field128 MultiplyNaively(Field128 a, Field128 b) {
  std::array<bool, 256> product{};
  const auto bit = [](Field128 x, int i) {
    return ((i < 64 ? x.low >> i : x.high >> (i - 64)) & 1) != 0;
  };
  for (int i = 0; i < 128; ++i) {
    for (int j = 0; j < 128; ++j) {
      if (bit(a, i) && bit(b, j)) product[i + j] = !product[i + j];
    }
  }
  for (int i = 255; i >= 128; --i) {
    if (!product[i]) continue;
    for (const int power : {128, 7, 2, 1, 0}) {
      product[i - 128 + power] = !product[i - 128 + power];
    }
  }
  Field128 result;
  for (int i = 0; i < 64; ++i) {
    result.low |= uint64_t{product[i]} << i;
    result.high |= uint64_t{product[64 + i]} << i;
  }
  return result;
}

TEST(Field128Test, EveryWayToMultiplyAgrees) {
  const uint64_t seed = TestSeed(3);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "field"});
  std::vector<Field128> elements = {
      {}, {1, 0}, {~uint64_t{0}, ~uint64_t{0}}, {0, uint64_t{1} << 63}};
  for (int i = 0; i < 60; ++i) elements.push_back(Draw(random));
  for (const Field128 a : elements) {
    for (const Field128 b : elements) {
      const Field128 expected = MultiplyNaively(a, b);
      EXPECT_EQ(Multiply(a, b), expected);
      EXPECT_EQ(field128_internal::MultiplyPortable(a, b), expected);
      if (field128_internal::HasCarrylessMultiply()) {
        EXPECT_EQ(field128_internal::MultiplyCarryless(a, b), expected);
      }
    }
    for (const uint32_t b : {0U, 1U, 2U, 3U, 1000U, 0x80000000U, 0xffffffffU}) {
      const Field128 expected = MultiplyNaively(a, {b, 0});
      EXPECT_EQ(MultiplyBySmall(a, b), expected);
      EXPECT_EQ(field128_internal::MultiplyBySmallPortable(a, b), expected);
    }
  }
}

TEST(Field128Test, HornerStepsAgree) {
  TrainingRandom random({.purpose = "horner"});
  std::vector<Field128> fast(101);
  std::vector<uint32_t> points(101);
  for (size_t i = 0; i < fast.size(); ++i) {
    fast[i] = Draw(random);
    points[i] = random.NextU32();
  }
  std::vector<Field128> portable = fast;
  const Field128 addend = Draw(random);
  MultiplyBySmallAndAdd(fast, points, addend);
  field128_internal::MultiplyBySmallAndAddPortable(portable, points, addend);
  EXPECT_EQ(fast, portable);
}

TEST(Field128Test, InversesAreInverses) {
  TrainingRandom random({.purpose = "inverse"});
  for (int i = 0; i < 50; ++i) {
    const Field128 a = Draw(random);
    EXPECT_EQ(Multiply(a, Invert(a)), (Field128{1, 0}));
  }
  EXPECT_EQ(Invert({}), Field128{});
}

TEST(Field128Test, BytesAreLittleEndian) {
  std::array<uint8_t, 16> bytes;
  std::iota(bytes.begin(), bytes.end(), uint8_t{1});
  const Field128 element = Field128::FromBytes(bytes);
  EXPECT_EQ(element.low, 0x0807060504030201U);
  EXPECT_EQ(element.high, 0x100f0e0d0c0b0a09U);
  std::array<uint8_t, 16> back;
  element.ToBytes(back);
  EXPECT_EQ(back, bytes);
}

std::vector<ShareIndex> Members(std::initializer_list<uint32_t> members) {
  std::vector<ShareIndex> indices;
  for (const uint32_t member : members) {
    indices.push_back(ShareIndex::OfMember(member));
  }
  return indices;
}

std::vector<ShareIndex> FirstMembers(uint32_t count) {
  std::vector<ShareIndex> indices;
  for (uint32_t i = 0; i < count; ++i) {
    indices.push_back(ShareIndex::OfMember(i));
  }
  return indices;
}

struct Sharing {
  explicit Sharing(uint32_t holders_count, int64_t threshold, uint64_t seed = 1)
      : random(seed),
        secret(MaskSeed::Generate(random)),
        holders(FirstMembers(holders_count)),
        shares(*ShareSeed(secret, threshold, holders, random)) {}

  absl::StatusOr<MaskSeed> From(const std::vector<size_t>& places) const {
    std::vector<ShareIndex> set;
    std::vector<const ShareValue*> values;
    for (const size_t place : places) {
      set.push_back(holders[place]);
      values.push_back(&shares[place]);
    }
    return LagrangeWeights::Create(set)->Reconstruct(values);
  }
  std::vector<ReceivedShare> Received() const {
    std::vector<ReceivedShare> received;
    for (size_t i = 0; i < holders.size(); ++i) {
      received.push_back({holders[i], &shares[i]});
    }
    return received;
  }
  std::function<bool(const MaskSeed&)> IsRight() const {
    return [this](const MaskSeed& found) {
      return found.EqualsConstantTime(secret);
    };
  }
  void Spoil(size_t place) {
    shares[place].mutable_bytes(RevealSecret())[place % 32] ^= 0x40;
  }

  RepeatableRandom random;
  MaskSeed secret;
  std::vector<ShareIndex> holders;
  std::vector<ShareValue> shares;
};

TEST(ShamirTest, AnyThresholdOfSharesGivesTheSeed) {
  const uint64_t seed = TestSeed(11);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "subsets"});
  for (const auto& [holders, threshold] :
       {std::pair{1, 1}, {2, 1}, {2, 2}, {10, 7}, {114, 78}, {300, 160}}) {
    const Sharing sharing(holders, threshold, seed);
    for (int attempt = 0; attempt < 5; ++attempt) {
      std::vector<size_t> places(holders);
      std::iota(places.begin(), places.end(), size_t{0});
      random.Shuffle(std::span(places));
      places.resize(threshold + random.UniformBelow(holders - threshold + 1));
      const auto found = sharing.From(places);
      ASSERT_THAT(found, IsOk());
      EXPECT_TRUE(found->EqualsConstantTime(sharing.secret));
    }
  }
}

TEST(ShamirTest, OneShareTooFewGivesSomethingElse) {
  const Sharing sharing(10, 7);
  EXPECT_FALSE(
      sharing.From({0, 1, 2, 3, 4, 5})->EqualsConstantTime(sharing.secret));
}

TEST(ShamirTest, EachSharingDrawsItsOwnPolynomials) {
  RepeatableRandom random(1);
  const MaskSeed seed = CountingSeed(1);
  const auto first = ShareSeed(seed, 2, FirstMembers(3), random);
  const auto second = ShareSeed(seed, 2, FirstMembers(3), random);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_FALSE((*first)[i].EqualsConstantTime((*second)[i]));
    // Nor are the two limbs of a share on one polynomial.
    const auto bytes = (*first)[i].bytes(RevealSecret());
    EXPECT_FALSE(
        std::equal(bytes.begin(), bytes.begin() + 16, bytes.begin() + 16));
  }
}

TEST(ShamirTest, SharingIsPinned) {
  CountingRandom random(100);
  const auto shares = ShareSeed(CountingSeed(1), 3, Members({0, 1, 5}), random);
  ASSERT_THAT(shares, IsOk());
  const auto value = (*shares)[2].bytes(RevealSecret());
  EXPECT_EQ(absl::BytesToHexString(
                {reinterpret_cast<const char*>(value.data()), value.size()}),
            "78dae8fd12033429564770652a37000da8053722cddcebf68998afbaf5e7d0fd");
}

TEST(ShamirTest, ReplacedWeightsAreThoseOfTheNewSet) {
  const Sharing sharing(12, 6);
  const PointInverses inverses(12);
  auto weights = LagrangeWeights::Create(Members({0, 3, 4, 7, 9, 11}));
  // One after the other, until the whole set is another one.
  for (const auto& [removed, added] : std::vector<std::pair<int, int>>{
           {4, 10}, {11, 1}, {0, 2}, {3, 5}, {7, 6}, {9, 8}}) {
    ASSERT_THAT(weights->Replace(ShareIndex::OfMember(removed),
                                 ShareIndex::OfMember(added), inverses),
                IsOk());
    std::vector<const ShareValue*> values;
    for (const ShareIndex holder : weights->holders()) {
      values.push_back(&sharing.shares[holder.member()]);
    }
    EXPECT_TRUE(
        weights->Reconstruct(values)->EqualsConstantTime(sharing.secret));
  }
  EXPECT_EQ(weights->holders()[2].member(), 10U);
}

TEST(ShamirTest, RefusesToReplaceStrangersAndMembersTwice) {
  auto weights = LagrangeWeights::Create(Members({0, 3, 4}));
  const PointInverses inverses(5);
  EXPECT_THAT(weights->Replace(ShareIndex::OfMember(1), ShareIndex::OfMember(2),
                               inverses),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(weights->Replace(ShareIndex::OfMember(0), ShareIndex::OfMember(3),
                               inverses),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ShamirTest, RefusesToReplaceWithInversesForFewerMembers) {
  const PointInverses inverses(6);  // covers members 0 … 6
  auto weights = LagrangeWeights::Create(Members({0, 3, 4}));
  EXPECT_THAT(weights->Replace(ShareIndex::OfMember(0), ShareIndex::OfMember(7),
                               inverses),
              StatusIs(absl::StatusCode::kInvalidArgument));
  auto larger = LagrangeWeights::Create(Members({0, 3, 7}));
  EXPECT_THAT(larger->Replace(ShareIndex::OfMember(0), ShareIndex::OfMember(1),
                              inverses),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ShamirTest, RefusesThresholdsOutsideTheHolders) {
  RepeatableRandom random(1);
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, int64_t{4}}) {
    EXPECT_THAT(ShareSeed(CountingSeed(1), bad, FirstMembers(3), random),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(ShamirTest, RefusesAHolderTwice) {
  RepeatableRandom random(1);
  EXPECT_THAT(
      ShareSeed(CountingSeed(1), 2, Members({4, 5, 4}), random),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("member 4")));
  EXPECT_THAT(LagrangeWeights::Create(Members({1, 1})),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const Sharing sharing(3, 2);
  std::vector<ReceivedShare> received = sharing.Received();
  received.push_back(received[0]);
  EXPECT_THAT(RecoverSeed(received, 2, sharing.IsRight()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ShamirTest, RefusesAnEmptySet) {
  EXPECT_THAT(LagrangeWeights::Create({}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ShamirTest, RefusesAnotherNumberOfShares) {
  const Sharing sharing(3, 2);
  const std::vector<const ShareValue*> one = {&sharing.shares[0]};
  EXPECT_THAT(LagrangeWeights::Create(FirstMembers(2))->Reconstruct(one),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ShamirTest, RefusesSharesOfAnotherLength) {
  for (const size_t size : {0, 1, 31, 33, 64}) {
    EXPECT_THAT(ParseShareValue(std::string(size, 'x')),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(ParseShareValue(std::string(32, 'x')), IsOk());
}

TEST(RecoverSeedTest, FindsAndNamesWrongShares) {
  Sharing sharing(20, 10);
  for (const size_t place : {0, 7, 13, 19, 4}) sharing.Spoil(place);
  const auto found = RecoverSeed(sharing.Received(), 10, sharing.IsRight());
  ASSERT_THAT(found, IsOk());
  std::vector<uint32_t> wrong;
  for (const ShareIndex holder : found->wrong) wrong.push_back(holder.member());
  EXPECT_THAT(wrong, ElementsAre(0, 4, 7, 13, 19));
}

TEST(RecoverSeedTest, GivesUpWhenTooManyAreWrong) {
  Sharing sharing(20, 10);
  for (const size_t place : {0, 7, 13, 19, 4, 5}) sharing.Spoil(place);
  // At the same limb, so that both do not hide each other.
  for (const size_t place : {0, 7, 13, 19, 4, 5}) {
    sharing.shares[place].mutable_bytes(RevealSecret())[3] ^= 0x11;
  }
  EXPECT_THAT(RecoverSeed(sharing.Received(), 10, sharing.IsRight()),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST(RecoverSeedTest, WithoutRedundancyTheCheckDecides) {
  Sharing sharing(5, 5);
  const auto found = RecoverSeed(sharing.Received(), 5, sharing.IsRight());
  ASSERT_THAT(found, IsOk());
  EXPECT_THAT(found->wrong, IsEmpty());
  sharing.Spoil(2);
  EXPECT_THAT(RecoverSeed(sharing.Received(), 5, sharing.IsRight()),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST(RecoverSeedTest, RandomErrorsUpToTheBound) {
  const uint64_t seed = TestSeed(29);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "errors"});
  for (int attempt = 0; attempt < 40; ++attempt) {
    const auto holders = static_cast<uint32_t>(1 + random.UniformBelow(40));
    const auto threshold =
        static_cast<int64_t>(1 + random.UniformBelow(holders));
    Sharing sharing(holders, threshold, seed + attempt);
    const size_t errors = random.UniformBelow((holders - threshold) / 2 + 1);
    std::vector<size_t> places(holders);
    std::iota(places.begin(), places.end(), size_t{0});
    random.Shuffle(std::span(places));
    for (size_t i = 0; i < errors; ++i) sharing.Spoil(places[i]);
    const auto found =
        RecoverSeed(sharing.Received(), threshold, sharing.IsRight());
    ASSERT_THAT(found, IsOk()) << holders << " " << threshold << " " << errors;
    EXPECT_EQ(found->wrong.size(), errors);
  }
}

TEST(RecoverSeedTest, RefusesFewerSharesThanTheThreshold) {
  const Sharing sharing(3, 2);
  EXPECT_THAT(RecoverSeed({}, 1, sharing.IsRight()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(RecoverSeed(sharing.Received(), 4, sharing.IsRight()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge::secagg
