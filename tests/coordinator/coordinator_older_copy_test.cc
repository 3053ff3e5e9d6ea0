// Private tasks whose state was restored from an older copy: their ledger has
// gone back, or the sum of a round may have been noised elsewhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/tests/coordinator/support/private_fleet.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GoneBackTest : public ::testing::Test {
 protected:
  // Two coordinators that live through the same; `ahead` one round longer.
  GoneBackTest() {
    for (PrivateFleet* fleet : {&fleet_, &ahead_}) {
      EXPECT_THAT(fleet->Submit(), IsOk());
      if (fleet == &fleet_) first_ = fleet->Ledger().head();
      EXPECT_EQ(fleet->DoRound(), 2);
    }
    EXPECT_EQ(ahead_.DoRound(), 2);
    v1::LedgerHead head = ahead_.Ledger().head();
    newest_ = CoordinatorHarness::SignLedgerHead(head).value();
  }
  static PrivateFleet Make() {
    return PrivateFleet({.size = 2, .rounds = 4}, {.participations = 4}, 2);
  }
  // The operator looks at the ledger and signs.
  absl::Status Adopt() {
    const v1::GetPrivacyLedgerResponse ledger = fleet_.Ledger();
    Coordinator::Adoption adoption;
    v1::LedgerAdoptionStatement& statement = adoption.statement;
    statement.set_task_sha256(ledger.head().task_sha256());
    statement.set_own_sequence(ledger.head().sequence());
    statement.set_own_hash(ledger.head().hash());
    statement.set_lost_sequence(ledger.lost_head().sequence());
    statement.set_lost_hash(ledger.lost_head().hash());
    adoption.operator_id = "olga";
    adoption.signed_adoption.set_payload(statement.SerializeAsString());
    absl::Status result = absl::UnknownError("no answer");
    fleet_.harness.coordinator->AdoptPrivacyLedger(
        fleet_.harness.now, adoption,
        [&](const absl::StatusOr<v1::AdoptPrivacyLedgerResponse>& response) {
          result = response.status();
        });
    return result;
  }

  PrivateFleet fleet_ = Make();
  PrivateFleet ahead_ = Make();
  v1::LedgerHead first_;
  v1::SignedMessage newest_;
};

TEST_F(GoneBackTest, TaskRestsUntilAnOperatorAdoptsWhatDevicesKnow) {
  fleet_.harness.ledger_heads["0"] = newest_;
  EXPECT_EQ(fleet_.DoRound(), 0);
  EXPECT_THAT(fleet_.harness.Summary().hindrance(),
              HasSubstr("devices know entry 3 of its privacy ledger"));
  EXPECT_EQ(fleet_.Ledger().lost_head().sequence(), 3);
  // It rests also when the device has gone and the coordinator restarts.
  fleet_.harness.ledger_heads.clear();
  fleet_.harness.Crash();
  EXPECT_EQ(fleet_.DoRound(), 0);

  ASSERT_THAT(Adopt(), IsOk());
  EXPECT_THAT(Adopt(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("nothing to adopt")));
  fleet_.harness.ledger_heads["0"] = newest_;
  EXPECT_EQ(fleet_.DoRound(), 2);
  const v1::GetPrivacyLedgerResponse ledger = fleet_.Ledger();
  EXPECT_EQ(ledger.entries(2).adoption().operator_id(), "olga");
  EXPECT_EQ(ledger.entries(2).sequence(), 4);
  EXPECT_EQ(ledger.entries(3).charge().step(), 1);
  // What was lost counts: two rounds here, at most two there.
  EXPECT_EQ(ledger.participations(), 4);
  fleet_.harness.Crash();
  EXPECT_EQ(fleet_.Ledger().entries_size(), 4);
}

TEST_F(GoneBackTest, RoundUnderWayEndsWhenItShows) {
  const auto call = fleet_.harness.CheckIn("0");
  fleet_.harness.CheckIn("1");
  ASSERT_TRUE(call->has_assignment());
  fleet_.harness.ledger_heads["2"] = newest_;
  fleet_.harness.CheckIn("2");
  EXPECT_EQ(fleet_.Upload("0", call->assignment())->outcome(),
            v1::UploadResult::TOO_LATE);
  EXPECT_EQ(fleet_.harness.Summary().version(), 1);
  EXPECT_EQ(fleet_.Charges(), 1);
}

TEST_F(GoneBackTest, HeadThatTheCoordinatorNeverSignedStopsNothing) {
  v1::SignedMessage forged = newest_;
  forged.set_signature("a device's");
  fleet_.harness.ledger_heads["0"] = forged;
  EXPECT_EQ(fleet_.DoRound(), 2);
}

TEST_F(GoneBackTest, AnotherLineOfEntriesIsFound) {
  v1::LedgerHead head = fleet_.Ledger().head();
  head.set_hash(Sha256Of("another line").ToBytes());
  fleet_.harness.ledger_heads["0"] =
      CoordinatorHarness::SignLedgerHead(head).value();
  EXPECT_EQ(fleet_.DoRound(), 0);
  EXPECT_EQ(fleet_.Ledger().lost_head().sequence(), 2);
}

