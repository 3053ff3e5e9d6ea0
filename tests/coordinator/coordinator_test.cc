// Check-ins and rounds.
#include "mledge/coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "mledge/aggregation/server_optimizer.h"
#include "mledge/core/strings.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto ACKNOWLEDGED = v1::UploadResult::ACKNOWLEDGED;
constexpr auto TOO_LATE = v1::UploadResult::TOO_LATE;
constexpr auto REFUSED = v1::UploadResult::REFUSED;

TEST(CoordinatorTest, TwoDevicesTrainTwoRounds) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2, .rounds = 2}), IsOk());
  for (int round = 1; round <= 2; ++round) {
    const auto a = harness.CheckIn("a");
    EXPECT_FALSE(a->answer.has_value());
    const auto b = harness.CheckIn("b");
    ASSERT_TRUE(a->has_assignment());
    ASSERT_TRUE(b->has_assignment());
    EXPECT_EQ(a->assignment().round(), round);
    EXPECT_EQ(a->assignment().ordinal(), round - 1);
    EXPECT_EQ(harness.Upload("a", a->assignment())->outcome(), ACKNOWLEDGED);
    EXPECT_EQ(harness.Upload("b", b->assignment())->outcome(), ACKNOWLEDGED);
    EXPECT_EQ(harness.Summary().version(), round);
  }
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(harness.Summary().reason(), "2 rounds are done");
  EXPECT_EQ(harness.memory.spooled_updates(), 0u);
}

// The version's parameters are the base plus the exact mean of the updates.
TEST(CoordinatorTest, PublishesTheMeanOfTheUpdates) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2, .rounds = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());

  const ModelPackage package = MakeCoordinatorTestPackage();
  auto sum = Aggregator::Create(TrainingAggregationSpec(
                                    package.layout->shared_size(), 16, 1000,
                                    /*uniform=*/false, 2))
                 .value();
  for (const auto& call : {a, b}) {
    const std::string id = call->assignment().assignment_id();
    const Update update = MakeTestUpdate(id, true);
    const UpdateView view = UpdateView::Of(update, MakeTestContext(id));
    const UpdateView* const views[] = {&view};
    ASSERT_THAT(sum->Fold(views), IsOk());
  }
  ParameterVector expected = package.initial_parameters;
  auto optimizer =
      ServerOptimizer::Create(ServerSgdOptions{}, package.layout).value();
  ASSERT_THAT(optimizer->Apply(sum->sum(), &expected), IsOk());
  EXPECT_EQ(Sha256Of(harness.Parameters()), expected.ContentHash());
}

TEST(CoordinatorTest, AssignmentCarriesTheResolvedValues) {
  CoordinatorHarness harness;
  v1::Task task = MakeTestTask({.size = 1, .rounds = 3});
  task.mutable_local_training()->set_clip_norm(2.5);
  auto* schedule =
      task.mutable_local_training()->mutable_learning_rate_schedule();
  schedule->set_kind(v1::LearningRateSchedule::STEP);
  schedule->set_every(1);
  schedule->set_factor(0.5);
  harness.coordinator->SubmitTask(harness.now, MakeSubmission(task),
                                  [](absl::StatusOr<TaskId>) {});
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  const auto second = harness.CheckIn("a");
  ASSERT_TRUE(second->has_assignment());
  const v1::Assignment& assignment = second->assignment();
  EXPECT_EQ(assignment.task_id(), "task");
  EXPECT_EQ(assignment.kind(), v1::Assignment::TRAIN);
  EXPECT_EQ(assignment.learning_rate(), 0.05);
  EXPECT_EQ(assignment.clip_norm(), 2.5);
  EXPECT_EQ(assignment.round_seed().size(), 32u);
  EXPECT_EQ(assignment.expires_at_unix_milliseconds(),
            absl::ToUnixMillis(harness.now + absl::Minutes(10)));
  v1::VersionStatement statement;
  ASSERT_TRUE(
      statement.ParseFromString(assignment.version_statement().payload()));
  EXPECT_EQ(statement.version(), 1);
  EXPECT_EQ(statement.parameters_sha256(), assignment.parameters().sha256());
  EXPECT_EQ(statement.package_sha256(), assignment.package().sha256());
  for (const v1::Blob& blob : {assignment.signed_task(), assignment.package(),
                               assignment.parameters()}) {
    const auto reader = harness.coordinator->OpenBlob(
        {DeviceId("a")}, Digest::FromBytes(blob.sha256()).value());
    ASSERT_THAT(reader, IsOk());
    EXPECT_EQ((*reader)->size_in_bytes(), blob.size_in_bytes());
  }
}

