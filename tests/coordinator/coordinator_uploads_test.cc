// Updates on their way in: what counts, what is refused, what comes too late.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "mledge/coordinator/coordinator.h"
#include "mledge/core/strings.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kEvaluator = Peer::Role::kEvaluator;
constexpr auto ACKNOWLEDGED = v1::UploadResult::ACKNOWLEDGED;
constexpr auto TOO_LATE = v1::UploadResult::TOO_LATE;
constexpr auto REFUSED = v1::UploadResult::REFUSED;

TEST(CoordinatorUploadsTest, SameContentAgainIsASuccessAlsoLongAfterTheRound) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 5}), IsOk());
  const auto a = harness.CheckIn("a");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  for (int round = 1; round <= 4; ++round) {
    EXPECT_EQ(harness.Upload("a", a->assignment())->outcome(), ACKNOWLEDGED);
    const auto next = harness.CheckIn("a");
    ASSERT_THAT(harness.Upload("a", next->assignment()), IsOk());
    EXPECT_EQ(harness.Summary().version(), round + 1);  // counted once
  }
  harness.Crash();
  EXPECT_EQ(harness.Upload("a", a->assignment())->outcome(), ACKNOWLEDGED);
}

TEST(CoordinatorUploadsTest, OtherContentForTheSameAssignmentIsRefused) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  const std::string id = a->assignment().assignment_id();
  Update other = MakeTestUpdate(id, true);
  other.sections[0].values.span()[0] += 1;
  const auto result = harness.UploadFile(
      "a", id, SerializeUpdate(other, MakeTestContext(id)).value());
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome(), REFUSED);
  EXPECT_THAT(result->reason(), HasSubstr("other content"));
}

TEST(CoordinatorUploadsTest, AssignmentOfAnotherDeviceIsDenied) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  EXPECT_THAT(harness.Upload("b", a->assignment()),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("not of device b")));
  EXPECT_THAT(harness.Report("b", a->assignment()),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

// Ids are unique within a role only: an evaluator of the same name is somebody
// else, and must not train.
TEST(CoordinatorUploadsTest, EvaluatorOfTheSameNameCannotSpeakForADevice) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  EXPECT_THAT(harness.Upload("a", a->assignment(), kEvaluator),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("not of evaluator a")));
  EXPECT_THAT(harness.Report("a", a->assignment(), kEvaluator),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_EQ(harness.Upload("a", a->assignment())->outcome(), ACKNOWLEDGED);
}

TEST(CoordinatorUploadsTest, DeviceOfTheSameNameCannotSpeakForAnEvaluator) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 1, .evaluate_every = 1}),
              IsOk());
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  const auto e = harness.CheckIn("e", absl::Hours(1), kEvaluator);
  ASSERT_TRUE(e->has_assignment());
  EXPECT_THAT(harness.Upload("e", e->assignment()),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_EQ(harness.Upload("e", e->assignment(), kEvaluator)->outcome(),
            ACKNOWLEDGED);
}

// The connection breaks after the last byte, and the device asks again while
// the record is still on its way to the disk: an answer now could be lost.
TEST(CoordinatorUploadsTest, RepeatedUploadIsNotAcknowledgedBeforeTheRecord) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  const std::string id = a->assignment().assignment_id();
  const std::string file = MakeTestUpdateFile(id, true);
  const v1::UploadHeader header = MakeTestUploadHeader(id, file);
  std::optional<absl::StatusOr<Coordinator::UploadStart>> again;
  harness.storage.fail = [&](const std::string& operation) {
    if (operation == "Commit" && !again.has_value()) {
      again.emplace(harness.coordinator->BeginUpload(harness.now,
                                                     {DeviceId("a")}, header));
    }
    return absl::OkStatus();
  };
  EXPECT_EQ(harness.Upload("a", a->assignment())->outcome(), ACKNOWLEDGED);
  ASSERT_TRUE(again.has_value());
  EXPECT_THAT(*again, StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("not recorded yet")));
  harness.storage.fail = nullptr;
  EXPECT_EQ(harness.Upload("a", a->assignment())->outcome(), ACKNOWLEDGED);
}

// A device drops its update after a failure that cannot pass. The state of the
// coordinator's disk does.
TEST(CoordinatorUploadsTest, TroubleWithTheStorageMakesNoDeviceGiveUp) {
  for (const auto code :
       {absl::StatusCode::kPermissionDenied, absl::StatusCode::kNotFound,
        absl::StatusCode::kDataLoss, absl::StatusCode::kInvalidArgument,
        absl::StatusCode::kFailedPrecondition}) {
    for (const std::string trouble : {"OpenSpoolWriter", "Sync", "Commit"}) {
      SCOPED_TRACE(StrCat(trouble, ": ", absl::StatusCodeToString(code)));
      CoordinatorHarness harness;
      ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
      const auto a = harness.CheckIn("a");
      harness.storage.fail = [&](const std::string& operation) {
        return operation == trouble ? absl::Status(code, "read-only disk")
                                    : absl::OkStatus();
      };
      EXPECT_THAT(harness.Upload("a", a->assignment()),
                  StatusIs(absl::StatusCode::kUnavailable,
                           HasSubstr("read-only disk")));
    }
  }
}

