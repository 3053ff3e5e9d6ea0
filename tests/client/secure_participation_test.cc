#include "mledge/client/secure_participation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "mledge/identity/revocation_list.h"
#include "mledge/tests/client/secure_fleet.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using Kind = SecureOutcome::Kind;

// The device that something happens to.
constexpr int kVictim = 7;

int CountSent(const FleetDevice& device,
              v1::SecaggDeviceMessage::MessageCase kind) {
  return static_cast<int>(
      std::count_if(device.sent.begin(), device.sent.end(),
                    [&](const auto& m) { return m.message_case() == kind; }));
}

TEST(SecureParticipationTest, TwentyDevicesEndInOneExactSum) {
  SecureFleet fleet;
  fleet.Begin();
  fleet.Run();
  fleet.ExpectExactSum();
  fleet.ExpectHonestOutcomes();
  fleet.ExpectNothingLeftTwice();
  for (const FleetDevice& device : fleet.devices) {
    EXPECT_TRUE(fleet.Counted(device));
    EXPECT_EQ(device.streams, 1);
    EXPECT_TRUE(device.participation->finished());
    EXPECT_FALSE(device.stream.has_value()) << "the stream is left open";
  }
}

// Whatever the victim was about to do when its stream broke, it is back in
// time and in the sum.
TEST(SecureParticipationTest, StreamLostAtAnyStepCostsNothing) {
  int steps = 0;
  for (int step = 1;; ++step) {
    SecureFleet fleet;
    fleet.after_effect = [&](FleetDevice& device, const SecureEffect&) {
      if (device.index == kVictim && device.effects == step) {
        fleet.BreakStream(device);
      }
    };
    fleet.Begin();
    fleet.Run();
    FleetDevice& victim = fleet.devices[kVictim];
    fleet.ExpectExactSum();
    fleet.ExpectHonestOutcomes();
    fleet.ExpectNothingLeftTwice();
    EXPECT_TRUE(fleet.Counted(victim)) << "cut off after effect " << step;
    if (victim.effects < step) break;
    ++steps;
    ASSERT_FALSE(testing::Test::HasFailure()) << "step " << step;
  }
  EXPECT_GE(steps, 12) << "the hook did not reach the whole way";
}

// The process ends after any effect and starts again from its disk. It is in
// the sum, or it is told that it is not; and never twice.
TEST(SecureParticipationTest, DeviceKilledAtAnyStepKeepsItsWord) {
  int counted_after_restart = 0;
  int steps = 0;
  for (int step = 1;; ++step) {
    SecureFleet fleet;
    fleet.after_effect = [&](FleetDevice& device, const SecureEffect&) {
      if (device.index != kVictim || device.effects != step ||
          device.outcome.has_value()) {
        return;
      }
      fleet.Kill(device);
      fleet.After(absl::Seconds(2), [&] { fleet.StartDevice(device); });
    };
    fleet.Begin();
    fleet.Run();
    FleetDevice& victim = fleet.devices[kVictim];
    fleet.ExpectExactSum();
    fleet.ExpectHonestOutcomes();
    fleet.ExpectNothingLeftTwice();
    if (victim.life == 0) break;
    ++steps;
    if (fleet.Counted(victim)) ++counted_after_restart;
    ASSERT_FALSE(testing::Test::HasFailure()) << "step " << step;
  }
  EXPECT_GE(steps, 12);
  // Once the masked input is on its disk, a restart costs nothing.
  EXPECT_GE(counted_after_restart, 5);
}

TEST(SecureParticipationTest,
     AbortBeforeTheMaskedInputLeavesTheUpdateForTheNextSession) {
  SecureFleet fleet;
  bool aborted = false;
  fleet.after_effect = [&](FleetDevice& device, const SecureEffect& effect) {
    const auto* send = std::get_if<SendSecurely>(&effect);
    if (aborted || device.index != kVictim || send == nullptr ||
        !send->message.has_share_boxes()) {
      return;
    }
    aborted = true;
    fleet.After(absl::ZeroDuration(), [&] { fleet.AbortSession(); });
  };
  fleet.Begin();
  fleet.Run();
  EXPECT_EQ(fleet.sessions, 2);
  fleet.ExpectExactSum();
  fleet.ExpectHonestOutcomes();
  fleet.ExpectNothingLeftTwice();
  for (const FleetDevice& device : fleet.devices) {
    EXPECT_TRUE(fleet.Counted(device));
  }
}

