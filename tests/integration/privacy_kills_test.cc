// A real coordinator of a private task dies by kill -9 before each operation on
// its disk, from one version to the next. What is spent is never forgotten, and
// of one sum no two noisings are kept or shown.
//
// Of the moments that a round has, each mechanism has every fifth tried;
// MLEDGE_KILL_STRIDE=1 in the environment tries all of them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/sha256.h"
#include "mledge/core/strings.h"
#include "mledge/tests/integration/fleet.h"
#include "mledge/tests/integration/kill_switch.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/v1/privacy.pb.h"
#include "mledge/v1/signature.pb.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int kDevices = 2;
constexpr char kTask[] = "private";
// More than a round has.
constexpr int64_t kMostMoments = 90;

int64_t Stride() {
  const char* const text = std::getenv("MLEDGE_KILL_STRIDE");
  return text == nullptr ? 5 : std::max(1, std::atoi(text));
}

std::set<std::string> BlobsIn(const std::string& state) {
  std::set<std::string> blobs;
  for (const auto& entry : fs::recursive_directory_iterator(state + "/blobs")) {
    if (entry.is_regular_file()) {
      blobs.insert(entry.path().parent_path().filename().string() +
                   entry.path().filename().string());
    }
  }
  return blobs;
}

// What a state directory holds. Looked at in a copy, so that the coordinator
// finds it as the dead process left it.
struct Disk {
  std::map<int64_t, std::string> versions;  // parameters
  std::vector<int64_t> charged_steps;
  // Blobs that no record names.
  std::set<std::string> nameless;
};

Disk LookAt(const std::string& state, const std::string& copy) {
  fs::remove_all(copy);
  fs::copy(state, copy, fs::copy_options::recursive);
  Disk disk;
  disk.nameless = BlobsIn(copy);
  const auto storage = SqliteStorage::Open(copy);
  EXPECT_THAT(storage, IsOk());
  if (!storage.ok()) return disk;
  const auto loaded = (*storage)->Load();
  EXPECT_THAT(loaded, IsOk());
  if (!loaded.ok()) return disk;
  EXPECT_THAT((*storage)->CollectGarbage(), IsOk());
  for (const std::string& named : BlobsIn(copy)) disk.nameless.erase(named);
  for (const VersionRecord& version : loaded->versions) {
    disk.versions[version.version.value()] = version.parameters.ToHex();
  }
  std::vector<StoredLedgerEntry> entries;
  for (const LedgerRecord& record : loaded->ledger) {
    entries.push_back(record.entry);
    v1::LedgerEntry entry;
    EXPECT_TRUE(entry.ParseFromString(record.entry.entry));
    if (entry.has_charge()) {
      disk.charged_steps.push_back(entry.charge().step());
    }
  }
  EXPECT_EQ(loaded->tasks.size(), 1u);
  v1::SignedMessage task;
  EXPECT_TRUE(task.ParseFromString(
      ReadVerifiedBlob(**storage, loaded->tasks[0].signed_task).value()));
  EXPECT_THAT(Ledger::Restore(Sha256Of(task.payload()), entries,
                              loaded->tasks[0].ledger),
              IsOk());
  return disk;
}

// Looks all the time which versions the coordinator shows.
class Onlooker {
 public:
  explicit Onlooker(Fleet& fleet)
      : admin_(fleet.Admin()), thread_([this] { Look(); }) {}
  ~Onlooker() { Stop(); }
  // By version, all hashes under which anybody could have had it.
  const std::map<int64_t, std::set<std::string>>& Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return seen_;
  }

 private:
  void Look() {
    while (!stop_) {
      const auto task = admin_->GetTask(kTask);
      if (task.ok()) {
        for (const v1::ModelVersion& version : task->versions()) {
          seen_[version.version()].insert(
              Digest::FromBytes(version.parameters().sha256()).value().ToHex());
        }
      }
      absl::SleepFor(absl::Milliseconds(3));
    }
  }
  const std::unique_ptr<AdminClient> admin_;
  std::atomic<bool> stop_ = false;
  std::map<int64_t, std::set<std::string>> seen_;
  std::thread thread_;
};

// Hashes of the parameters that a device was given.
std::set<std::string> GivenTo(const ChildProcess& device) {
  constexpr std::string_view kBefore = "with parameters ";
  std::set<std::string> given;
  const std::string log = device.Log();
  for (size_t at = log.find(kBefore); at != std::string::npos;
       at = log.find(kBefore, at + 1)) {
    given.insert(log.substr(at + kBefore.size(), 64));
  }
  return given;
}

