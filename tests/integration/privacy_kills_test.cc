// A real coordinator whose noise is added to the sum dies by kill -9 before
// each operation on its disk: of a whole round, and of a start after a death
// between noise and charge. What is spent is never forgotten, and of one sum no
// two noisings are kept or shown.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/tests/integration/private_kills.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int kDevices = 2;
// More than a round, and a start with the end of a round, have.
constexpr int64_t kMostMoments = 150;
// To give up if there are more.
constexpr int kRounds = 800;

class NoisedSumTest : public PrivateKillsTest {
 protected:
  void StartTask(const std::string& mechanism) {
    ASSERT_TRUE(Start());
    for (int i = 0; i < kDevices; ++i) {
      fleet_.StartDevice(StrCat("device-", i));
    }
    fleet_.SubmitWith(
        kKilledTask,
        StrCat("cohort: {size: ", kDevices,
               ", over_selection: 1, deadline: 10m}\n"
               "aggregation: {weighting: uniform}\n"
               "secure_aggregation: {mode: off}\n"
               "privacy: {mechanism: ",
               mechanism,
               ", noise_multiplier: 30, delta: 1e-6, population_size: "
               "1000}\n"),
        kRounds, nullptr,
        {"local_training.clip_norm=0.5", "evaluation.every=0"});
    ASSERT_TRUE(fleet_.WaitForVersion(kKilledTask, 1));
  }

  // Everything that was published is paid for, once each.
  void ExpectPaid(const Disk& disk) {
    const int64_t newest = disk.newest_version();
    EXPECT_THAT(disk.versions, SizeIs(newest + 1));
    ASSERT_THAT(disk.charges, SizeIs(newest));
    for (int64_t step = 0; step < newest; ++step) {
      EXPECT_EQ(disk.charges[step].step, step);
    }
  }

  // Before a sum is noised again, nothing is left of what was drawn and not
  // published.
  void ExpectGone(const std::set<std::string>& nameless) {
    const std::set<std::string> left = BlobsIn(state_);
    for (const std::string& blob : nameless) {
      EXPECT_THAT(left, Not(Contains(blob)));
    }
  }

  // Some rounds more are as usual. Of each version, disks, operators and
  // devices never had but one.
  void ExpectEachVersionOnce(Onlooker& onlooker) {
    const int64_t last = Version() + 3;
    ASSERT_TRUE(fleet_.WaitForVersion(kKilledTask, last));
    const Finished cancelled = fleet_.Mledge({"task", "cancel", kKilledTask});
    ASSERT_EQ(cancelled.status, 0) << cancelled.output;
    const int64_t rounds = Version();
    EXPECT_LT(rounds, kRounds) << "the task ended before the test";
    const Finished ledger =
        fleet_.Mledge({"privacy", "ledger", kKilledTask, "--json"});
    EXPECT_THAT(ledger.output,
                AllOf(HasSubstr(StrCat("\"participations\": ", rounds, ",")),
                      HasSubstr(StrCat("\"entries\": ", rounds + 1, ","))));
    fleet_.coordinator()->Signal(SIGTERM);
    EXPECT_EQ(fleet_.coordinator()->Wait(), 0);
    const Disk disk = Disk::LookAt(state_, fleet_.PathOf("copy"));
    ASSERT_NO_FATAL_FAILURE(ExpectPaid(disk));
    std::set<std::string> all;
    for (const auto& [version, parameters] : disk.versions) {
      stored_[version].insert(parameters);
      all.insert(parameters);
    }
    EXPECT_THAT(stored_, SizeIs(rounds + 1));
    EXPECT_THAT(all, SizeIs(rounds + 1));
    for (const auto& [version, parameters] : stored_) {
      EXPECT_THAT(parameters, SizeIs(1)) << "version " << version;
    }
    for (const auto& [version, seen] : onlooker.Stop()) {
      EXPECT_EQ(seen, stored_[version]) << "version " << version;
    }
    for (int i = 0; i < kDevices; ++i) {
      std::set<std::string> given;
      for (const std::string& parameters :
           WordsAfter(fleet_.device(StrCat("device-", i))->Log(),
                      "with parameters ")) {
        given.insert(parameters.substr(0, 64));
      }
      EXPECT_GE(given.size(), rounds);
      for (const std::string& parameters : given) {
        EXPECT_THAT(all, Contains(parameters)) << "device " << i;
      }
    }
  }

  // "rename /blobs/1f/ab…": the blob of that name.
  static std::string BlobOf(const std::string& operation) {
    std::string name = operation.substr(operation.find("/blobs/") + 7);
    return name.erase(2, 1);
  }
};

