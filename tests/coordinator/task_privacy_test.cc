#include "mledge/coordinator/task_privacy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "mledge/privacy/accounting/event_codec.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);

PrivacyPlan MakePlan() {
  const PrivacyEvent once{GaussianEvent{1.0}};
  PrivacyPlan plan;
  plan.schedule.set_task_sha256(Sha256Of("task").ToBytes());
  plan.schedule.set_mechanism("central");
  plan.schedule.set_rounds(10);
  plan.schedule.set_participations(3);
  plan.schedule.set_separation(2);
  plan.schedule.set_delta(1e-6);
  plan.schedule.set_adjacency(v1::ADJACENCY_ZERO_OUT);
  *plan.schedule.mutable_participation() = EncodeEvent(once).value();
  *plan.schedule.mutable_event() = EncodeEvent(Repeated(once, 3)).value();
  plan.participations_within_budget = 3;
  plan.budget_reason = "used up";
  return plan;
}

class TaskPrivacyTest : public ::testing::Test {
 protected:
  TaskPrivacy Make(PrivacyPlan plan,
                   std::optional<std::string> not_private = std::nullopt) {
    return TaskPrivacy::Create(kStart, std::move(plan),
                               Ledger(Sha256Of("task")), not_private,
                               TaskId("t"), &transaction_)
        .value();
  }
  absl::Status Participates(TaskPrivacy& privacy,
                            const std::vector<DeviceId>& devices,
                            int64_t step) {
    return privacy.Participate(devices, step, &transaction_);
  }
  Transaction transaction_;
};

TEST_F(TaskPrivacyTest, NewLedgerBeginsWithTheSchedule) {
  const TaskPrivacy privacy = Make(MakePlan());
  ASSERT_THAT(transaction_.ledger, SizeIs(1));
  EXPECT_EQ(transaction_.ledger[0].entry.hash, privacy.ledger().head().hash);
  EXPECT_EQ(privacy.ledger().schedule().participations(), 3);
  EXPECT_FALSE(privacy.ledger().not_private());
}

TEST_F(TaskPrivacyTest, KnowableRandomnessIsMarkedOnce) {
  TaskPrivacy privacy = Make(MakePlan(), "a test's seed");
  ASSERT_THAT(transaction_.ledger, SizeIs(2));
  EXPECT_TRUE(privacy.ledger().not_private());
  transaction_ = {};
  ASSERT_THAT(TaskPrivacy::Create(kStart, MakePlan(), privacy.ledger(), "again",
                                  TaskId("t"), &transaction_),
              IsOk());
  EXPECT_THAT(transaction_.ledger, IsEmpty());
}

TEST_F(TaskPrivacyTest, DeviceComesAgainAfterItsSeparationUntilUsedUp) {
  TaskPrivacy privacy = Make(MakePlan());
  const DeviceId device("a");
  EXPECT_EQ(privacy.EarliestStep(device), 0);
  for (const int64_t step : {0, 2, 5}) {
    ASSERT_THAT(Participates(privacy, {device}, step), IsOk());
    EXPECT_FALSE(Participates(privacy, {device}, step).ok());
    EXPECT_FALSE(Participates(privacy, {device}, step + 1).ok());
  }
  EXPECT_EQ(privacy.EarliestStep(device), std::nullopt);
  EXPECT_EQ(privacy.used_up(), 1);
  ASSERT_THAT(transaction_.participations, SizeIs(3));
  EXPECT_EQ(transaction_.participations[2].record,
            (ParticipationRecord{.participations = 3, .last_round = 5}));
}

TEST_F(TaskPrivacyTest, AllDevicesOfASumAreCountedOrNone) {
  TaskPrivacy privacy = Make(MakePlan());
  ASSERT_THAT(Participates(privacy, {DeviceId("b")}, 0), IsOk());
  transaction_ = {};
  EXPECT_THAT(
      Participates(privacy, {DeviceId("a"), DeviceId("b")}, 1),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("device b")));
  EXPECT_THAT(transaction_.participations, IsEmpty());
  EXPECT_EQ(privacy.EarliestStep(DeviceId("a")), 0);
}

TEST_F(TaskPrivacyTest, RecordThatNoDeviceCanHaveIsDataLoss) {
  TaskPrivacy privacy = Make(MakePlan());
  EXPECT_THAT(privacy.Restore(DeviceId("a"), {.participations = 4}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("device a")));
  EXPECT_THAT(
      privacy.Restore(DeviceId("a"), {.participations = 1, .last_round = 9}),
      IsOk());
  EXPECT_EQ(privacy.used_up(), 1);  // the rounds end before step 11
}

// Two participations are within the budget: steps 0 to 3 hold two of them at
// most, step 4 would be the third.
TEST_F(TaskPrivacyTest, SaysBeforeTheRoundThatItWouldOverspend) {
  PrivacyPlan plan = MakePlan();
  plan.participations_within_budget = 2;
  TaskPrivacy privacy = Make(plan);
  for (int64_t step = 0; step < 4; ++step) {
    privacy.SetStep(step);
    EXPECT_EQ(privacy.overspent(), std::nullopt) << step;
    privacy.Charge(kStart,
                   {.round = RoundNumber(step + 1), .step = step, .devices = 2},
                   &transaction_);
  }
  privacy.SetStep(4);
  EXPECT_EQ(privacy.overspent(), "used up");
  EXPECT_THAT(transaction_.ledger, SizeIs(5));
}

TEST_F(TaskPrivacyTest, AdoptionCountsWhatWasLostAsSpent) {
  PrivacyPlan plan = MakePlan();
  plan.participations_within_budget = 2;
  TaskPrivacy privacy = Make(plan);
  privacy.SetStep(0);
  EXPECT_EQ(privacy.overspent(), std::nullopt);
  v1::LedgerAdoption adoption;
  adoption.set_operator_id("olga");
  adoption.set_sequence(3);
  adoption.set_head(Sha256Of("lost").ToBytes());
  ASSERT_THAT(privacy.Adopt(kStart, adoption, &transaction_), IsOk());
  EXPECT_EQ(privacy.ledger().head().sequence, 4);
  EXPECT_EQ(privacy.ledger().last_adoption()->lost_charges(), 2);
  EXPECT_EQ(privacy.overspent(), "used up");
}

TEST_F(TaskPrivacyTest, CorrelatedNoiseIsNotAdopted) {
  PrivacyPlan plan = MakePlan();
  *plan.schedule.mutable_once() = plan.schedule.participation();
  plan.schedule.clear_participation();
  TaskPrivacy privacy = Make(plan);
  v1::LedgerAdoption adoption;
  adoption.set_operator_id("olga");
  adoption.set_sequence(3);
  adoption.set_head(Sha256Of("lost").ToBytes());
  EXPECT_THAT(privacy.Adopt(kStart, adoption, &transaction_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("newest backup")));
  EXPECT_EQ(privacy.ledger().head().sequence, 1);
}

}  // namespace
}  // namespace mledge
