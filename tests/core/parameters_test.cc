#include "mledge/core/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/core/update.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ParameterEntry Entry(std::string name, std::vector<int64_t> shape,
                     ParameterRole role = ParameterRole::kTrainable) {
  return {.name = std::move(name), .shape = std::move(shape), .role = role};
}

// Every role, an alias and a counter that is not float.
std::vector<ParameterEntry> MixedEntries() {
  ParameterEntry tied = Entry("decoder.weight", {2, 3});
  tied.alias_of = "encoder.weight";
  ParameterEntry counter =
      Entry("norm.batches", {}, ParameterRole::kLocalBuffer);
  counter.element_type = ElementType::kInt64;
  return {Entry("encoder.weight", {2, 3}),
          tied,
          Entry("encoder.bias", {3}),
          counter,
          Entry("norm.mean", {4}, ParameterRole::kAveragedBuffer),
          Entry("scale", {}, ParameterRole::kFrozen),
          Entry("head", {5}, ParameterRole::kPersonal)};
}

TEST(ParameterLayoutTest, AssignsDenseOffsetsAndPrefixes) {
  const auto layout = ParameterLayout::Create(MixedEntries());
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ((*layout)->size(), 6 + 3 + 4 + 1 + 5);
  EXPECT_EQ((*layout)->trainable_size(), 9);
  EXPECT_EQ((*layout)->shared_size(), 13);
  EXPECT_EQ((*layout)->Find("encoder.bias")->offset, 6);
  EXPECT_EQ((*layout)->Find("norm.mean")->offset, 9);
  EXPECT_EQ((*layout)->Find("scale")->offset, 13);
  EXPECT_EQ((*layout)->Find("head")->offset, 14);
  EXPECT_EQ((*layout)->Find("nothing"), nullptr);
}

TEST(ParameterLayoutTest, AnAliasLiesWhereItsOwnerLies) {
  std::vector<ParameterEntry> entries = {Entry("bias", {3}), Entry("tied", {2}),
                                         Entry("owner", {2})};
  entries[1].alias_of = "owner";
  const auto layout = ParameterLayout::Create(entries);
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ((*layout)->size(), 5);
  EXPECT_EQ((*layout)->Find("tied")->offset, 3);
  EXPECT_EQ((*layout)->Find("tied")->extent(), 0);
}

TEST(ParameterLayoutTest, IgnoresOffsetsPassedIn) {
  ParameterEntry entry = Entry("w", {2});
  entry.offset = -17;
  const auto layout = ParameterLayout::Create({entry});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ((*layout)->Find("w")->offset, 0);
}

TEST(ParameterLayoutTest, AcceptsAnEmptyLayoutAndEmptyEntries) {
  EXPECT_THAT(ParameterLayout::Create({}), IsOk());
  const auto layout = ParameterLayout::Create({Entry("w", {3, 0})});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ((*layout)->size(), 0);
}

TEST(ParameterLayoutTest, FingerprintDependsOnEveryField) {
  const auto base = ParameterLayout::Create(MixedEntries());
  ASSERT_THAT(base, IsOk());
  std::vector<std::vector<ParameterEntry>> others(6, MixedEntries());
  others[0][2].name = "encoder.offset";
  others[1][2].shape = {1, 3};
  others[2][6].role = ParameterRole::kFrozen;
  others[3][3].element_type = ElementType::kInt32;
  others[4][1].alias_of = "";
  others[5].pop_back();
  for (size_t i = 0; i < others.size(); ++i) {
    const auto other = ParameterLayout::Create(others[i]);
    ASSERT_THAT(other, IsOk()) << i;
    EXPECT_NE((*other)->fingerprint(), (*base)->fingerprint()) << i;
  }
  const auto again = ParameterLayout::Create(MixedEntries());
  EXPECT_EQ((*again)->fingerprint(), (*base)->fingerprint());
}

void ExpectRefused(std::vector<ParameterEntry> entries,
                   const ::testing::Matcher<const std::string&>& message) {
  EXPECT_THAT(ParameterLayout::Create(std::move(entries)),
              StatusIs(StatusCode::kInvalidArgument, message));
}

TEST(ParameterLayoutTest, RefusesAnEmptyName) {
  ExpectRefused({Entry("", {2})}, HasSubstr("no name"));
}

