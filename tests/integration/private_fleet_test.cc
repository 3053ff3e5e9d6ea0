// Private tasks of a real fleet: the budget that ends them, and a coordinator
// that was put back to an older copy of its state directory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "mledge/core/strings.h"
#include "mledge/tests/integration/fleet.h"
#include "mledge/tests/support/status_matchers.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kTask[] = "private";

class PrivateFleetTest : public ::testing::Test {
 protected:
  void Submit(int rounds, const std::string& privacy) {
    fleet_.SubmitWith(kTask,
                      StrCat("cohort: {size: 2, over_selection: 1, deadline: "
                             "10m}\n"
                             "aggregation: {weighting: uniform}\n"
                             "secure_aggregation: {mode: off}\n"
                             "privacy: {delta: 1e-6, population_size: 1000, ",
                             privacy, "}\n"),
                      rounds, nullptr,
                      {"local_training.clip_norm=0.5", "evaluation.every=0"});
  }
  std::string Show() { return fleet_.Mledge({"task", "show", kTask}).output; }
  nlohmann::json Ledger() {
    return nlohmann::json::parse(
        fleet_.Mledge({"privacy", "ledger", kTask, "--json"}).output);
  }
  v1::TaskSummary Summary() {
    const auto task = fleet_.Admin()->GetTask(kTask);
    EXPECT_THAT(task, IsOk());
    return task.ok() ? task->summary() : v1::TaskSummary();
  }
  // Before, a sum that the copy held may wait for its witness.
  bool WaitUntilItRests() {
    return WaitUntil(
        [&] {
          return Summary().hindrance().find("the task rests") !=
                 std::string::npos;
        },
        absl::Seconds(30));
  }

  // For whoever has to find out why nothing happens.
  std::string Everything() {
    return StrCat(Show(), fleet_.coordinator()->Log(),
                  fleet_.device("device-0")->Log(),
                  fleet_.device("device-1")->Log());
  }

  void StartDevices(int first, int last) {
    for (int i = first; i <= last; ++i) {
      fleet_.StartDevice(StrCat("device-", i));
    }
  }
  void KillDevices(int first, int last) {
    for (int i = first; i <= last; ++i) {
      fleet_.device(StrCat("device-", i))->Signal(SIGKILL);
      fleet_.device(StrCat("device-", i))->Wait();
    }
  }
  void StopCoordinator(int signal) {
    fleet_.coordinator()->Signal(signal);
    ASSERT_NE(fleet_.coordinator()->Wait(), -1);
  }
  std::string State() const { return fleet_.PathOf("coordinator"); }
  void CopyState(const std::string& from, const std::string& to) {
    fs::remove_all(to);
    fs::copy(from, to, fs::copy_options::recursive);
  }

  Fleet fleet_;
};

// Budget.

// Also where the coordinator is killed in between.
TEST_F(PrivateFleetTest, TaskEndsAtItsBudgetAndSaysWhatIsLeft) {
  ASSERT_TRUE(fleet_.StartCoordinator());
  StartDevices(0, 1);
  Submit(50, "mechanism: central, noise_multiplier: 10, epsilon_limit: 1");
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(fleet_.WaitForVersion(kTask, i + 1));
    StopCoordinator(SIGKILL);
    ASSERT_TRUE(fleet_.StartCoordinator());
  }
  std::vector<double> spent;
  for (const v1::TaskEvent& event : fleet_.EventsToTheEnd(kTask)) {
    if (event.has_round_completed()) {
      spent.push_back(event.round_completed().epsilon_spent());
    }
  }
  // Five rounds spend 0.947, six 1.044.
  ASSERT_EQ(spent.size(), 5u);
  EXPECT_LT(spent.back(), 1);
  EXPECT_EQ(Summary().state(), v1::COMPLETED);
  EXPECT_THAT(
      Show(),
      AllOf(HasSubstr("State: completed (the privacy budget is used up: "
                      "epsilon 0.9467 of privacy.epsilon_limit 1 is "
                      "spent against model recipients"),
            HasSubstr("a round more would bring it to 1.044"),
            HasSubstr("epsilon 0.9467 spent, 0.05329 left until "
                      "privacy.epsilon_limit"),
            HasSubstr("against model recipients (delta 1e-06)")));
  const nlohmann::json account = Ledger()["accounts"][0];
  EXPECT_EQ(account["epsilon"], spent.back());
  EXPECT_NEAR(account["epsilon_left"], 1 - spent.back(), 1e-9);
  EXPECT_THAT(fleet_.Mledge({"task", "watch", kTask}).output,
              AllOf(HasSubstr("version 5 from 2 updates (0 failed), epsilon "
                              "0.9467 spent"),
                    HasSubstr("completed: the privacy budget is used up")));
}

