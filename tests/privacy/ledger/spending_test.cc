#include "mledge/privacy/ledger/spending.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "mledge/tests/privacy/ledger/test_entries.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

PrivacyEvent Once(double noise_multiplier = 1) {
  return PrivacyEvent{GaussianEvent{noise_multiplier}};
}
PrivacyEvent All(std::vector<PrivacyEvent> events) {
  return PrivacyEvent{ComposedEvent{.events = std::move(events)}};
}

class SpendingTest : public ::testing::Test {
 protected:
  Ledger Make(const std::vector<v1::LedgerEntry>& entries,
              const TestSchedule& schedule = {}) {
    Ledger ledger(TestLedgerTask());
    EXPECT_THAT(ledger.Append(now_, ScheduleEntry(schedule)), IsOk());
    for (const v1::LedgerEntry& entry : entries) {
      EXPECT_THAT(ledger.Append(now_, entry), IsOk());
    }
    return ledger;
  }
  Spending Of(const std::vector<v1::LedgerEntry>& entries,
              const TestSchedule& schedule = {}) {
    return SpendingOf(Make(entries, schedule)).value();
  }
  const absl::Time now_ = absl::FromUnixSeconds(1767225600);
};

TEST_F(SpendingTest, EmptyLedgerIsRefused) {
  EXPECT_THAT(SpendingOf(Ledger(TestLedgerTask())),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(SpendingTest, NothingIsSpentBeforeTheFirstCharge) {
  const Spending spending = Of({});
  EXPECT_EQ(spending.event, All({}));
  EXPECT_EQ(spending.charges, 0);
  EXPECT_TRUE(spending.as_scheduled);
}

// At most three participations, two steps apart.
TEST_F(SpendingTest, OneDeviceIsInAsManyChargesAsItsLimitsAllow) {
  std::vector<v1::LedgerEntry> charges;
  const std::vector<int64_t> most = {1, 1, 2, 2, 3, 3, 3, 3};
  for (int64_t step = 0; step < 8; ++step) {
    charges.push_back(ChargeEntry(step));
    const Spending spending = Of(charges);
    EXPECT_EQ(spending.participations, most[static_cast<size_t>(step)]);
    EXPECT_EQ(spending.event,
              All({Repeated(Once(), most[static_cast<size_t>(step)])}));
    EXPECT_EQ(spending.charges, step + 1);
    EXPECT_TRUE(spending.as_scheduled);
  }
}

TEST_F(SpendingTest, ChargesOfOneStepHoldDifferentDevices) {
  EXPECT_EQ(Of({ChargeEntry(0), ChargeEntry(0), ChargeEntry(0)}).event,
            All({Repeated(Once(), 1)}));
}

TEST_F(SpendingTest, ChargesOfSeveralKindsCountEachForItself) {
  const Spending spending =
      Of({ChargeEntry(0), ChargeEntry(2, 0.5), ChargeEntry(4), ChargeEntry(6)});
  EXPECT_FALSE(spending.as_scheduled);
  EXPECT_EQ(spending.participations, 3);
  ASSERT_EQ(std::get<ComposedEvent>(spending.event.kind).events.size(), 2u);
  EXPECT_THAT(std::get<ComposedEvent>(spending.event.kind).events,
              ::testing::UnorderedElementsAre(Repeated(Once(), 3),
                                              Repeated(Once(0.5), 1)));
}

TEST_F(SpendingTest, CorrelatedNoiseCountsOnceForAllRounds) {
  const TestSchedule correlated = {.noise_multiplier = 3, .correlated = true};
  const Spending spending =
      Of({ChargeEntry(0, 3, true), ChargeEntry(1, 3, true)}, correlated);
  EXPECT_EQ(spending.event, All({Once(3)}));
  EXPECT_TRUE(spending.as_scheduled);
  // A round drawn twice, as after a copy was restored.
  EXPECT_EQ(
      Of({ChargeEntry(0, 3, true), ChargeEntry(0, 3, true)}, correlated).event,
      All({Once(3), PrivacyEvent{NonPrivateEvent{}}}));
  EXPECT_FALSE(Of({ChargeEntry(0, 2, true)}, correlated).as_scheduled);
}

TEST_F(SpendingTest, SumAndCountOfCorrelatedNoiseAddUp) {
  v1::LedgerEntry charge = ChargeEntry(0, 3, true);
  *charge.mutable_charge()->mutable_participation() = GaussianMessage(5);
  v1::LedgerEntry later = charge;
  later.mutable_charge()->set_step(2);
  EXPECT_EQ(Of({charge, later}, {.correlated = true}).event,
            All({Repeated(Once(5), 2), Once(3)}));
}

TEST_F(SpendingTest, ChargesThatWereLostCountLikeTheSchedules) {
  const Digest lost = Sha256Of("lost");
  EXPECT_EQ(Of({ChargeEntry(0), AdoptionEntry(3, lost, 1)}).event,
            All({Repeated(Once(), 2)}));
  EXPECT_EQ(Of({AdoptionEntry(2, lost, 1)}).event, All({Repeated(Once(), 1)}));
  // Participations stay limited: devices count for themselves.
  EXPECT_EQ(Of({ChargeEntry(0), AdoptionEntry(9, lost, 7)}).event,
            All({Repeated(Once(), 3)}));
  EXPECT_EQ(Of({ChargeEntry(0, 3, true), AdoptionEntry(3, lost, 1)},
               {.correlated = true})
                .event,
            All({Once(3), PrivacyEvent{NonPrivateEvent{}}}));
}

TEST_F(SpendingTest, KnowableRandomnessLeavesNoGuarantee) {
  v1::LedgerEntry mark;
  mark.mutable_not_private()->set_reason("seeds from a test");
  const Spending spending = Of({mark, ChargeEntry(0)});
  EXPECT_TRUE(spending.not_private);
  EXPECT_EQ(spending.event,
            All({Repeated(Once(), 1), PrivacyEvent{NonPrivateEvent{}}}));
}

TEST_F(SpendingTest, OneMoreChargeIsWhatItWouldBe) {
  const Ledger ledger = Make({ChargeEntry(0)});
  EXPECT_EQ(SpendingWith(ledger, ChargeEntry(2).charge())->event,
            Of({ChargeEntry(0), ChargeEntry(2)}).event);
  EXPECT_EQ(ledger.entries().size(), 2u);
}

}  // namespace
}  // namespace mledge