TEST(CoordinatorUploadsTest, UnknownAssignmentIsNotFound) {
  CoordinatorHarness harness;
  EXPECT_THAT(harness.UploadFile("a", "nonsense", "bytes"),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(CoordinatorUploadsTest, TwoUploadsOfAnAssignmentAtOnceAreNotTaken) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  v1::UploadHeader header;
  header.set_assignment_id(a->assignment().assignment_id());
  header.set_content_sha256(std::string(32, 'x'));
  header.set_size_in_bytes(100);
  const Peer peer{DeviceId("a")};
  const auto first =
      harness.coordinator->BeginUpload(harness.now, peer, header);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(harness.coordinator->BeginUpload(harness.now, peer, header),
              StatusIs(absl::StatusCode::kAborted));
}

TEST(CoordinatorUploadsTest, BytesThatDoNotHashAsAnnouncedAreAskedForAgain) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const std::string id = a->assignment().assignment_id();
  const std::string file = MakeTestUpdateFile(id, true);
  const v1::UploadHeader header = MakeTestUploadHeader(id, file);
  std::string damaged = file;
  damaged.back() ^= 1;
  const Peer peer{DeviceId("a")};
  auto start = harness.coordinator->BeginUpload(harness.now, peer, header);
  ASSERT_THAT(start, IsOk());
  ASSERT_THAT(
      start->writer->Append(
          {reinterpret_cast<const uint8_t*>(damaged.data()), damaged.size()}),
      IsOk());
  absl::StatusOr<v1::UploadResult> result;
  harness.coordinator->FinishUpload(
      harness.now, peer, header, std::move(start->writer),
      [&](absl::StatusOr<v1::UploadResult> r) { result = std::move(r); });
  // Not DATA_LOSS, at which a device gives up.
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kAborted,
                               HasSubstr("begin it again")));
  EXPECT_EQ(harness.Upload("a", a->assignment())->outcome(), ACKNOWLEDGED);
}

// The round closes while the last bytes of a straggler are on their way: its
// spooled bytes are gone, and it hears that it is late, not that it failed.
TEST(CoordinatorUploadsTest, RoundThatClosesDuringAnUploadMakesItTooLate) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .over_selection = 2, .rounds = 2}),
              IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  const std::string id = b->assignment().assignment_id();
  const std::string file = MakeTestUpdateFile(id, true);
  const v1::UploadHeader header = MakeTestUploadHeader(id, file);
  const Peer peer{DeviceId("b")};
  auto start = harness.coordinator->BeginUpload(harness.now, peer, header);
  ASSERT_THAT(start, IsOk());
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  ASSERT_THAT(start->writer->Append(
                  {reinterpret_cast<const uint8_t*>(file.data()), file.size()}),
              IsOk());
  absl::StatusOr<v1::UploadResult> result;
  harness.coordinator->FinishUpload(
      harness.now, peer, header, std::move(start->writer),
      [&](absl::StatusOr<v1::UploadResult> r) { result = std::move(r); });
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome(), TOO_LATE);
}

// An operator sees why, also after a restart; a fleet that fails does not fill
// the disk.
TEST(DeviceFailureTest, TenOfARoundAreToldAndKept) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 1}), IsOk());
  for (int i = 0; i < 12; ++i) {
    const std::string device = StrCat("device-", i);
    const auto call = harness.CheckIn(device);
    ASSERT_TRUE(call->has_assignment()) << i;
    ASSERT_THAT(harness.Report(device, call->assignment()), IsOk());
    // Saying it again changes nothing.
    ASSERT_THAT(harness.Report(device, call->assignment()), IsOk());
  }
  for (int life = 0; life < 2; ++life) {
    const auto task = harness.coordinator->GetTask(TaskId("task"));
    ASSERT_THAT(task, IsOk());
    ASSERT_EQ(task->device_failures_size(), 10);
    for (int i = 0; i < 10; ++i) {
      const v1::TaskEvent& event = task->device_failures(i);
      EXPECT_EQ(event.round(), 1);
      EXPECT_EQ(event.device_failed().device_id(), StrCat("device-", i));
      EXPECT_EQ(event.device_failed().reason(), "no data");
    }
    harness.Crash();
  }
}