// Older copies.

class OlderCopyTest : public PrivateFleetTest {
 protected:
  // A state directory as it was in the middle of the task, and that of now,
  // where `lost` rounds more are done. Each coordinator ends by its signal.
  void MakeCopy(int signal_before, int lost, int signal_after) {
    ASSERT_TRUE(fleet_.StartCoordinator());
    StartDevices(0, 1);
    Submit(kRounds, "mechanism: central, noise_multiplier: 30");
    ASSERT_TRUE(fleet_.WaitForVersion(kTask, 2));
    // A copy may not hold a round that is half done, so nobody is there.
    KillDevices(0, 1);
    copied_version_ = Summary().version();
    StopCoordinator(signal_before);
    CopyState(State(), yesterday_);
    ASSERT_TRUE(fleet_.StartCoordinator());
    StartDevices(0, 1);
    ASSERT_TRUE(
        fleet_.WaitForVersion(kTask, copied_version_ + lost, absl::Seconds(30)))
        << Everything();
    StopCoordinator(signal_after);
  }
  // The coordinator runs on an older copy, which devices notice.
  void ExpectItRests() {
    ASSERT_TRUE(WaitUntilItRests());
    EXPECT_THAT(
        Show(),
        AllOf(HasSubstr("Attention: the task rests: devices know entry"),
              HasSubstr("this state directory is an older copy"),
              HasSubstr("mledge privacy adopt private")));
    const nlohmann::json ledger = Ledger();
    EXPECT_GT(ledger["lost_head"]["sequence"], ledger["head"]["sequence"]);
    EXPECT_EQ(ledger["participations"], copied_version_);
    // Devices are there, and get nothing to do.
    absl::SleepFor(absl::Seconds(2));
    EXPECT_EQ(Summary().version(), copied_version_);
  }

  // More than pass between two looks at the version.
  static constexpr int kRounds = 40;
  const std::string yesterday_ = fleet_.PathOf("yesterday");
  int64_t copied_version_ = 0;
};

TEST_F(OlderCopyTest, RestsUntilItIsAdoptedAndEverythingLostIsCharged) {
  ASSERT_NO_FATAL_FAILURE(MakeCopy(SIGTERM, 2, SIGTERM));
  CopyState(yesterday_, State());
  ASSERT_TRUE(fleet_.StartCoordinator());
  ASSERT_NO_FATAL_FAILURE(ExpectItRests());
  // Not even a kill makes it forget.
  StopCoordinator(SIGKILL);
  ASSERT_TRUE(fleet_.StartCoordinator());
  EXPECT_THAT(Summary().hindrance(), HasSubstr("the task rests"));

  const int64_t lost = Ledger()["lost_head"]["sequence"];
  const Finished adopted = fleet_.Mledge({"privacy", "adopt", kTask});
  EXPECT_EQ(adopted.status, 0) << adopted.output;
  EXPECT_THAT(adopted.output, HasSubstr(StrCat("up to entry ", lost)));
  EXPECT_EQ(fleet_.Mledge({"privacy", "adopt", kTask}).status, 1);
  const nlohmann::json ledger = Ledger();
  // All but the schedule may have been lost.
  EXPECT_EQ(ledger["participations"],
            std::min<int64_t>(kRounds, copied_version_ + lost - 1));
  EXPECT_THAT(fleet_.Mledge({"privacy", "ledger", kTask, "--entries"}).output,
              HasSubstr(StrCat("adoption   by alice, of entry ", lost)));
  // Who was in the rounds that were lost refuses to be in them again, so that
  // others are needed.
  StartDevices(2, 3);
  const std::vector<v1::TaskEvent> events = fleet_.EventsToTheEnd(kTask);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().task_ended().state(), v1::COMPLETED);
  EXPECT_EQ(Summary().version(), kRounds);
  EXPECT_LE(Ledger()["participations"], kRounds);
}

// Both the copy and what it replaces are a killed coordinator's: with the
// database's log, which is not in the database yet.
TEST_F(OlderCopyTest, IsNoticedWithItsWriteAheadLog) {
  ASSERT_NO_FATAL_FAILURE(MakeCopy(SIGKILL, 2, SIGKILL));
  EXPECT_TRUE(fs::exists(yesterday_ + "/coordinator.db-wal"));
  CopyState(yesterday_, State());
  ASSERT_TRUE(fleet_.StartCoordinator());
  ExpectItRests();
}

}  // namespace
}  // namespace mledge