TEST(CoordinatorTest, RepeatedCheckInGetsTheSameAssignment) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
  const auto first = harness.CheckIn("a");
  const auto again = harness.CheckIn("a");
  ASSERT_TRUE(again->has_assignment());
  EXPECT_EQ(first->assignment().SerializeAsString(),
            again->assignment().SerializeAsString());
}

TEST(CoordinatorTest, LaterCheckInEndsTheWaitOfAnEarlierOne) {
  CoordinatorHarness harness;
  const auto first = harness.CheckIn("a");
  EXPECT_FALSE(first->answer.has_value());
  const auto second = harness.CheckIn("a");
  EXPECT_TRUE(first->told_to_come_back());
  ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
  EXPECT_TRUE(second->has_assignment());
}

TEST(CoordinatorTest, WaitingDeviceIsToldToComeBack) {
  CoordinatorHarness harness;
  const auto call = harness.CheckIn("a", absl::Seconds(20));
  harness.Advance(absl::Seconds(19));
  EXPECT_FALSE(call->answer.has_value());
  harness.Advance(absl::Seconds(1));
  ASSERT_TRUE(call->told_to_come_back());
  EXPECT_EQ(call->answer->value().come_back().after_milliseconds(), 5000);
}

// A device between two polls waits too: its assignment is its next answer.
TEST(CoordinatorTest, DeviceThatPollsIsDrawnBetweenItsPolls) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2}), IsOk());
  EXPECT_TRUE(harness.CheckIn("a", absl::ZeroDuration())->told_to_come_back());
  harness.Advance(absl::Seconds(2));
  EXPECT_TRUE(harness.CheckIn("b", absl::ZeroDuration())->has_assignment());
  EXPECT_TRUE(harness.CheckIn("a", absl::ZeroDuration())->has_assignment());
}

TEST(CoordinatorTest, DeviceThatStaysAwayIsNotDrawn) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2}), IsOk());
  EXPECT_TRUE(harness.CheckIn("a", absl::ZeroDuration())->told_to_come_back());
  harness.Advance(absl::Minutes(1));
  EXPECT_TRUE(harness.CheckIn("b", absl::ZeroDuration())->told_to_come_back());
}

TEST(CoordinatorTest, OtherProtocolVersionIsTold) {
  CoordinatorHarness harness;
  v1::CheckInRequest request;
  request.set_protocol_version(2);
  bool told = false;
  harness.coordinator->CheckIn(
      harness.now, {DeviceId("a")}, request, harness.now,
      [&](absl::StatusOr<v1::CheckInResponse> answer) {
        told = answer->version_mismatch().maximum_protocol_version() == 1;
      });
  EXPECT_TRUE(told);
}

TEST(CoordinatorTest, OtherPopulationGetsNothing) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .population = "phones"}), IsOk());
  EXPECT_FALSE(harness.CheckIn("a")->has_assignment());
  EXPECT_TRUE(
      harness.CheckIn("b", absl::Hours(1), Peer::Role::kDevice, "phones")
          ->has_assignment());
}

TEST(CoordinatorTest, OverSelectionClosesAtTheTargetAndStragglersAreTooLate) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2, .over_selection = 1.5, .rounds = 2}),
              IsOk());
  std::map<std::string, std::shared_ptr<CoordinatorHarness::Call>> calls;
  for (const char* name : {"a", "b", "c"}) calls[name] = harness.CheckIn(name);
  for (const auto& [name, call] : calls) ASSERT_TRUE(call->has_assignment());
  ASSERT_THAT(harness.Upload("a", calls["a"]->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("c", calls["c"]->assignment()), IsOk());
  EXPECT_EQ(harness.Summary().version(), 1);
  const auto late = harness.Upload("b", calls["b"]->assignment());
  ASSERT_THAT(late, IsOk());
  EXPECT_EQ(late->outcome(), TOO_LATE);
  // It is free for the next round.
  harness.CheckIn("a");
  harness.CheckIn("c");
  EXPECT_TRUE(harness.CheckIn("b")->has_assignment());
}

TEST(CoordinatorTest, DeadlineWithTheMinimumCompletesTheRound) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 3, .minimum = 2, .rounds = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  const auto c = harness.CheckIn("c");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  harness.Advance(absl::Seconds(599));
  EXPECT_EQ(harness.Summary().version(), 0);
  harness.Advance(absl::Seconds(1));
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(harness.Upload("c", c->assignment())->outcome(), TOO_LATE);
}