// Each kind of bad update is refused by name; its device counts as failed and
// another takes its place.
class BadUpdateTest : public ::testing::Test {
 protected:
  BadUpdateTest() {
    EXPECT_THAT(harness_.Submit({.size = 1, .rounds = 1}), IsOk());
    call_ = harness_.CheckIn("a");
    replacement_ = harness_.CheckIn("b");
    id_ = call_->assignment().assignment_id();
    update_ = MakeTestUpdate(id_, true);
    context_ = MakeTestContext(id_);
  }
  void ExpectRefusedFile(const std::string& file,
                         const ::testing::Matcher<std::string>& reason) {
    const auto result = harness_.UploadFile("a", id_, file);
    ASSERT_THAT(result, IsOk());
    EXPECT_EQ(result->outcome(), REFUSED);
    EXPECT_THAT(result->reason(), reason);
    EXPECT_TRUE(replacement_->has_assignment());
    EXPECT_EQ(harness_.Upload("b", replacement_->assignment())->outcome(),
              ACKNOWLEDGED);
    int told = 0;
    for (const v1::TaskEvent& event : harness_.Events()) {
      if (event.has_device_failed()) {
        ++told;
        EXPECT_EQ(event.device_failed().device_id(), "a");
        EXPECT_THAT(event.device_failed().reason(), reason);
      }
      if (event.has_round_completed()) {
        EXPECT_EQ(event.round_completed().failed_devices(), 1);
        EXPECT_EQ(event.round_completed().updates(), 1);
      }
    }
    EXPECT_EQ(told, 1);
    EXPECT_EQ(harness_.Summary().state(), v1::COMPLETED);
    EXPECT_EQ(harness_.memory.spooled_updates(), 0u);
  }
  void ExpectRefused(const ::testing::Matcher<std::string>& reason) {
    ExpectRefusedFile(SerializeUpdate(update_, context_).value(), reason);
  }

  CoordinatorHarness harness_;
  std::shared_ptr<CoordinatorHarness::Call> call_;
  std::shared_ptr<CoordinatorHarness::Call> replacement_;
  std::string id_;
  Update update_;
  UpdateContext context_;
};

TEST_F(BadUpdateTest, NotANumber) {
  update_.sections[0].values.span()[5] =
      std::numeric_limits<float>::quiet_NaN();
  ExpectRefused(AllOf(HasSubstr("fc.bias[1]"), HasSubstr("index 5"),
                      HasSubstr("\"delta\""), HasSubstr("nan"),
                      HasSubstr("16")));
}
TEST_F(BadUpdateTest, Infinity) {
  update_.sections[0].values.span()[0] = std::numeric_limits<float>::infinity();
  ExpectRefused(AllOf(HasSubstr("fc.weight[0]"), HasSubstr("inf")));
}
TEST_F(BadUpdateTest, OutOfBounds) {
  update_.sections[0].values.span()[7] = -17.5f;
  ExpectRefused(AllOf(HasSubstr("norm.mean[1]"), HasSubstr("-17.5"),
                      HasSubstr("value_bound")));
}
TEST_F(BadUpdateTest, WeightTooLarge) {
  update_.weight = 1001;
  ExpectRefused(HasSubstr("1001"));
}
TEST_F(BadUpdateTest, OtherLayout) {
  context_.layout_fingerprint = Sha256Of(std::string_view("other"));
  ExpectRefused(HasSubstr("layout"));
}
TEST_F(BadUpdateTest, OtherAssignment) {
  context_.assignment_id = AssignmentId("another");
  ExpectRefused(AllOf(HasSubstr("another"), HasSubstr(id_)));
}
TEST_F(BadUpdateTest, MissingSection) {
  update_.sections.clear();
  ExpectRefused(HasSubstr("delta"));
}
TEST_F(BadUpdateTest, SectionTooShort) {
  update_.sections[0].values = AlignedFloats(3);
  ExpectRefused(HasSubstr("delta"));
}
TEST_F(BadUpdateTest, MissingScalar) {
  update_.scalars.pop_back();
  ExpectRefused(HasSubstr("metric_sum"));
}
TEST_F(BadUpdateTest, ScalarIsNotANumber) {
  update_.scalars[1].value = std::numeric_limits<double>::quiet_NaN();
  ExpectRefused(HasSubstr("loss_sum"));
}
TEST_F(BadUpdateTest, NoUpdateFile) {
  ExpectRefusedFile("these are other bytes", ::testing::Not(IsEmpty()));
}
TEST_F(BadUpdateTest, TooManyBytes) {
  ExpectRefusedFile(std::string(1 << 20, 'x'), HasSubstr("larger than any"));
}

}  // namespace
}  // namespace mledge
