// Real devices and a coordinator over mutual TLS that asks for more than its
// task, or the device's owner, allows: devices refuse, and say why to everybody
// whom it concerns.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "mledge/core/sha256.h"
#include "mledge/core/strings.h"
#include "mledge/tests/integration/fleet.h"
#include "mledge/tests/integration/lying_coordinator.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kTask[] = "private";

class RefusalTest : public ::testing::Test {
 protected:
  std::string Lines(int cohort, const std::string& mechanism,
                    const std::string& privacy) {
    return StrCat("cohort: {size: ", cohort,
                  ", over_selection: 1, deadline: 10m}\n"
                  "aggregation: {weighting: uniform}\n"
                  "privacy: {mechanism: ",
                  mechanism, ", delta: 1e-6, population_size: 1000, ", privacy,
                  "}\n");
  }
  void Submit(const std::string& lines, int rounds) {
    fleet_.SubmitWith(kTask, lines, rounds, nullptr,
                      {"local_training.clip_norm=0.5", "evaluation.every=0"});
  }
  void SubmitCentral(int cohort, const std::string& privacy, int rounds) {
    Submit(
        Lines(cohort, "central", privacy) + "secure_aggregation: {mode: off}\n",
        rounds);
  }
  // To the operator, who looks at the task or follows it.
  void ExpectOperatorIsTold(const std::string& device,
                            const std::string& words) {
    ASSERT_TRUE(WaitUntil([&] {
      const auto task = fleet_.Admin()->GetTask(kTask);
      return task.ok() && task->device_failures_size() > 0;
    }));
    EXPECT_THAT(
        fleet_.Mledge({"task", "show", kTask}).output,
        AllOf(HasSubstr(StrCat("Failed: device ", device)), HasSubstr(words)));
    EXPECT_EQ(fleet_.Mledge({"task", "cancel", kTask}).status, 0);
    EXPECT_THAT(fleet_.Mledge({"task", "watch", kTask}).output,
                AllOf(HasSubstr(StrCat("device ", device, " failed: refused")),
                      HasSubstr(words)));
  }
  std::string LogOf(const std::string& device) {
    return fleet_.device(device)->Log();
  }

  Fleet fleet_;
};

TEST_F(RefusalTest, TaskThatMaySpendMoreThanTheOwnerAllows) {
  ASSERT_TRUE(fleet_.StartCoordinator());
  fleet_.AddToDevices("privacy: {epsilon_limit: 0.5}\n");
  fleet_.StartDevice("device-0");
  SubmitCentral(1, "noise_multiplier: 1", 1);
  const std::string words = "this device allows 0.5";
  ExpectOperatorIsTold("device-0", words);
  EXPECT_THAT(LogOf("device-0"),
              AllOf(HasSubstr("refused the assignment: the task may spend "
                              "epsilon"),
                    HasSubstr(words), Not(HasSubstr("acknowledged"))));
}

// More clip norm under the same noise is less noise.
TEST_F(RefusalTest, CoordinatorThatLowersTheNoiseBesideTheClipNorm) {
  LyingCoordinator liar(
      fleet_, [](Coordinator&, const DeviceId&, v1::CheckInResponse* answer) {
        if (answer->has_assignment())
          answer->mutable_assignment()->set_clip_norm(5);
      });
  fleet_.StartDevice("device-0");
  SubmitCentral(1, "noise_multiplier: 10", 1);
  const std::string words =
      "clip_norm is 5; the task that the operator signed allows 0 to 0.5";
  ASSERT_TRUE(liar.WaitForReport("device-0", words));
  ExpectOperatorIsTold("device-0", words);
  EXPECT_THAT(LogOf("device-0"),
              AllOf(HasSubstr(words), Not(HasSubstr("acknowledged"))));
}

