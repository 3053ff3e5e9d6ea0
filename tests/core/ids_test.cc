#include "mledge/core/ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <type_traits>

#include "absl/container/flat_hash_set.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;

static_assert(!std::is_convertible_v<TaskId, DeviceId>);
static_assert(!std::is_constructible_v<TaskId, DeviceId>);
static_assert(!std::is_constructible_v<RoundNumber, VersionNumber>);
static_assert(!std::is_convertible_v<int64_t, RoundNumber>);

TEST(StringIdTest, ComparesAndHashesByValue) {
  const absl::flat_hash_set<DeviceId> devices = {DeviceId("a"), DeviceId("b"),
                                                 DeviceId("a")};
  EXPECT_EQ(devices.size(), 2u);
  EXPECT_LT(DeviceId("a"), DeviceId("b"));
  EXPECT_TRUE(DeviceId().empty());
}

TEST(NumberIdTest, NextIsOneMore) {
  EXPECT_EQ(RoundNumber(4).Next(), RoundNumber(5));
  EXPECT_LT(RoundNumber(4), RoundNumber(5));
}

TEST(ValidateIdTest, AcceptsEveryAllowedCharacter) {
  EXPECT_THAT(ValidateId("device id", "A-z_0.9"), IsOk());
  EXPECT_THAT(ValidateId("device id", std::string(128, 'x')), IsOk());
}

TEST(ValidateIdTest, RefusesEmpty) {
  EXPECT_THAT(ValidateId("device id", ""),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("device id"), HasSubstr("empty"))));
}

TEST(ValidateIdTest, RefusesTooLong) {
  EXPECT_THAT(
      ValidateId("device id", std::string(129, 'x')),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("129 characters")));
}

TEST(ValidateIdTest, RefusesSlashAndNamesIt) {
  EXPECT_THAT(
      ValidateId("task id", "a/b"),
      StatusIs(StatusCode::kInvalidArgument,
               AllOf(HasSubstr("task id"), HasSubstr("'/' at position 1"))));
}

TEST(ValidateIdTest, RefusesControlCharactersAndPrintsThemEscaped) {
  const std::string with_nul("a\0b", 3);
  EXPECT_THAT(ValidateId("task id", with_nul),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("\\x00")));
  EXPECT_THAT(ValidateId("task id", "a\n"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("\\n")));
}

TEST(ValidateIdTest, RefusesBytesAboveAscii) {
  EXPECT_THAT(ValidateId("task id", "\xc3\xa4"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("\\xc3")));
}

TEST(ValidateIdTest, RefusesLeadingDot) {
  EXPECT_THAT(ValidateId("task id", ".."),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("must not start with '.'")));
}

TEST(ValidateIdTest, RefusesLeadingHyphen) {
  EXPECT_THAT(ValidateId("task id", "-rf"),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("must not start with '-'")));
}

}  // namespace
}  // namespace mledge