TEST(ParameterLayoutTest, RefusesADuplicateName) {
  ExpectRefused({Entry("w", {2}), Entry("w", {3})},
                AllOf(HasSubstr("\"w\""), HasSubstr("twice")));
}

TEST(ParameterLayoutTest, RefusesANegativeDimension) {
  ExpectRefused({Entry("w", {2, -3})},
                AllOf(HasSubstr("\"w\""), HasSubstr("[2, -3]")));
}

TEST(ParameterLayoutTest, RefusesAShapeThatOverflows) {
  ExpectRefused({Entry("w", {int64_t{1} << 32, int64_t{1} << 31})},
                HasSubstr("more elements than 64 bits"));
}

TEST(ParameterLayoutTest, RefusesALayoutThatOverflows) {
  const int64_t most = std::numeric_limits<int64_t>::max();
  ExpectRefused({Entry("a", {most}), Entry("b", {1})},
                AllOf(HasSubstr("\"b\""), HasSubstr("the layout has more")));
}

TEST(ParameterLayoutTest, RefusesTrainableAfterAveragedBuffer) {
  ExpectRefused(
      {Entry("mean", {2}, ParameterRole::kAveragedBuffer), Entry("w", {2})},
      AllOf(HasSubstr("\"w\""), HasSubstr("\"mean\"")));
}

TEST(ParameterLayoutTest, RefusesAveragedBufferAfterTheOthers) {
  ExpectRefused({Entry("head", {2}, ParameterRole::kPersonal),
                 Entry("mean", {2}, ParameterRole::kAveragedBuffer)},
                AllOf(HasSubstr("\"mean\""), HasSubstr("personal")));
}

TEST(ParameterLayoutTest, RefusesATrainableEntryThatIsNotFloat32) {
  std::vector<ParameterEntry> entries = {Entry("w", {2})};
  entries[0].element_type = ElementType::kFloat64;
  ExpectRefused(entries, HasSubstr("float32, not float64"));
}

TEST(ParameterLayoutTest, RefusesAnAveragedBufferThatIsNotFloat32) {
  std::vector<ParameterEntry> entries = {
      Entry("count", {}, ParameterRole::kAveragedBuffer)};
  entries[0].element_type = ElementType::kInt64;
  ExpectRefused(entries, HasSubstr("float32, not int64"));
}

TEST(ParameterLayoutTest, RefusesAnAliasOfAnUnknownEntry) {
  std::vector<ParameterEntry> entries = {Entry("w", {2})};
  entries[0].alias_of = "missing";
  ExpectRefused(
      entries, AllOf(HasSubstr("\"missing\""), HasSubstr("not in the layout")));
}

TEST(ParameterLayoutTest, RefusesAnAliasOfItself) {
  std::vector<ParameterEntry> entries = {Entry("w", {2})};
  entries[0].alias_of = "w";
  ExpectRefused(entries, HasSubstr("an alias itself"));
}

TEST(ParameterLayoutTest, RefusesAnAliasOfAnAlias) {
  std::vector<ParameterEntry> entries = {Entry("a", {2}), Entry("b", {2}),
                                         Entry("c", {2})};
  entries[1].alias_of = "a";
  entries[2].alias_of = "b";
  ExpectRefused(entries, AllOf(HasSubstr("\"c\""), HasSubstr("\"b\"")));
}

TEST(ParameterLayoutTest, RefusesAnAliasWithAnotherShape) {
  std::vector<ParameterEntry> entries = {Entry("a", {2, 3}), Entry("b", {6})};
  entries[1].alias_of = "a";
  ExpectRefused(entries, AllOf(HasSubstr("[6]"), HasSubstr("[2, 3]")));
}

TEST(ParameterLayoutTest, RefusesAnAliasWithAnotherRole) {
  std::vector<ParameterEntry> entries = {
      Entry("a", {2}), Entry("b", {2}, ParameterRole::kFrozen)};
  entries[1].alias_of = "a";
  ExpectRefused(entries, AllOf(HasSubstr("frozen"), HasSubstr("trainable")));
}