bool StartsWith(const std::vector<int64_t>& steps,
                const std::vector<int64_t>& first) {
  return steps.size() >= first.size() &&
         std::equal(first.begin(), first.end(), steps.begin());
}

class KillsTest : public ::testing::Test {
 protected:
  KillsTest()
      : state_(fleet_.PathOf("coordinator")),
        kill_(fleet_.PathOf("kill-switch"), state_) {}

  bool Start() { return fleet_.StartCoordinator(kill_.environment()); }
  int64_t Version() {
    const auto task = fleet_.Admin()->GetTask(kTask);
    EXPECT_THAT(task, IsOk());
    return task.ok() ? task->summary().version() : 0;
  }
  Disk Look() { return LookAt(state_, fleet_.PathOf("copy")); }

  // Operations on the disk from one version to the next.
  int64_t MomentsOfARound(int rounds = 8) {
    const int64_t first = Version();
    const int64_t before = kill_.operations();
    EXPECT_TRUE(fleet_.WaitForVersion(kTask, first + rounds));
    return (kill_.operations() - before) / rounds + 1;
  }

  // What the dead process left: everything that was published is paid for, once
  // each.
  void ExpectPaid(const Disk& disk) {
    ASSERT_FALSE(disk.versions.empty());
    const int64_t newest = disk.versions.rbegin()->first;
    EXPECT_THAT(disk.versions, SizeIs(newest + 1));
    ASSERT_THAT(disk.charged_steps, SizeIs(newest));
    for (int64_t step = 0; step < newest; ++step) {
      EXPECT_EQ(disk.charged_steps[step], step);
    }
    for (const auto& [version, parameters] : disk.versions) {
      versions_[version].insert(parameters);
    }
  }

  Fleet fleet_;
  const std::string state_;
  KillSwitch kill_;
  // By version, all parameters that a disk ever had of it.
  std::map<int64_t, std::set<std::string>> versions_;
};

class PrivacyKillsTest : public KillsTest,
                         public ::testing::WithParamInterface<std::string> {};

TEST_P(PrivacyKillsTest, SpendingIsNeverLostNorASumNoisedTwice) {
  const int rounds = 20 + 3 * static_cast<int>(kMostMoments / Stride());
  ASSERT_TRUE(Start());
  for (int i = 0; i < kDevices; ++i) fleet_.StartDevice(StrCat("device-", i));
  fleet_.SubmitWith(
      kTask,
      StrCat("cohort: {size: ", kDevices,
             ", over_selection: 1, deadline: 10m}\n"
             "aggregation: {weighting: uniform}\n"
             "secure_aggregation: {mode: off}\n"
             "privacy: {mechanism: ",
             GetParam(),
             ", noise_multiplier: 30, delta: 1e-6, population_size: 1000}\n"),
      rounds, nullptr, {"local_training.clip_norm=0.5", "evaluation.every=0"});
  Onlooker onlooker(fleet_);
  ASSERT_TRUE(fleet_.WaitForVersion(kTask, 1));
  const int64_t moments = MomentsOfARound();
  ASSERT_LT(moments, kMostMoments);

  // Between noise and charge; between charge and its first use.
  int noised = 0;
  int published = 0;
  const int64_t first = GetParam() == "central" ? 0 : Stride() / 2;
  // Further than one round, where none ended before a death: the first
  // operation counted is seldom its round's first.
  for (int64_t moment = first; moment <= moments || published == 0;
       moment += Stride()) {
    ASSERT_LT(moment, 3 * moments);
    const int64_t version = Version() + 1;
    ASSERT_TRUE(fleet_.WaitForVersion(kTask, version));
    kill_.KillAfter(moment);
    ASSERT_EQ(fleet_.coordinator()->Wait(), 128 + SIGKILL);
    SCOPED_TRACE(StrCat("killed before ", kill_.died_before()));
    kill_.Disarm();
    const Disk disk = Look();
    ASSERT_NO_FATAL_FAILURE(ExpectPaid(disk));
    noised += !disk.nameless.empty();
    published += disk.versions.rbegin()->first > version;
    ASSERT_TRUE(Start());
    // Before a sum is noised again, nothing is left of what was drawn and not
    // published.
    const std::set<std::string> left = BlobsIn(state_);
    for (const std::string& blob : disk.nameless) {
      EXPECT_THAT(left, Not(Contains(blob)));
    }
  }
  EXPECT_GT(noised, 0);
  EXPECT_GT(published, 0);

  const std::vector<v1::TaskEvent> events = fleet_.EventsToTheEnd(kTask);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().task_ended().state(), v1::COMPLETED)
      << events.back().task_ended().reason();
  ASSERT_NO_FATAL_FAILURE(ExpectPaid(Look()));
  EXPECT_THAT(versions_, SizeIs(rounds + 1));
  std::set<std::string> all;
  for (const auto& [version, parameters] : versions_) {
    EXPECT_THAT(parameters, SizeIs(1)) << "version " << version;
    all.insert(parameters.begin(), parameters.end());
  }
  // Operators and devices were shown these and no others.
  for (const auto& [version, seen] : onlooker.Stop()) {
    EXPECT_EQ(seen, versions_[version]) << "version " << version;
  }
  for (int i = 0; i < kDevices; ++i) {
    const std::set<std::string> given =
        GivenTo(*fleet_.device(StrCat("device-", i)));
    EXPECT_THAT(given, SizeIs(rounds));
    for (const std::string& parameters : given) {
      EXPECT_THAT(all, Contains(parameters)) << "device " << i;
    }
  }
  const Finished ledger = fleet_.Mledge({"privacy", "ledger", kTask, "--json"});
  EXPECT_THAT(ledger.output,
              AllOf(HasSubstr(StrCat("\"participations\": ", rounds, ",")),
                    HasSubstr(StrCat("\"entries\": ", rounds + 1, ","))));
}