// Each device's share of distributed noise is the smaller the more honest ones
// there are.
TEST_F(RefusalTest, CoordinatorThatLowersEachDevicesShareOfTheNoise) {
  constexpr int kDevices = 5;
  ASSERT_TRUE(fleet_.StartRegistrar());
  LyingCoordinator liar(fleet_, [](Coordinator&, const DeviceId&,
                                   v1::CheckInResponse* answer) {
    if (!answer->has_assignment()) return;
    v1::SecureAssignment& secure =
        *answer->mutable_assignment()->mutable_secure();
    secure.mutable_grid()->set_least_honest(secure.grid().least_honest() * 100);
  });
  for (int i = 0; i < kDevices; ++i) fleet_.StartDevice(StrCat("device-", i));
  Submit(Lines(kDevices, "distributed", "noise_multiplier: 10"), 1);
  for (int i = 0; i < kDevices; ++i) {
    ASSERT_TRUE(liar.WaitForReport(StrCat("device-", i),
                                   "secure.grid.least_honest is "));
  }
  EXPECT_THAT(LogOf("device-0"),
              AllOf(HasSubstr("from the task that the operator signed follows"),
                    Not(HasSubstr("acknowledged"))));
}

// A second update of one step would carry other noise, or none.
TEST_F(RefusalTest, CoordinatorThatAsksAgainForTheSameStep) {
  std::optional<v1::Assignment> first;
  int asked = 0;
  LyingCoordinator liar(fleet_, [&](Coordinator&, const DeviceId&,
                                    v1::CheckInResponse* answer) {
    if (!first.has_value()) {
      if (answer->has_assignment()) first = answer->assignment();
      return;
    }
    *answer->mutable_assignment() = *first;
    answer->mutable_assignment()->set_assignment_id(StrCat("again-", ++asked));
  });
  fleet_.StartDevice("device-0");
  SubmitCentral(1, "noise_multiplier: 10", 3);
  ASSERT_TRUE(liar.WaitForReport("device-0", "this device's own ledger"));
  // One was acknowledged, before.
  const std::string log = LogOf("device-0");
  EXPECT_EQ(log.find("is acknowledged"), log.rfind("is acknowledged"));
  EXPECT_THAT(log, HasSubstr("is acknowledged"));
}

// Another device's assignment at a later step, with all that leads to the head
// of the ledger that it shows.
class AskedTooOftenTest : public RefusalTest {
 protected:
  void ExpectRefused(const std::string& limits, const std::string& words) {
    std::optional<v1::Assignment> others;
    LyingCoordinator liar(
        fleet_, [&](Coordinator& honest, const DeviceId& device,
                    v1::CheckInResponse* answer) {
          if (device.value() == "device-1") {
            if (answer->has_assignment() && !others.has_value()) {
              others = WithLinks(honest, answer->assignment());
            }
          } else if (others.has_value()) {
            *answer->mutable_assignment() = *others;
          }
        });
    fleet_.StartDevice("device-0");
    SubmitCentral(1, StrCat("noise_multiplier: 10, ", limits), 6);
    // device-0 took part in the first round, and knows the schedule's head.
    ASSERT_TRUE(fleet_.WaitForVersion(kTask, 1));
    fleet_.StartDevice("device-1");
    ASSERT_TRUE(liar.WaitForReport("device-0", words));
    EXPECT_THAT(LogOf("device-0"), HasSubstr(words));
  }

  static v1::Assignment WithLinks(Coordinator& honest,
                                  v1::Assignment assignment) {
    const auto ledger = honest.GetPrivacyLedger(TaskId(kTask));
    EXPECT_THAT(ledger, IsOk());
    v1::LedgerHead head;
    EXPECT_TRUE(head.ParseFromString(assignment.ledger().head().payload()));
    assignment.mutable_ledger()->clear_links();
    for (const v1::LedgerEntry& entry : ledger->entries()) {
      if (entry.has_schedule() || entry.sequence() > head.sequence()) continue;
      auto& link = *assignment.mutable_ledger()->add_links();
      link.set_sequence(entry.sequence());
      link.set_entry_sha256(Sha256Of(entry.SerializeAsString()).ToBytes());
    }
    return assignment;
  }
};

TEST_F(AskedTooOftenTest, BeyondItsParticipations) {
  ExpectRefused("participations: 1",
                "this device's own ledger: round 1 would be participation 2 of "
                "a device that may take part 1 times");
}

TEST_F(AskedTooOftenTest, BelowTheSeparation) {
  ExpectRefused("participations: 2, separation: 3",
                "this device's own ledger: round 1 is less than 3 rounds after "
                "round 0");
}

}  // namespace
}  // namespace mledge