TEST(CoordinatorTest, DeadlineBelowTheMinimumFailsAndTriesOtherDevices) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 2, .rounds = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  const auto c = harness.CheckIn("c");
  const auto d = harness.CheckIn("d");
  EXPECT_FALSE(c->has_assignment());
  harness.Advance(absl::Minutes(10));
  // b let the round down: c and d come first.
  EXPECT_TRUE(c->has_assignment());
  EXPECT_TRUE(d->has_assignment());
  EXPECT_EQ(c->assignment().round(), 2);
  EXPECT_EQ(harness.Upload("b", b->assignment())->outcome(), TOO_LATE);
  ASSERT_THAT(harness.Upload("c", c->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("d", d->assignment()), IsOk());
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(harness.Summary().version(), 1);
  std::vector<std::string> reasons;
  for (const v1::TaskEvent& event : harness.Events()) {
    if (event.has_round_failed())
      reasons.push_back(event.round_failed().reason());
  }
  EXPECT_THAT(reasons, ElementsAre(HasSubstr("1 updates of at least 2")));
  EXPECT_EQ(harness.memory.spooled_updates(), 0u);
}

TEST(CoordinatorTest, ReportFreesTheDeviceAndAnotherTakesItsPlace) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  EXPECT_FALSE(b->has_assignment());
  ASSERT_THAT(harness.Report("a", a->assignment()), IsOk());
  ASSERT_TRUE(b->has_assignment());
  // It gave up: what it sends now is refused, and it is not asked again.
  const auto upload = harness.Upload("a", a->assignment());
  ASSERT_THAT(upload, IsOk());
  EXPECT_EQ(upload->outcome(), REFUSED);
  EXPECT_THAT(upload->reason(), HasSubstr("no data"));
  EXPECT_FALSE(harness.CheckIn("a")->has_assignment());
  ASSERT_THAT(harness.Report("a", a->assignment()), IsOk());  // again: nothing
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
}

// A wrong clock, then mended: what was begun before ends in the time it was
// given, not when the wrong time has come.
TEST(CoordinatorTest, ClockThatWasSetBackLengthensNoRound) {
  CoordinatorHarness harness;
  harness.now += absl::Hours(24 * 365);
  ASSERT_THAT(harness.Submit({.size = 2, .rounds = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  harness.now -= absl::Hours(24 * 365);
  harness.coordinator->Tick(harness.now);  // comes once a second
  harness.Advance(absl::Minutes(10));
  EXPECT_EQ(harness.Upload("b", b->assignment())->outcome(), TOO_LATE);
  bool failed = false;
  for (const v1::TaskEvent& event : harness.Events()) {
    failed = failed || event.has_round_failed();
  }
  EXPECT_TRUE(failed);
}

TEST(CoordinatorTest, ClockThatWasSetBackLengthensNoRoundAfterARestart) {
  CoordinatorHarness harness;
  harness.now += absl::Hours(24 * 365);
  ASSERT_THAT(harness.Submit({.size = 2, .rounds = 1}), IsOk());
  harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  harness.coordinator.reset();
  harness.now -= absl::Hours(24 * 365);
  harness.Start();
  harness.Advance(absl::Minutes(10));
  EXPECT_EQ(harness.Upload("b", b->assignment())->outcome(), TOO_LATE);
}

// They are stored with each assignment that the device gets.
TEST(CoordinatorTest, CheckInWithUnboundedStringsIsRefused) {
  CoordinatorHarness harness;
  const auto check_in = [&](const v1::CheckInRequest& request) {
    absl::Status status;
    harness.coordinator->CheckIn(
        harness.now, {DeviceId("a")}, request, harness.now,
        [&](absl::StatusOr<v1::CheckInResponse> r) { status = r.status(); });
    return status;
  };
  v1::CheckInRequest request;
  request.set_protocol_version(1);
  request.set_software(std::string(512, 's'));
  EXPECT_THAT(check_in(request), IsOk());
  request.set_software(std::string(513, 's'));
  EXPECT_THAT(check_in(request), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("software")));
  request.clear_software();
  request.set_population("a\nb");
  EXPECT_THAT(check_in(request), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("population")));
}

TEST(CoordinatorTest, ReasonOfADeviceStaysOneLine) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1}), IsOk());
  const auto a = harness.CheckIn("a");
  v1::ReportRequest request;
  request.set_assignment_id(a->assignment().assignment_id());
  request.set_reason(StrCat("x\nERROR all is lost", std::string(5000, 'y')));
  harness.coordinator->Report(harness.now, {DeviceId("a")}, request,
                              [](absl::StatusOr<v1::ReportResponse>) {});
  const std::string reason = harness.Upload("a", a->assignment())->reason();
  EXPECT_THAT(reason, HasSubstr("x\\nERROR"));
  EXPECT_LT(reason.size(), 1200u);
}

}  // namespace
}  // namespace mledge
