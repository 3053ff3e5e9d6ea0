#include "mledge/coordinator/round.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using State = Round::State;
using Event = Round::Event;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);
const Digest kContent = Sha256Of(std::string_view("content"));

RoundPlan MakePlan() {
  RoundPlan plan;
  plan.task = TaskId("task");
  plan.round = RoundNumber(3);
  plan.base_version = VersionNumber(2);
  plan.minimum = 1;
  plan.target = 2;
  plan.assigned = 3;
  plan.started_at = kStart;
  plan.deadline = kStart + absl::Minutes(1);
  return plan;
}

AssignmentId Assign(Round& round, const std::string& device) {
  return round.Assign(kStart, DeviceId(device), AssignmentOrdinal(0))
      .value()
      .id;
}

TEST(RoundTest, TableOfLegalMovesIsComplete) {
  const std::map<std::pair<State, Event>, State> legal = {
      {{State::kCollecting, Event::kAssign}, State::kCollecting},
      {{State::kCollecting, Event::kAcknowledge}, State::kCollecting},
      {{State::kCollecting, Event::kDeviceFails}, State::kCollecting},
      {{State::kCollecting, Event::kClose}, State::kClosing},
      {{State::kCollecting, Event::kFail}, State::kFailed},
      {{State::kClosing, Event::kDeviceFails}, State::kClosing},
      {{State::kClosing, Event::kReopen}, State::kCollecting},
      {{State::kClosing, Event::kPublish}, State::kPublishing},
      {{State::kClosing, Event::kFail}, State::kFailed},
      {{State::kPublishing, Event::kPublished}, State::kCompleted},
      {{State::kPublishing, Event::kFail}, State::kFailed},
  };
  int moves = 0;
  for (const State state :
       {State::kCollecting, State::kClosing, State::kPublishing,
        State::kCompleted, State::kFailed}) {
    for (const Event event :
         {Event::kAssign, Event::kAcknowledge, Event::kDeviceFails,
          Event::kClose, Event::kFail, Event::kReopen, Event::kPublish,
          Event::kPublished}) {
      const auto expected = legal.find({state, event});
      const std::optional<State> actual = Round::NextState(state, event);
      ASSERT_EQ(actual.has_value(), expected != legal.end())
          << ToString(state) << " " << ToString(event);
      if (actual.has_value()) {
        EXPECT_EQ(*actual, expected->second);
      }
      ++moves;
    }
  }
  EXPECT_EQ(moves, 40);
}

