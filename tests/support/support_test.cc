#include <gmock/gmock.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "mledge/tests/support/fake_clock.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/shared_data.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::google::protobuf::Duration;
using ::google::protobuf::Timestamp;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pointee;

template <typename Matcher, typename Value>
std::string Explain(const Matcher& matcher, const Value& value) {
  ::testing::StringMatchResultListener listener;
  ::testing::ExplainMatchResult(matcher, value, &listener);
  return listener.str();
}

TEST(StatusMatchersTest, TellErrorsFromValues) {
  const absl::StatusOr<int> value = 3;
  const absl::StatusOr<int> error = absl::NotFoundError("no such round");
  EXPECT_THAT(value, IsOk());
  EXPECT_THAT(error, Not(IsOk()));
  EXPECT_THAT(value, IsOkAndHolds(3));
  EXPECT_THAT(value, Not(IsOkAndHolds(4)));
  EXPECT_THAT(error, Not(IsOkAndHolds(3)));
  EXPECT_THAT(error, StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(error, StatusIs(StatusCode::kNotFound, HasSubstr("round")));
  EXPECT_THAT(error, Not(StatusIs(StatusCode::kNotFound, HasSubstr("task"))));
  EXPECT_THAT(error, Not(StatusIs(StatusCode::kAborted)));
  EXPECT_THAT(error.status(), StatusIs(StatusCode::kNotFound));
}

TEST(StatusMatchersTest, ExplainWithTheStatus) {
  const absl::StatusOr<int> error = absl::NotFoundError("no such round");
  EXPECT_THAT(Explain(IsOk(), error), HasSubstr("no such round"));
  EXPECT_THAT(Explain(StatusIs(StatusCode::kAborted), error),
              HasSubstr("no such round"));
}

TEST(StatusMatchersTest, HoldMatchersAndValuesThatOnlyMove) {
  EXPECT_THAT(absl::StatusOr<std::vector<int>>({1, 2}),
              IsOkAndHolds(ElementsAre(1, 2)));
  EXPECT_THAT(absl::StatusOr<std::unique_ptr<int>>(std::make_unique<int>(5)),
              IsOkAndHolds(Pointee(5)));
}

TEST(EqualsProtoTest, ComparesMessagesAndText) {
  Duration duration;
  duration.set_seconds(3);
  Duration other = duration;
  EXPECT_THAT(duration, EqualsProto(other));
  EXPECT_THAT(duration, EqualsProto("seconds: 3"));
  other.set_nanos(1);
  EXPECT_THAT(duration, Not(EqualsProto(other)));
  EXPECT_THAT(Explain(EqualsProto(other), duration), HasSubstr("nanos"));
}

TEST(EqualsProtoTest, DoesNotEqualAnotherTypeOrBadText) {
  EXPECT_THAT(Duration(), Not(EqualsProto(Timestamp())));
  EXPECT_THAT(Duration(), Not(EqualsProto("no_such_field: 1")));
}

TEST(FakeClockTest, MovesOnlyWhenTold) {
  FakeClock clock(absl::FromUnixSeconds(100));
  EXPECT_EQ(clock.TimeNow(), absl::FromUnixSeconds(100));
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.TimeNow(), absl::FromUnixSeconds(105));
  clock.Set(absl::FromUnixSeconds(7));
  EXPECT_EQ(clock.TimeNow(), absl::FromUnixSeconds(7));
}

TEST(TempDirectoryTest, DisappearsWithItsContents) {
  std::string path;
  {
    const TempDirectory directory;
    path = directory.path();
    std::ofstream(directory.File("f")) << "x";
    EXPECT_TRUE(std::filesystem::exists(path + "/f"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(TestSeedTest, TheEnvironmentOverridesTheFixedSeed) {
  unsetenv("MLEDGE_TEST_SEED");
  EXPECT_EQ(TestSeed(17), 17u);
  setenv("MLEDGE_TEST_SEED", "23", 1);
  EXPECT_EQ(TestSeed(17), 23u);
  unsetenv("MLEDGE_TEST_SEED");
}

TEST(SharedDataTest, MissingDataNamesThePlaceAndTheVariable) {
  setenv("MLEDGE_SHARED_DATA", "/no/such/folder", 1);
  EXPECT_THAT(
      FindSharedData("mnist"),
      StatusIs(StatusCode::kNotFound, AllOf(HasSubstr("/no/such/folder/mnist"),
                                            HasSubstr("MLEDGE_SHARED_DATA"))));
  unsetenv("MLEDGE_SHARED_DATA");
}

TEST(SharedDataTest, FindsWhatIsThere) {
  const TempDirectory directory;
  setenv("MLEDGE_SHARED_DATA", directory.path().c_str(), 1);
  std::ofstream(directory.File("mnist")) << "x";
  EXPECT_THAT(FindSharedData("mnist"), IsOkAndHolds(directory.File("mnist")));
  unsetenv("MLEDGE_SHARED_DATA");
}

}  // namespace
}  // namespace mledge