TEST(SecureParticipationTest, AbortAfterTheMaskedInputLosesTheUpdate) {
  SecureFleet fleet;
  bool aborted = false;
  fleet.after_effect = [&](FleetDevice& device, const SecureEffect& effect) {
    const auto* send = std::get_if<SendSecurely>(&effect);
    if (aborted || device.index != kVictim || send == nullptr ||
        !send->message.has_sets_signature()) {
      return;
    }
    aborted = true;
    fleet.After(absl::ZeroDuration(), [&] { fleet.AbortSession(); });
  };
  fleet.Begin();
  fleet.Run();
  EXPECT_TRUE(fleet.finished.empty());
  fleet.ExpectNothingLeftTwice();
  for (const FleetDevice& device : fleet.devices) {
    ASSERT_TRUE(device.outcome.has_value()) << device.id;
    ASSERT_THAT(*device.outcome, IsOk());
    EXPECT_EQ((*device.outcome)->kind, Kind::kLost) << device.id;
  }
}

TEST(SecureParticipationTest, LostUpdateStaysLostAfterARestart) {
  SecureFleet fleet;
  fleet.after_effect = [&](FleetDevice& device, const SecureEffect& effect) {
    const auto* send = std::get_if<SendSecurely>(&effect);
    if (fleet.sessions == 1 && device.index == kVictim && send != nullptr &&
        send->message.has_sets_signature()) {
      fleet.after_effect = nullptr;
      fleet.After(absl::ZeroDuration(), [&] { fleet.AbortSession(); });
    }
  };
  fleet.Begin();
  fleet.Run();
  FleetDevice& victim = fleet.devices[kVictim];
  const size_t masked = victim.masked.size();
  // Its session did not learn of the loss before the process ended: it is
  // started for the same update again, and offered the second session.
  fleet.Kill(victim);
  fleet.StartDevice(victim);
  fleet.Run();
  ASSERT_TRUE(victim.outcome.has_value());
  ASSERT_THAT(*victim.outcome, IsOk());
  EXPECT_EQ((*victim.outcome)->kind, Kind::kLost);
  EXPECT_EQ(victim.masked.size(), masked);
}

TEST(SecureParticipationTest, SecondIdenticalMessagesChangeNothing) {
  SecureFleet fleet;
  bool again = false;
  int repeated = 0;
  fleet.to_device = [&](FleetDevice& device,
                        v1::SecureAggregationResponse& message) {
    // What came once comes again a moment later.
    if (again || device.index != kVictim || message.has_result()) return true;
    fleet.After(absl::Milliseconds(1), [&, message] {
      again = true;
      ++repeated;
      fleet.Deliver(device, message);
      fleet.After(absl::Milliseconds(20), [&] { again = false; });
    });
    return true;
  };
  fleet.Begin();
  fleet.Run();
  fleet.ExpectExactSum();
  fleet.ExpectHonestOutcomes();
  fleet.ExpectNothingLeftTwice();
  EXPECT_TRUE(fleet.Counted(fleet.devices[kVictim]));
  EXPECT_GE(repeated, 6) << "the list and each kind of message";
}

TEST(SecureParticipationTest, FailedUploadsAreRepeatedWithTheSameBytes) {
  SecureFleet fleet;
  int failures = 3;
  fleet.upload_answer = [&](FleetDevice& device)
      -> std::optional<absl::StatusOr<v1::UploadResult>> {
    if (device.index != kVictim || failures == 0) return std::nullopt;
    --failures;
    return absl::UnavailableError("cut");
  };
  fleet.Begin();
  fleet.Run();
  EXPECT_EQ(failures, 0);
  fleet.ExpectExactSum();
  EXPECT_TRUE(fleet.Counted(fleet.devices[kVictim]));
  fleet.ExpectHonestOutcomes();
}

TEST(SecureParticipationTest, MaskedInputThatIsNotTakenIsALostUpdate) {
  SecureFleet fleet;
  fleet.upload_answer = [&](FleetDevice& device)
      -> std::optional<absl::StatusOr<v1::UploadResult>> {
    if (device.index != kVictim) return std::nullopt;
    return Outcome(v1::UploadResult::REFUSED);
  };
  fleet.Begin();
  fleet.Run();
  fleet.ExpectExactSum();
  EXPECT_FALSE(fleet.Counted(fleet.devices[kVictim]));
  fleet.ExpectHonestOutcomes();
  EXPECT_EQ((*fleet.devices[kVictim].outcome)->kind, Kind::kLost);
}

