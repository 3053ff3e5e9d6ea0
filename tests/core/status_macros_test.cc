#include "mledge/core/status_macros.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string_view>

#include "mledge/core/strings.h"
#include "mledge/core/version.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;

absl::StatusOr<std::unique_ptr<int>> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("odd");
  return std::make_unique<int>(value / 2);
}

absl::StatusOr<int> Quarter(int value) {
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<int> half, Half(value));
  MLEDGE_ASSIGN_OR_RETURN(std::unique_ptr<int> quarter, Half(*half));
  return *quarter;
}

absl::Status First(absl::Status first, bool* went_on) {
  MLEDGE_RETURN_IF_ERROR(first);
  *went_on = true;
  return absl::OkStatus();
}

TEST(StatusMacrosTest, AssignsValuesThatOnlyMoveOrReturnsTheError) {
  EXPECT_THAT(Quarter(12), IsOkAndHolds(3));
  EXPECT_THAT(Quarter(6), StatusIs(StatusCode::kInvalidArgument, "odd"));
}

TEST(StatusMacrosTest, ReturnsAtTheFirstError) {
  bool went_on = false;
  EXPECT_THAT(First(absl::AbortedError("x"), &went_on),
              StatusIs(StatusCode::kAborted, "x"));
  EXPECT_FALSE(went_on);
  EXPECT_THAT(First(absl::OkStatus(), &went_on), IsOk());
  EXPECT_TRUE(went_on);
}

TEST(AnnotateTest, KeepsTheCodeAndNamesThePlace) {
  EXPECT_THAT(Annotate(absl::NotFoundError("no file"), "task 7"),
              StatusIs(StatusCode::kNotFound, "task 7: no file"));
  EXPECT_THAT(Annotate(absl::OkStatus(), "task 7"), IsOk());
}

TEST(StrCatTest, TakesBothKindsOfViewAndNumbers) {
  const std::string_view std_view = "a";
  const absl::string_view absl_view = "b";
  EXPECT_EQ(StrCat(std_view, absl_view, std::string("c"), "d", 5, 6.5),
            "abcd56.5");
  std::string text = "x";
  StrAppend(&text, std_view, 1);
  EXPECT_EQ(text, "xa1");
}

TEST(BuildInfoTest, NamesVersionAndCompiler) {
  EXPECT_THAT(std::string(GetBuildInfo().version),
              ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_FALSE(GetBuildInfo().compiler.empty());
  EXPECT_FALSE(GetBuildInfo().build_type.empty());
}

}  // namespace
}  // namespace mledge