class RoundTest : public NoisedSumTest,
                  public ::testing::WithParamInterface<std::string> {
 protected:
  // The version's parameters, and the state of correlated noise.
  const int64_t blobs_ = GetParam() == "correlated" ? 2 : 1;

  // In a round that begins with everybody connected.
  Disk DieAt(const KillSwitch::Moment& moment) {
    EXPECT_TRUE(fleet_.WaitForVersion(kKilledTask, Version() + 1));
    kill_.KillAt(moment);
    Disk disk = AwaitDeath();
    ExpectPaid(disk);
    // One noising of one sum; and no older state of noise but, right after a
    // publication, the last.
    EXPECT_LE(static_cast<int64_t>(disk.nameless.size()), blobs_);
    return disk;
  }
  void StartAgain(const Disk& left) {
    ASSERT_TRUE(Start());
    ExpectGone(left.nameless);
  }
};

TEST_P(RoundTest, DiesBeforeEachOperation) {
  ASSERT_NO_FATAL_FAILURE(StartTask(GetParam()));
  Onlooker onlooker(fleet_);
  int64_t moments = 0;
  // From the first bytes of one noised sum to those of the next. Operations of
  // several threads take turns as they like, so a few more.
  for (int beyond = 0; beyond < 4; ++moments) {
    ASSERT_LT(moments, kMostMoments);
    const Disk disk = DieAt({.after = kNoisedSumWritten, .spared = moments});
    SCOPED_TRACE(StrCat("moment ", moments, ", ", kill_.died_before()));
    ASSERT_FALSE(HasFailure());
    beyond += kill_.passed() > blobs_;
    ASSERT_NO_FATAL_FAILURE(StartAgain(disk));
  }
  Tell(moments);
  // What a round consists of: one cannot stop trying it unnoticed. The test
  // below has each kind by name.
  EXPECT_GE(moments, 40);
  EXPECT_GE(deaths_["/coordinator.db-wal"], 24);
  EXPECT_GE(deaths_["/spool"], 1);
  EXPECT_GE(deaths_["/blobs"], 1);
  ExpectEachVersionOnce(onlooker);
}

// The moments between which something becomes true, one by one: operations of
// other threads do not move these.
TEST_P(RoundTest, DiesAroundChargingAndPublishing) {
  constexpr char kWritesLog[] = "pwrite /coordinator.db-wal";
  constexpr char kSyncsLog[] = "sync /coordinator.db-wal";
  constexpr char kRemovesUpdate[] = "unlink /spool/*";
  std::vector<KillSwitch::Moment> noised = {
      {kNoisedSumKept, "sync /blobs/*"},
      // Charge, version, noise's state and end of the round: one transaction.
      {kNoisedSumKept, kWritesLog},
      {kNoisedSumKept, kWritesLog, 1},
      {kNoisedSumKept, kWritesLog, 7},
  };
  const std::vector<KillSwitch::Moment> published = {
      // What is written survives a kill, though not the loss of power.
      {kNoisedSumKept, kSyncsLog},
      {kNoisedSumKept, kRemovesUpdate},
      {kNoisedSumKept, kRemovesUpdate, kDevices - 1},
  };
  std::vector<KillSwitch::Moment> others = {
      {kRemovesUpdate, "sync /spool"},
      // The next round's beginning, its updates and their acknowledgement.
      {kRemovesUpdate, kWritesLog},
      {kRemovesUpdate, kSyncsLog},
      {"", "pwrite /spool/*"},
      {"", "pwrite /spool/*", kDevices - 1},
      {"", "sync /spool/*"},
      {"sync /spool/*", kWritesLog},
      {"sync /spool/*", kSyncsLog},
      // The database's log is taken into the database.
      {"", "pwrite /coordinator.db"},
      {"pwrite /coordinator.db", "pwrite /coordinator.db", 3},
      {"", "sync /coordinator.db"},
      {"sync /coordinator.db", kWritesLog},
  };
  for (int64_t blob = 0; blob < blobs_; ++blob) {
    others.push_back({"", kNoisedSumWritten, blob});
    others.push_back({kNoisedSumWritten, "sync /blobs/*.tmp*", blob});
    others.push_back({"", kNoisedSumKept, blob});
  }
  if (blobs_ == 2) noised.push_back({kNoisedSumKept, kNoisedSumWritten});

  ASSERT_NO_FATAL_FAILURE(StartTask(GetParam()));
  Onlooker onlooker(fleet_);
  int64_t moments = 0;
  const auto die_at = [&](const KillSwitch::Moment& moment,
                          std::optional<bool> expect_published) {
    SCOPED_TRACE(StrCat(moment.after, " … ", moment.spared, " × ",
                        moment.before, ", ", ++moments));
    const Disk disk = DieAt(moment);
    ASSERT_FALSE(HasFailure());
    if (expect_published.has_value()) {
      const std::string drawn = BlobOf(kill_.first_passed());
      EXPECT_EQ(disk.nameless.contains(drawn), !*expect_published) << drawn;
    }
    StartAgain(disk);
  };
  for (const KillSwitch::Moment& moment : noised) {
    ASSERT_NO_FATAL_FAILURE(die_at(moment, false));
  }
  for (const KillSwitch::Moment& moment : published) {
    ASSERT_NO_FATAL_FAILURE(die_at(moment, true));
  }
  for (const KillSwitch::Moment& moment : others) {
    ASSERT_NO_FATAL_FAILURE(die_at(moment, std::nullopt));
  }
  Tell(moments);
  ExpectEachVersionOnce(onlooker);
}