TEST_F(GoneBackTest, AdoptionOfSomethingElseIsRefused) {
  EXPECT_THAT(Adopt(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("nothing to adopt")));
}

// A state directory that is an older copy looks like one that was in the middle
// of a round when the process ended: two noisings of that round's sum would
// tell what it was.
class HeldSumTest : public GoneBackTest {
 protected:
  // A start with both updates of the second round, one of them from before it.
  HeldSumTest() {
    const auto first = fleet_.harness.CheckIn("0");
    const auto second = fleet_.harness.CheckIn("1");
    EXPECT_THAT(fleet_.Upload("0", first->assignment()), IsOk());
    fleet_.harness.Crash();
    EXPECT_THAT(fleet_.Upload("1", second->assignment()), IsOk());
    blobs_ = fleet_.harness.memory.blobs();
  }
  void Show(const v1::SignedMessage& head) {
    fleet_.harness.ledger_heads["2"] = head;
    fleet_.harness.CheckIn("2");
  }
  void ExpectNothingIsNoised() {
    fleet_.harness.Advance(absl::Hours(3));
    EXPECT_EQ(fleet_.harness.Summary().version(), 1);
    EXPECT_EQ(fleet_.Charges(), 1);
    EXPECT_EQ(fleet_.harness.memory.blobs(), blobs_);
  }

  size_t blobs_ = 0;
};

TEST_F(HeldSumTest, WaitsForADeviceThatKnowsTheNewestHead) {
  ExpectNothingIsNoised();
  EXPECT_THAT(fleet_.harness.Summary().hindrance(),
              AllOf(HasSubstr("round 2 was taken up at this start"),
                    HasSubstr("no newer entry of the privacy ledger than 2")));
  // One that was in no round for long knows nothing of this one.
  Show(CoordinatorHarness::SignLedgerHead(first_).value());
  ExpectNothingIsNoised();
  EXPECT_FALSE(fleet_.Ledger().lost_head().sequence() > 0);

  fleet_.harness.CheckIn("0");
  EXPECT_EQ(fleet_.harness.Summary().version(), 2);
  EXPECT_EQ(fleet_.harness.Summary().hindrance(), "");
  EXPECT_THAT(fleet_.ChargedSteps(), ElementsAre(0, 1));
}

TEST_F(HeldSumTest, IsNeverNoisedWhereADeviceKnowsANewerHead) {
  Show(newest_);
  EXPECT_THAT(fleet_.harness.Summary().hindrance(),
              HasSubstr("devices know entry 3 of its privacy ledger"));
  fleet_.harness.CheckIn("0");
  ExpectNothingIsNoised();
  ASSERT_THAT(Adopt(), IsOk());
  ExpectNothingIsNoised();
}

// Or the start would make the witness that it waits for.
TEST_F(GoneBackTest, NobodyLearnsTheHeadWhileASumWaitsForIt) {
  fleet_.harness.ledger_heads.erase("1");
  const auto first = fleet_.harness.CheckIn("0");
  ASSERT_TRUE(fleet_.harness.CheckIn("1")->has_assignment());  // lost
  ASSERT_THAT(fleet_.Upload("0", first->assignment()), IsOk());
  fleet_.harness.Crash();
  for (const char* const device : {"1", "2"}) {
    EXPECT_FALSE(fleet_.harness.CheckIn(device)->has_assignment()) << device;
  }

  EXPECT_FALSE(fleet_.harness.CheckIn("0")->has_assignment());
  const auto again = fleet_.harness.CheckIn("1");
  ASSERT_TRUE(again->has_assignment());
  EXPECT_THAT(fleet_.Upload("1", again->assignment()), IsOk());
  EXPECT_EQ(fleet_.harness.Summary().version(), 2);
}

// What a device needs to see that the ledger only grew.
TEST_F(GoneBackTest, AssignmentLeadsFromTheHeadThatTheDeviceShowed) {
  const v1::LedgerHead first = fleet_.Ledger().head();
  fleet_.harness.ledger_heads["0"] =
      CoordinatorHarness::SignLedgerHead(first).value();
  ASSERT_EQ(fleet_.DoRound(), 2);
  fleet_.harness.ledger_heads.erase("1");
  const auto knows = fleet_.harness.CheckIn("0");
  const auto new_here = fleet_.harness.CheckIn("1");
  ASSERT_TRUE(knows->has_assignment());
  const v1::AssignmentLedger& shown = knows->assignment().ledger();
  v1::LedgerHead newest;
  ASSERT_TRUE(newest.ParseFromString(shown.head().payload()));
  LedgerHead at = {first.sequence(), Digest::FromBytes(first.hash()).value()};
  ASSERT_EQ(shown.links_size(), 1);
  for (const v1::AssignmentLedger::Link& link : shown.links()) {
    at = ExtendLedger(at, link.sequence(),
                      Digest::FromBytes(link.entry_sha256()).value());
  }
  EXPECT_EQ(at.sequence, newest.sequence());
  EXPECT_EQ(at.hash.ToBytes(), newest.hash());
  EXPECT_EQ(new_here->assignment().ledger().links_size(), 0);
}

}  // namespace
}  // namespace mledge