TEST(SecureParticipationTest, NothingIsSentBeforeARevocationListCame) {
  SecureFleet fleet;
  fleet.first_list =
      [&](FleetDevice& device) -> std::optional<v1::SignedMessage> {
    if (device.index == kVictim && device.streams < 3) return std::nullopt;
    return fleet.RevocationList(1);
  };
  fleet.Begin();
  fleet.Run();
  FleetDevice& victim = fleet.devices[kVictim];
  EXPECT_EQ(victim.streams, 3);
  EXPECT_THAT(victim.notices, Contains(HasSubstr("no revocation list")));
  EXPECT_EQ(CountSent(victim, v1::SecaggDeviceMessage::kAdvertise), 1);
  fleet.ExpectHonestOutcomes();
  EXPECT_TRUE(fleet.Counted(victim));
}

TEST(SecureParticipationTest, BadRevocationListsAreRefused) {
  const TestPki foreign(absl::FromUnixSeconds(1767225600), "foreign");
  v1::RevocationList list;
  list.set_number(5);
  list.set_issued_unix_milliseconds(1767225600000);
  list.set_fresh_until_unix_milliseconds(1767225600000 + 3600 * 1000);
  const struct {
    const char* name;
    std::function<v1::SignedMessage(SecureFleet&)> list;
    const char* notice;
  } cases[] = {
      {"stale",
       [](SecureFleet& fleet) {
         return fleet.RevocationList(3, absl::Hours(25));
       },
       "counted until"},
      {"older than one seen before a restart",
       [](SecureFleet& fleet) { return fleet.RevocationList(1); },
       "older than list 2"},
      {"foreign",
       [&](SecureFleet&) {
         return RevocationList::Sign(list, foreign.registrar());
       },
       "registrar foreign"},
      {"no list", [](SecureFleet&) { return v1::SignedMessage(); },
       "revocation-list"},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.name);
    SecureFleet fleet;
    FleetDevice& victim = fleet.devices[kVictim];
    ASSERT_THAT(victim.storage->SaveListNumber(2), IsOk());
    fleet.first_list = [&](FleetDevice& device) {
      return device.index == kVictim ? std::optional(bad.list(fleet))
                                     : std::optional(fleet.RevocationList(1));
    };
    fleet.Begin();
    fleet.Run(absl::Minutes(10));
    EXPECT_TRUE(victim.sent.empty());
    EXPECT_GT(victim.streams, 3) << "it goes on asking";
    EXPECT_THAT(victim.notices, Contains(HasSubstr(bad.notice)));
    EXPECT_FALSE(fleet.Counted(victim));
    fleet.ExpectExactSum();
  }
}

TEST(SecureParticipationTest, NewestListNumberIsKept) {
  SecureFleet fleet;
  fleet.first_list = [&](FleetDevice&) { return fleet.RevocationList(9); };
  fleet.Begin();
  fleet.Run();
  EXPECT_EQ(*fleet.devices[kVictim].storage->LoadListNumber(), 9u);
}