TEST(ParameterVectorTest, StartsAtZeroAndIsAligned) {
  const auto layout = ParameterLayout::Create({Entry("w", {1001})});
  ASSERT_THAT(layout, IsOk());
  const ParameterVector vector(*layout);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(vector.values().data()) % 64, 0u);
  EXPECT_THAT(vector.values(), ::testing::Each(0.0f));
}

TEST(ParameterVectorTest, GivesTheValuesOfAnEntryAndOfItsAlias) {
  std::vector<ParameterEntry> entries = {Entry("a", {2}), Entry("b", {3}),
                                         Entry("tied", {3})};
  entries[2].alias_of = "b";
  const auto layout = ParameterLayout::Create(entries);
  ASSERT_THAT(layout, IsOk());
  const std::vector<float> values = {1, 2, 3, 4, 5};
  const auto vector = ParameterVector::FromValues(*layout, values);
  ASSERT_THAT(vector, IsOk());
  EXPECT_THAT(vector->values(*(*layout)->Find("b")), ElementsAre(3, 4, 5));
  EXPECT_THAT(vector->values(*(*layout)->Find("tied")), ElementsAre(3, 4, 5));
}

TEST(ParameterVectorTest, RefusesAnotherNumberOfValues) {
  const auto layout = ParameterLayout::Create({Entry("w", {3})});
  ASSERT_THAT(layout, IsOk());
  EXPECT_THAT(ParameterVector::FromValues(*layout, std::vector<float>{1, 2}),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("3 elements"), HasSubstr("2 values"))));
}

TEST(ParameterVectorTest, CopiesAreIndependent) {
  const auto layout = ParameterLayout::Create({Entry("w", {2})});
  ASSERT_THAT(layout, IsOk());
  ParameterVector vector(*layout);
  ParameterVector copy = vector;
  copy.values()[0] = 1;
  EXPECT_EQ(vector.values()[0], 0);
  vector = copy;
  EXPECT_EQ(vector.values()[0], 1);
  EXPECT_NE(vector.values().data(), copy.values().data());
}

TEST(ParameterVectorTest, HashIsOverTheLittleEndianBytes) {
  const auto layout = ParameterLayout::Create({Entry("w", {2})});
  ASSERT_THAT(layout, IsOk());
  const auto vector =
      ParameterVector::FromValues(*layout, std::vector<float>{1.0f, -2.0f});
  ASSERT_THAT(vector, IsOk());
  EXPECT_EQ(vector->ContentHash(),
            Sha256Of(std::string_view("\0\0\x80\x3f\0\0\0\xc0", 8)));
}

TEST(AlignedFloatsTest, AssignmentBetweenSizesKeepsTheValues) {
  AlignedFloats small(1);
  AlignedFloats large(100);
  large.span()[99] = 7;
  small = large;
  EXPECT_EQ(small.span()[99], 7);
  small = AlignedFloats();
  EXPECT_EQ(small.size(), 0u);
}

TEST(FindNonFiniteTest, NamesTheFirstPosition) {
  std::vector<float> values(5000, 1.0f);
  EXPECT_EQ(FindNonFinite(values), std::nullopt);
  values[4100] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(FindNonFinite(values), 4100u);
  values[2047] = std::nanf("");
  EXPECT_EQ(FindNonFinite(values), 2047u);
  values[0] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(FindNonFinite(values), 0u);
}

TEST(FindNonFiniteTest, AcceptsTheLargestAndSmallestFiniteValues) {
  const std::vector<float> values = {
      std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(),
      std::numeric_limits<float>::denorm_min(), -0.0f};
  EXPECT_EQ(FindNonFinite(values), std::nullopt);
  EXPECT_EQ(FindNonFinite({}), std::nullopt);
}

TEST(UpdateTest, FindsSectionsAndScalarsByName) {
  Update update;
  update.sections.push_back(
      {.name = std::string(kDeltaSection), .values = AlignedFloats(3)});
  update.scalars.push_back({.name = std::string(kExamplesScalar), .value = 12});
  ASSERT_NE(update.FindSection("delta"), nullptr);
  EXPECT_EQ(update.FindSection("delta")->values.size(), 3u);
  EXPECT_EQ(update.FindSection("control"), nullptr);
  EXPECT_EQ(update.Scalar("examples"), 12);
  EXPECT_EQ(update.Scalar("loss_sum"), 0);
}

}  // namespace
}  // namespace mledge