TEST(RoundTest, IllegalCallsAreRefusedAndChangeNothing) {
  Round round(MakePlan());
  EXPECT_THAT(round.BeginPublishing(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("round 3 of task task is collecting")));
  EXPECT_THAT(round.Published(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(round.state(), State::kCollecting);
  ASSERT_THAT(round.Fail("cancelled"), IsOk());
  EXPECT_THAT(round.Fail("again"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(round.Assign(kStart, DeviceId("a"), AssignmentOrdinal(0)),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(round.failure(), "cancelled");
}

TEST(RoundTest, ClosesAtTheTargetAndExpiresTheRest) {
  Round round(MakePlan());
  EXPECT_EQ(round.wanted(), 3);
  const AssignmentId a = Assign(round, "a");
  const AssignmentId b = Assign(round, "b");
  const AssignmentId c = Assign(round, "c");
  EXPECT_EQ(round.wanted(), 0);
  EXPECT_EQ(round.TakeChanges().issued.size(), 3u);
  EXPECT_THAT(round.Acknowledge(kStart, a, kContent),
              IsOkAndHolds(UpdateOutcome::kAcknowledged));
  EXPECT_EQ(round.state(), State::kCollecting);
  EXPECT_THAT(round.Acknowledge(kStart, b, kContent),
              IsOkAndHolds(UpdateOutcome::kAcknowledged));
  EXPECT_EQ(round.state(), State::kClosing);
  EXPECT_THAT(round.Acknowledge(kStart, c, kContent),
              IsOkAndHolds(UpdateOutcome::kTooLate));
  EXPECT_THAT(round.Acknowledge(kStart, a, kContent),
              IsOkAndHolds(UpdateOutcome::kAgain));
  EXPECT_THAT(round.Acknowledge(kStart, a, Digest()),
              IsOkAndHolds(UpdateOutcome::kOtherContent));
  const AssignmentChanges changes = round.TakeChanges();
  ASSERT_EQ(changes.ended.size(), 3u);
  EXPECT_EQ(changes.ended[2].state, AssignmentState::kExpired);
  EXPECT_EQ(round.session().admitted(), 2);
}

TEST(RoundTest, DeviceThatFailsIsReplacedByAnother) {
  Round round(MakePlan());
  const AssignmentId a = Assign(round, "a");
  Assign(round, "b");
  Assign(round, "c");
  ASSERT_THAT(round.DeviceFails(a, "no data"), IsOk());
  EXPECT_EQ(round.wanted(), 1);
  EXPECT_EQ(round.failed_devices(), 1);
  EXPECT_THAT(round.Acknowledge(kStart, a, kContent),
              IsOkAndHolds(UpdateOutcome::kGivenUp));
  // The same device has had its part.
  EXPECT_THAT(round.Assign(kStart, DeviceId("a"), AssignmentOrdinal(1)),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(round.Assign(kStart, DeviceId("d"), AssignmentOrdinal(0)),
              IsOk());
  ASSERT_THAT(round.DeviceFails(a, "again"), IsOk());
  EXPECT_EQ(round.failed_devices(), 1);
}

TEST(RoundTest, DeadlineWithTheMinimumCloses) {
  Round round(MakePlan());
  const AssignmentId a = Assign(round, "a");
  Assign(round, "b");
  ASSERT_THAT(round.Acknowledge(kStart, a, kContent), IsOk());
  round.Tick(kStart + absl::Seconds(59));
  EXPECT_EQ(round.state(), State::kCollecting);
  round.Tick(kStart + absl::Minutes(1));
  EXPECT_EQ(round.state(), State::kClosing);
}

TEST(RoundTest, DeadlineBelowTheMinimumFails) {
  Round round(MakePlan());
  Assign(round, "a");
  round.Tick(kStart + absl::Minutes(1));
  EXPECT_EQ(round.state(), State::kFailed);
  EXPECT_THAT(round.failure(), HasSubstr("0 updates of at least 1"));
  EXPECT_EQ(round.record().state, RoundState::kFailed);
}

TEST(RoundTest, UpdateAtTheDeadlineIsTooLate) {
  Round round(MakePlan());
  const AssignmentId a = Assign(round, "a");
  EXPECT_THAT(round.Acknowledge(kStart + absl::Minutes(1), a, kContent),
              IsOkAndHolds(UpdateOutcome::kTooLate));
}

TEST(RoundTest, UnknownAssignmentIsNotFound) {
  Round round(MakePlan());
  EXPECT_THAT(round.Acknowledge(kStart, AssignmentId("x"), kContent),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(round.DeviceFails(AssignmentId("x"), ""),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(RoundTest, PublishesAfterEverythingIsFolded) {
  Round round(MakePlan());
  for (const char* device : {"a", "b"}) {
    ASSERT_THAT(round.Acknowledge(kStart, Assign(round, device), kContent),
                IsOk());
  }
  EXPECT_FALSE(round.session().complete());
  EXPECT_EQ(round.session().BeginFold().size(), 2u);
  ASSERT_THAT(round.session().FinishFold(), IsOk());
  EXPECT_TRUE(round.session().complete());
  ASSERT_THAT(round.BeginPublishing(), IsOk());
  ASSERT_THAT(round.Published(), IsOk());
  EXPECT_EQ(round.state(), State::kCompleted);
  EXPECT_EQ(round.record().state, RoundState::kCompleted);
}

TEST(RoundTest, GoesOnFromItsRecords) {
  Round before(MakePlan());
  const AssignmentId a = Assign(before, "a");
  const AssignmentId b = Assign(before, "b");
  const AssignmentId c = Assign(before, "c");
  ASSERT_THAT(before.Acknowledge(kStart, a, kContent), IsOk());
  ASSERT_THAT(before.DeviceFails(c, "no data"), IsOk());
  std::vector<AssignmentRecord> records;
  for (const auto& [id, assignment] : before.assignments()) {
    records.push_back(assignment.record());
  }
  const AssignmentId saved[] = {a};
  Round after(MakePlan(), records, saved);
  EXPECT_EQ(after.state(), State::kCollecting);
  EXPECT_EQ(after.acknowledged(), 1);
  EXPECT_EQ(after.failed_devices(), 1);
  EXPECT_EQ(after.wanted(), 1);
  EXPECT_THAT(after.Acknowledge(kStart, b, kContent),
              IsOkAndHolds(UpdateOutcome::kAcknowledged));
  EXPECT_EQ(after.state(), State::kClosing);
  EXPECT_THAT(after.session().BeginFold(), ::testing::ElementsAre(b));
}

TEST(RoundTest, ThatReachedItsTargetBeforeARestartIsClosing) {
  Round before(MakePlan());
  const AssignmentId a = Assign(before, "a");
  const AssignmentId b = Assign(before, "b");
  Assign(before, "c");
  ASSERT_THAT(before.Acknowledge(kStart, a, kContent), IsOk());
  ASSERT_THAT(before.Acknowledge(kStart, b, kContent), IsOk());
  std::vector<AssignmentRecord> records;
  for (const auto& [id, assignment] : before.assignments()) {
    AssignmentRecord record = assignment.record();
    // As if the expiry had not been recorded.
    if (record.state == AssignmentState::kExpired) {
      record.state = AssignmentState::kIssued;
    }
    records.push_back(record);
  }
  Round after(MakePlan(), records, {});
  EXPECT_EQ(after.state(), State::kClosing);
  EXPECT_EQ(after.TakeChanges().ended.size(), 1u);
}

// With secure aggregation: two of three devices are wanted.
class SecureRoundTest : public ::testing::Test {
 protected:
  SecureRoundTest() : round_(Plan()) {
    for (const char* const device : {"a", "b", "c"}) {
      ids_.push_back(Assign(round_, device));
    }
    round_.TakeChanges();
  }
  static RoundPlan Plan() {
    RoundPlan plan = MakePlan();
    plan.secure = true;
    plan.minimum = 2;
    return plan;
  }
  void BothReady() {
    EXPECT_THAT(round_.Ready(kStart, ids_[0]), IsOkAndHolds(true));
    EXPECT_FALSE(round_.session_is_due());
    EXPECT_THAT(round_.Ready(kStart, ids_[1]), IsOkAndHolds(true));
    EXPECT_TRUE(round_.session_is_due());
  }
  AssignmentState StateOf(int i) {
    return round_.Find(ids_[i])->record().state;
  }

  Round round_;
  std::vector<AssignmentId> ids_;
};

TEST_F(SecureRoundTest, ClosesWhenTheTargetIsReadyAndCountsWhoIsInTheSum) {
  BothReady();
  EXPECT_EQ(round_.state(), State::kClosing);
  EXPECT_EQ(round_.acknowledged(), 0);
  EXPECT_THAT(round_.BeginSession(), UnorderedElementsAre(ids_[0], ids_[1]));
  EXPECT_FALSE(round_.session_is_due());
  // Somebody who comes now waits: there may be another session.
  EXPECT_THAT(round_.Ready(kStart, ids_[2]), IsOkAndHolds(true));
  EXPECT_FALSE(round_.sum_is_complete());

  round_.SessionDone(
      {.counted = {{ids_[0], kContent}}, .lost = {{ids_[1], "used up"}}});
  EXPECT_TRUE(round_.sum_is_complete());
  EXPECT_EQ(round_.acknowledged(), 1);
  EXPECT_EQ(StateOf(0), AssignmentState::kAcknowledged);
  EXPECT_EQ(StateOf(1), AssignmentState::kFailed);
  EXPECT_EQ(round_.Find(ids_[1])->reason(), "used up");
  EXPECT_EQ(StateOf(2), AssignmentState::kExpired);
  EXPECT_THAT(round_.Ready(kStart, ids_[2]), IsOkAndHolds(false));
  EXPECT_THAT(round_.BeginPublishing(), IsOk());
}

TEST_F(SecureRoundTest, WhoLeavesIsNotReady) {
  EXPECT_THAT(round_.Ready(kStart, ids_[0]), IsOkAndHolds(true));
  round_.NotReady(ids_[0]);
  EXPECT_THAT(round_.Ready(kStart, ids_[1]), IsOkAndHolds(true));
  EXPECT_EQ(round_.state(), State::kCollecting);
  EXPECT_EQ(round_.ready(), 1);
}

TEST_F(SecureRoundTest, GoesOnWithThoseWhoAreLeftAfterASessionThatFailed) {
  BothReady();
  round_.BeginSession();
  // One more gets ready meanwhile; one leaves and says so.
  EXPECT_THAT(round_.Ready(kStart, ids_[2]), IsOkAndHolds(true));
  EXPECT_THAT(round_.DeviceFails(ids_[0], "gone"), IsOk());
  round_.SessionAborted(kStart + absl::Seconds(10),
                        {.lost = {{ids_[1], "used up"}}}, "too many lost");
  EXPECT_EQ(round_.state(), State::kCollecting);
  EXPECT_EQ(StateOf(0), AssignmentState::kIssued);
  EXPECT_EQ(StateOf(1), AssignmentState::kFailed);
  EXPECT_EQ(round_.ready(), 2);
  // The plan wants three; two are left.
  EXPECT_EQ(round_.wanted(), 1);
  round_.Tick(kStart + absl::Seconds(15));
  EXPECT_TRUE(round_.session_is_due());
  EXPECT_THAT(round_.BeginSession(), UnorderedElementsAre(ids_[0], ids_[2]));
}

TEST_F(SecureRoundTest, ASessionThatCostNobodysUpdateIsTriedAgain) {
  BothReady();
  round_.BeginSession();
  round_.SessionAborted(kStart, {}, "the registrar is away");
  EXPECT_EQ(round_.state(), State::kCollecting);
  round_.Tick(kStart + absl::Seconds(5));
  EXPECT_TRUE(round_.session_is_due());
}

TEST_F(SecureRoundTest, FailsWhenTheSessionFailsAfterTheDeadline) {
  BothReady();
  round_.BeginSession();
  round_.SessionAborted(kStart + absl::Minutes(1), {}, "too many lost");
  EXPECT_EQ(round_.state(), State::kFailed);
  EXPECT_THAT(round_.failure(), HasSubstr("too many lost"));
  EXPECT_EQ(StateOf(0), AssignmentState::kExpired);
}

TEST_F(SecureRoundTest, DeadlineDecidesByThoseWhoAreReady) {
  EXPECT_THAT(round_.Ready(kStart, ids_[0]), IsOkAndHolds(true));
  round_.Tick(kStart + absl::Minutes(1));
  EXPECT_EQ(round_.state(), State::kFailed);
  EXPECT_THAT(
      round_.failure(),
      HasSubstr("1 devices ready for secure aggregation of at least 2"));
}

TEST_F(SecureRoundTest, RestartKeepsASavedSumAndNothingElse) {
  AssignmentRecord counted = round_.Find(ids_[0])->record();
  counted.state = AssignmentState::kAcknowledged;
  AssignmentRecord open = round_.Find(ids_[1])->record();
  const std::vector<AssignmentId> saved = {counted.id};
  Round with_sum(Plan(), {counted, open}, saved);
  EXPECT_TRUE(with_sum.sum_is_complete());
  EXPECT_EQ(with_sum.Find(open.id)->record().state, AssignmentState::kExpired);
  Round without_sum(Plan(), {counted, open}, {});
  EXPECT_EQ(without_sum.state(), State::kFailed);
  Round before(Plan(), {open}, {});
  EXPECT_EQ(before.state(), State::kCollecting);
}

RoundPlan MakeSampledPlan() {
  RoundPlan plan = MakePlan();
  plan.minimum = 0;
  plan.deadline = absl::InfiniteFuture();
  plan.sampled = true;
  return plan;
}

TEST(SampledRoundTest, WaitsForEverybodyHoweverManyWereExpected) {
  Round round(MakeSampledPlan());
  std::vector<AssignmentId> ids;
  for (const char* device : {"a", "b", "c", "d"}) {
    ids.push_back(Assign(round, device));
  }
  for (const AssignmentId& id : ids) {
    EXPECT_EQ(round.state(), State::kCollecting);
    EXPECT_EQ(round.wanted(), 0);
    round.Tick(kStart + absl::Hours(24 * 365));
    EXPECT_THAT(round.Acknowledge(kStart + absl::Hours(24 * 365), id, kContent),
                IsOkAndHolds(UpdateOutcome::kAcknowledged));
  }
  EXPECT_EQ(round.state(), State::kClosing);
}

TEST(SampledRoundTest, NobodyTakesThePlaceOfADeviceThatGivesUp) {
  Round round(MakeSampledPlan());
  const AssignmentId a = Assign(round, "a");
  const AssignmentId b = Assign(round, "b");
  ASSERT_THAT(round.Acknowledge(kStart, a, kContent), IsOk());
  ASSERT_THAT(round.DeviceFails(b, "no data"), IsOk());
  EXPECT_EQ(round.wanted(), 0);
  round.Tick(kStart);
  EXPECT_EQ(round.state(), State::kClosing);
}

TEST(SampledRoundTest, AnEmptySampleIsARoundToo) {
  Round round(MakeSampledPlan());
  round.Tick(kStart);
  EXPECT_EQ(round.state(), State::kClosing);
  EXPECT_TRUE(round.sum_is_complete());
}

TEST(SampledRoundTest, GoesOnAfterARestart) {
  Round before(MakeSampledPlan());
  const AssignmentId a = Assign(before, "a");
  const AssignmentId b = Assign(before, "b");
  ASSERT_THAT(before.Acknowledge(kStart, a, kContent), IsOk());
  std::vector<AssignmentRecord> records;
  for (const auto& [id, assignment] : before.assignments()) {
    records.push_back(assignment.record());
  }
  Round after(MakeSampledPlan(), records, {});
  after.Tick(kStart);
  EXPECT_EQ(after.state(), State::kCollecting);
  ASSERT_THAT(after.Acknowledge(kStart, b, kContent), IsOk());
  EXPECT_EQ(after.state(), State::kClosing);
}

}  // namespace
}  // namespace mledge