TEST(SecureParticipationTest, SessionsThatAreTooSmallAreRefusedAndGivenUp) {
  SecureFleet fleet(6);
  fleet.options.policy.session.least_clients = 20;
  // Each device refuses each session; the coordinator tries again and again.
  fleet.Begin();
  for (int i = 0; i < 5; ++i) {
    fleet.After(absl::Minutes(10) * (i + 1), [&] { fleet.AbortSession(); });
  }
  fleet.Run(absl::Hours(2));
  for (const FleetDevice& device : fleet.devices) {
    ASSERT_TRUE(device.outcome.has_value());
    EXPECT_THAT(*device.outcome,
                StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_TRUE(device.masked.empty());
    EXPECT_FALSE(device.notices.empty());
  }
}

TEST(SecureParticipationTest, JournalThatCannotBeWrittenKeepsTheUpdateAtHome) {
  SecureFleet fleet;
  fleet.on_save = [&](FleetDevice& device) {
    return device.index == kVictim
               ? absl::ResourceExhaustedError("the disk is full")
               : absl::OkStatus();
  };
  fleet.Begin();
  fleet.Run();
  FleetDevice& victim = fleet.devices[kVictim];
  EXPECT_TRUE(victim.masked.empty());
  EXPECT_EQ(CountSent(victim, v1::SecaggDeviceMessage::kAdvertise), 0);
  EXPECT_THAT(victim.notices, Contains(HasSubstr("the disk is full")));
  fleet.ExpectExactSum();
  EXPECT_FALSE(fleet.Counted(victim));
}

TEST(SecureParticipationTest, OfferThatItLeftIsNotTakenAgain) {
  SecureFleet fleet;
  int saves = 0;
  fleet.on_save = [&](FleetDevice& device) {
    if (device.index != kVictim) return absl::OkStatus();
    ++saves;
    return absl::ResourceExhaustedError("the disk is full");
  };
  // That it left does not arrive; each new stream brings the same offer.
  fleet.after_effect = [&](FleetDevice& device, const SecureEffect& effect) {
    const auto* send = std::get_if<SendSecurely>(&effect);
    if (device.index == kVictim && send != nullptr &&
        send->message.has_leave()) {
      fleet.BreakStream(device);
    }
  };
  int offers = 0;
  fleet.to_device = [&](FleetDevice& device, auto& message) {
    if (device.index == kVictim && message.secagg().has_offer()) ++offers;
    return true;
  };
  fleet.Begin();
  for (int i = 1; i <= 4; ++i) {
    fleet.After(absl::Seconds(15) * i,
                [&] { fleet.BreakStream(fleet.devices[kVictim]); });
  }
  fleet.Run(absl::Seconds(90));
  EXPECT_GE(offers, 4);
  EXPECT_EQ(saves, 2) << "joining, and the end of that";
  EXPECT_FALSE(fleet.devices[kVictim].outcome.has_value());
}

TEST(SecureParticipationTest, CoordinatorThatDoesNotKnowTheAssignmentEndsIt) {
  SecureFleet fleet;
  fleet.Begin();
  fleet.BreakStream(fleet.devices[kVictim],
                    absl::NotFoundError("no such assignment"));
  fleet.Run();
  ASSERT_TRUE(fleet.devices[kVictim].outcome.has_value());
  EXPECT_THAT(*fleet.devices[kVictim].outcome,
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(SecureParticipationTest, RoundThatEndsWithoutItIsTooLate) {
  SecureFleet fleet;
  fleet.Begin();
  fleet.Run();
  FleetDevice& late = fleet.devices[kVictim];
  late.storage = std::make_unique<MemoryDeviceStorage>();
  late.assignment.set_assignment_id("another");
  late.id = "device-late";
  fleet.StartDevice(late);
  fleet.Run();
  ASSERT_THAT(*late.outcome, IsOk());
  EXPECT_EQ((*late.outcome)->kind, Kind::kTooLate);
}

TEST(SecureParticipationTest, CoordinatorCannotCountWhatNeverLeft) {
  SecureFleet fleet;
  fleet.Begin();
  FleetDevice& victim = fleet.devices[kVictim];
  v1::SecureAggregationResponse lie;
  lie.mutable_result()->set_outcome(v1::UploadResult::ACKNOWLEDGED);
  fleet.Deliver(victim, lie);
  fleet.Run();
  ASSERT_THAT(*victim.outcome, IsOk());
  EXPECT_EQ((*victim.outcome)->kind, Kind::kRefused);
  EXPECT_THAT((*victim.outcome)->reason, HasSubstr("never left"));
}

TEST(SecureParticipationTest, ExamplesBeyondTheBoundAreAPermanentFailure) {
  SecureFleet fleet;
  FleetDevice& victim = fleet.devices[kVictim];
  Update large = *victim.update;
  large.scalars[0].value = 1e9;
  victim.update = std::make_shared<const Update>(std::move(large));
  fleet.Begin();
  ASSERT_TRUE(victim.outcome.has_value());
  EXPECT_THAT(*victim.outcome, StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(victim.streams, 0);
}

TEST(SecureParticipationTest,
     UpdateWithoutAnEndAndWithoutAJournalWaitsForWordAndIsLost) {
  SecureFleet fleet;
  FleetDevice& victim = fleet.devices[kVictim];
  v1::SecaggJournal spent;
  spent.set_session_number(1);
  spent.add_spent_updates(victim.assignment.assignment_id());
  ASSERT_THAT(victim.storage->SaveSecaggJournal(
                  *Digest::FromBytes(victim.assignment.secure().task_sha256()),
                  SecretBytes::CopyFrom(spent.SerializeAsString()),
                  MaskedInputAction::kErase, nullptr),
              IsOk());
  // The coordinator says nothing.
  fleet.to_device = [&](FleetDevice& device, auto& message) {
    return device.index != kVictim || message.has_revocation_list();
  };
  fleet.Begin();
  const absl::Time began = fleet.now;
  fleet.Run();
  ASSERT_TRUE(victim.outcome.has_value());
  ASSERT_THAT(*victim.outcome, IsOk());
  EXPECT_EQ((*victim.outcome)->kind, Kind::kLost);
  EXPECT_GE(fleet.now - began, absl::Minutes(1));
  EXPECT_TRUE(victim.masked.empty());
}

}  // namespace
}  // namespace mledge