// Noise of the devices is paid for before anybody is asked to unmask. A session
// that dies with the coordinator costs its devices that step, so there are
// twice as many as a round takes.
TEST_F(KillsTest, SumOfDevicesNoiseIsPaidForBeforeItIsUnmasked) {
  constexpr int kCohort = 4;
  constexpr int kRounds = 9;
  constexpr int kKills = 3;
  ASSERT_TRUE(fleet_.StartRegistrar());
  ASSERT_TRUE(Start());
  for (int i = 0; i < 2 * kCohort; ++i) {
    fleet_.StartDevice(StrCat("device-", i));
  }
  fleet_.SubmitWith(
      kTask,
      StrCat("cohort: {size: ", kCohort,
             ", minimum: 3, over_selection: 1, deadline: 20s}\n"
             "aggregation: {weighting: uniform}\n"
             "secure_aggregation: {dropout_fraction: 0.3, step_deadline: 2s}\n"
             "privacy: {mechanism: distributed, noise_multiplier: 30, delta: "
             "1e-6, population_size: 1000}\n"),
      kRounds, nullptr, {"local_training.clip_norm=0.5", "evaluation.every=0"});
  ASSERT_TRUE(fleet_.WaitForVersion(kTask, 1));
  const int64_t moments = MomentsOfARound(2);
  int64_t ahead = 0;  // charges of a version that is not there yet
  std::vector<int64_t> charged;
  for (int i = 0; i < kKills; ++i) {
    ASSERT_TRUE(fleet_.WaitForVersion(kTask, Version() + 1));
    // In the second half of a round: around its session.
    kill_.KillAfter(moments * (i + kKills + 1) / (2 * kKills + 2));
    ASSERT_EQ(fleet_.coordinator()->Wait(), 128 + SIGKILL);
    SCOPED_TRACE(StrCat("killed before ", kill_.died_before()));
    kill_.Disarm();
    const Disk disk = Look();
    ASSERT_FALSE(disk.versions.empty());
    const int64_t newest = disk.versions.rbegin()->first;
    for (int64_t step = 0; step < newest; ++step) {
      EXPECT_THAT(disk.charged_steps, Contains(step));
    }
    // Unmasked or not, published or lost: it counts.
    ahead += std::count(disk.charged_steps.begin(), disk.charged_steps.end(),
                        newest);
    EXPECT_TRUE(StartsWith(disk.charged_steps, charged));
    charged = disk.charged_steps;
    ASSERT_TRUE(Start());
  }
  EXPECT_GT(ahead, 0);
  const std::vector<v1::TaskEvent> events = fleet_.EventsToTheEnd(kTask);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().task_ended().state(), v1::COMPLETED)
      << events.back().task_ended().reason();
  const Disk disk = Look();
  EXPECT_TRUE(StartsWith(disk.charged_steps, charged));
  for (int64_t step = 0; step < kRounds; ++step) {
    EXPECT_THAT(disk.charged_steps, Contains(step));
  }
}

INSTANTIATE_TEST_SUITE_P(Mechanisms, PrivacyKillsTest,
                         ::testing::Values("central", "correlated"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mledge
