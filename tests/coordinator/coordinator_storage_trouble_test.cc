// A storage that takes nothing: a full disk, and another coordinator's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/coordinator/coordinator.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FullDiskTest : public ::testing::Test {
 protected:
  FullDiskTest() { EXPECT_THAT(harness_.Submit(options_), IsOk()); }
  void Fill(const std::string& operation) {
    harness_.storage.fail = [operation](const std::string& name) {
      return name == operation
                 ? absl::ResourceExhaustedError("no space left on device")
                 : absl::OkStatus();
    };
  }
  void MakeRoom() {
    harness_.storage.fail = nullptr;
    harness_.Advance(absl::Seconds(2));
  }
  const TestTaskOptions options_{.size = 2, .rounds = 1};
  CoordinatorHarness harness_;
};

TEST_F(FullDiskTest, CheckInIsToldAndHoldsTheSameAssignmentLater) {
  harness_.CheckIn("a");
  Fill("Commit");
  const auto b = harness_.CheckIn("b");
  ASSERT_TRUE(b->answer.has_value());
  EXPECT_THAT(*b->answer, StatusIs(absl::StatusCode::kResourceExhausted,
                                   HasSubstr("no space left")));
  MakeRoom();
  const auto a = harness_.CheckIn("a");
  const auto again = harness_.CheckIn("b");
  ASSERT_TRUE(a->has_assignment());
  ASSERT_TRUE(again->has_assignment());
  EXPECT_EQ(again->assignment().ordinal(), 0);
}

TEST_F(FullDiskTest, UploadThatCannotBeRecordedIsNotAcknowledged) {
  const auto a = harness_.CheckIn("a");
  const auto b = harness_.CheckIn("b");
  Fill("Commit");
  EXPECT_THAT(harness_.Upload("a", a->assignment()),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(harness_.Upload("a", a->assignment()),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(harness_.Upload("b", b->assignment()),
              StatusIs(absl::StatusCode::kResourceExhausted));
  MakeRoom();
  EXPECT_EQ(harness_.Upload("a", a->assignment())->outcome(),
            v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(harness_.Upload("b", b->assignment())->outcome(),
            v1::UploadResult::ACKNOWLEDGED);
  EXPECT_EQ(harness_.Summary().state(), v1::COMPLETED);
  // What could not be recorded then was recorded since.
  harness_.Crash();
  EXPECT_EQ(harness_.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(harness_.Summary().version(), 1);
  EXPECT_EQ(harness_.Upload("a", a->assignment())->outcome(),
            v1::UploadResult::ACKNOWLEDGED);
  int64_t updates = 0;
  for (const v1::TaskEvent& event : harness_.Events()) {
    updates += event.round_completed().updates();
  }
  EXPECT_EQ(updates, 2);
}

TEST_F(FullDiskTest, UploadThatCannotBeWrittenOrSyncedGoesOnLater) {
  const auto a = harness_.CheckIn("a");
  harness_.CheckIn("b");
  for (const char* operation : {"OpenSpoolWriter", "Append", "Sync"}) {
    Fill(operation);
    EXPECT_THAT(harness_.Upload("a", a->assignment()),
                StatusIs(absl::StatusCode::kResourceExhausted))
        << operation;
    MakeRoom();
  }
  EXPECT_EQ(harness_.Upload("a", a->assignment())->outcome(),
            v1::UploadResult::ACKNOWLEDGED);
}

// After a failed sync the system may have dropped what it could not write.
TEST_F(FullDiskTest, BytesThatCouldNotBeSyncedAreSentAgain) {
  const auto a = harness_.CheckIn("a");
  harness_.CheckIn("b");
  Fill("Sync");
  EXPECT_FALSE(harness_.Upload("a", a->assignment()).ok());
  MakeRoom();
  const std::string file =
      MakeTestUpdateFile(a->assignment().assignment_id(), true);
  const v1::UploadHeader header =
      MakeTestUploadHeader(a->assignment().assignment_id(), file);
  const auto start =
      harness_.coordinator->BeginUpload(harness_.now, {DeviceId("a")}, header);
  ASSERT_THAT(start, IsOk());
  EXPECT_EQ(start->writer->offset(), 0u);
}

TEST_F(FullDiskTest, SubmissionIsToldAndCanBeRepeated) {
  for (const char* operation : {"PutBlob", "Commit"}) {
    Fill(operation);
    EXPECT_THAT(harness_.Submit({.name = operation}),
                StatusIs(absl::StatusCode::kResourceExhausted));
    MakeRoom();
    EXPECT_THAT(harness_.Submit({.name = operation}), IsOk());
  }
}

// A deadline is not held against devices that the storage kept waiting.
TEST_F(FullDiskTest, DeadlineWaitsUntilTheStorageTakesRecords) {
  const auto a = harness_.CheckIn("a");
  const auto b = harness_.CheckIn("b");
  Fill("Commit");
  EXPECT_FALSE(harness_.Upload("a", a->assignment()).ok());
  EXPECT_FALSE(harness_.Upload("b", b->assignment()).ok());
  harness_.Advance(absl::Hours(1));
  MakeRoom();
  EXPECT_EQ(harness_.Summary().state(), v1::COMPLETED);
}

TEST(FencedCoordinatorTest, RefusesEverythingOnceAnotherHasTakenOver) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
  harness.storage.fail = [](const std::string& name) {
    return name == "Commit" ? absl::FailedPreconditionError("owner epoch moved")
                            : absl::OkStatus();
  };
  // The other coordinator will take what devices hold: nothing here may make
  // them drop it.
  EXPECT_THAT(*harness.CheckIn("a")->answer,
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(harness.taken_over,
              ElementsAre(StatusIs(absl::StatusCode::kFailedPrecondition)));
  harness.storage.fail = nullptr;
  EXPECT_THAT(
      *harness.CheckIn("b")->answer,
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("owner epoch")));
  EXPECT_EQ(harness.taken_over.size(), 1u);
}

}  // namespace
}  // namespace mledge