INSTANTIATE_TEST_SUITE_P(Mechanisms, RoundTest,
                         ::testing::Values("central", "correlated"),
                         [](const auto& info) { return info.param; });

// A copy of a state directory that was made between sum and noise, of which
// another life has noised the sum since.
TEST_F(NoisedSumTest, CopyWithACompleteSumIsNotNoised) {
  const auto hindrance = [this] {
    const auto task = fleet_.Admin()->GetTask(kKilledTask);
    return task.ok() ? task->summary().hindrance() : "";
  };
  const auto hindered_by = [&hindrance](const std::string& why) {
    return WaitUntil([&] { return hindrance().find(why) != std::string::npos; },
                     absl::Seconds(60));
  };
  const auto stop_devices = [this] {
    for (int i = 0; i < kDevices; ++i) {
      fleet_.device(StrCat("device-", i))->Signal(SIGKILL);
      fleet_.device(StrCat("device-", i))->Wait();
    }
  };
  const auto start_devices = [this] {
    for (int i = 0; i < kDevices; ++i) {
      fleet_.StartDevice(StrCat("device-", i));
    }
  };
  const std::string kWaits = "its sum is not noised before a device shows";
  ASSERT_NO_FATAL_FAILURE(StartTask("central"));

  // The newest state waits for a device, and then goes on.
  kill_.KillAt({.before = kNoisedSumWritten});
  const int64_t newest = AwaitDeath().newest_version();
  const std::string copy = fleet_.PathOf("yesterday");
  fs::copy(state_, copy, fs::copy_options::recursive);
  stop_devices();
  ASSERT_TRUE(Start());
  EXPECT_TRUE(hindered_by(kWaits)) << hindrance();
  EXPECT_EQ(Version(), newest);
  start_devices();
  ASSERT_TRUE(fleet_.WaitForVersion(kKilledTask, newest + 2));
  stop_devices();
  fleet_.coordinator()->Signal(SIGKILL);
  EXPECT_EQ(fleet_.coordinator()->Wait(), 128 + SIGKILL);

  // The copy waits too, and then rests for good.
  fs::remove_all(state_);
  fs::copy(copy, state_, fs::copy_options::recursive);
  ASSERT_TRUE(Start());
  EXPECT_TRUE(hindered_by(kWaits)) << hindrance();
  start_devices();
  EXPECT_TRUE(hindered_by("the task rests")) << hindrance();
  EXPECT_EQ(Version(), newest);
  fleet_.coordinator()->Signal(SIGTERM);
  EXPECT_EQ(fleet_.coordinator()->Wait(), 0);
  const Disk disk = Disk::LookAt(state_, fleet_.PathOf("copy"));
  EXPECT_EQ(disk.newest_version(), newest);
  EXPECT_THAT(disk.charges, SizeIs(newest));
  EXPECT_THAT(disk.nameless, SizeIs(0));
}

// What a start does with a sum that is complete: it removes the noising that
// was not published, and draws the next once a device is there.
TEST_F(NoisedSumTest, DiesBeforeEachOperationOfAStart) {
  ASSERT_NO_FATAL_FAILURE(StartTask("central"));
  Onlooker onlooker(fleet_);
  int removals = 0;
  int64_t moments = 0;
  for (bool published = false; !published; ++moments) {
    ASSERT_LT(moments, kMostMoments);
    ASSERT_TRUE(fleet_.WaitForVersion(kKilledTask, Version() + 1));
    kill_.KillAt({.after = kNoisedSumKept});
    const Disk noised = AwaitDeath();
    ASSERT_THAT(noised.nameless, SizeIs(1));
    kill_.KillAt({.spared = moments});
    fleet_.LaunchCoordinator(kill_.environment());
    const Disk disk = AwaitDeath();
    const std::string before = kill_.died_before();
    SCOPED_TRACE(StrCat("moment ", moments, ", ", before));
    ASSERT_FALSE(HasFailure());
    ASSERT_NO_FATAL_FAILURE(ExpectPaid(disk));
    // Nothing new while the old one is there.
    EXPECT_LE(disk.nameless.size(), 1u);
    removals += disk.nameless == noised.nameless &&
                before.starts_with("unlink /blobs/");
    published = disk.newest_version() > noised.newest_version();
    ASSERT_TRUE(Start());
    ExpectGone(noised.nameless);
    ExpectGone(disk.nameless);
  }
  Tell(moments);
  EXPECT_GE(removals, 1);
  EXPECT_GE(deaths_["/coordinator.db-wal"], 8);
  ExpectEachVersionOnce(onlooker);
}

}  // namespace
}  // namespace mledge
