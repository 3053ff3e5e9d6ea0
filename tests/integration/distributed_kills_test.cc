// A real coordinator whose devices add the noise themselves, inside secure
// aggregation, dies by kill -9 around charging, unmasking and publishing: a sum
// is paid for on the disk before anybody is asked to unmask it, and stays paid
// for whatever becomes of it.
//
// A session that fails is followed by a pause, so that a moment costs seconds:
// those with a name are tried. MLEDGE_KILL_EACH=1 in the environment tries each
// operation between a masked input and the next round's, too (two minutes a
// part).

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "mledge/core/strings.h"
#include "mledge/tests/integration/private_kills.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::SizeIs;

constexpr int kCohort = 4;
constexpr int kFewest = 3;
// A session that dies with the coordinator costs its devices that step, so
// there are three times as many as a round takes.
constexpr int kDevices = 3 * kCohort;
// To give up if there are more.
constexpr int kRounds = 600;

// What a device was asked to unmask.
struct Asked {
  int64_t step = 0;
  uint64_t session = 0;
};

std::vector<Asked> AskedOf(const ChildProcess& device) {
  const std::string log = device.Log();
  const std::vector<std::string> sessions =
      WordsAfter(log, "asked to unmask session ");
  const std::vector<std::string> steps = WordsAfter(log, " of step ");
  EXPECT_EQ(sessions.size(), steps.size());
  std::vector<Asked> asked;
  for (size_t i = 0; i < std::min(sessions.size(), steps.size()); ++i) {
    Asked& one = asked.emplace_back();
    EXPECT_TRUE(absl::SimpleAtoi(sessions[i], &one.session) &&
                absl::SimpleAtoi(steps[i], &one.step));
  }
  return asked;
}

// Each part takes its turns, so that they can run side by side: a session that
// failed is followed by a pause of seconds.
constexpr int kParts = 3;

class DistributedNoiseTest : public PrivateKillsTest,
                             public ::testing::WithParamInterface<int> {
 protected:
  void StartTask() {
    ASSERT_TRUE(fleet_.StartRegistrar());
    ASSERT_TRUE(Start());
    for (int i = 0; i < kDevices; ++i) {
      fleet_.StartDevice(StrCat("device-", i));
    }
    fleet_.SubmitWith(
        kKilledTask,
        StrCat("cohort: {size: ", kCohort, ", minimum: ", kFewest,
               ", over_selection: 1, deadline: 20s}\n"
               "aggregation: {weighting: uniform}\n"
               "secure_aggregation: {dropout_fraction: 0.3, step_deadline: "
               "2s}\n"
               "privacy: {mechanism: distributed, noise_multiplier: 30, "
               "delta: 1e-6, population_size: 1000}\n"),
        kRounds, nullptr,
        {"local_training.clip_norm=0.5", "evaluation.every=0"});
    ASSERT_TRUE(fleet_.WaitForVersion(kKilledTask, 1));
  }

  // Nothing that was charged before is missing, and no version is unpaid.
  void ExpectPaid(const Disk& disk) {
    ASSERT_GE(disk.charges.size(), charges_.size());
    EXPECT_TRUE(
        std::equal(charges_.begin(), charges_.end(), disk.charges.begin()));
    charges_ = disk.charges;
    EXPECT_THAT(disk.versions, SizeIs(disk.newest_version() + 1));
    for (int64_t step = 0; step < disk.newest_version(); ++step) {
      EXPECT_TRUE(disk.IsCharged(step)) << "step " << step;
    }
  }

 private:
  std::vector<Disk::Charge> charges_;  // of the last disk
};

// What a round does to the disk, from its first masked input to the next
// round's session, where nothing else is under way.
std::vector<KillSwitch::Moment> MomentsOfASession() {
  constexpr char kInputKept[] = "pwrite /spool/*";
  constexpr char kInputRemoved[] = "unlink /spool/*";
  constexpr char kBlobWritten[] = "write /blobs/*";
  constexpr char kBlobKept[] = "rename /blobs/*";
  constexpr char kWritesLog[] = "pwrite /coordinator.db-wal";
  constexpr char kSyncsLog[] = "sync /coordinator.db-wal";
  std::vector<KillSwitch::Moment> moments = {
      {"", kInputKept},
      {"", "sync /spool/*"},
      {"", kInputRemoved},
      {"", kInputRemoved, kCohort - 1},
  };
  // The charge, each page of it.
  for (int64_t page = 0; page < 6; ++page) {
    moments.push_back({kInputRemoved, kWritesLog, page});
  }
  const std::vector<KillSwitch::Moment> others = {
      {kInputRemoved, kSyncsLog},
      // Charged, and devices are asked to unmask: the sum and its record.
      {"", kBlobWritten},
      {kBlobWritten, "sync /blobs/*"},
      {"", kBlobKept},
      {kBlobKept, "sync /blobs/*"},
      {kBlobKept, kWritesLog},
      {kBlobKept, kWritesLog, 5},
      {kBlobKept, kSyncsLog},
      // The version and its record.
      {kBlobWritten, kBlobWritten},
      {kBlobKept, kBlobKept},
      {kBlobKept, kWritesLog, 12},
      {kBlobKept, kWritesLog, 18},
      {kBlobKept, kSyncsLog, 1},
      // The next session's number.
      {kBlobKept, kSyncsLog, 2},
  };
  moments.insert(moments.end(), others.begin(), others.end());
  if (std::getenv("MLEDGE_KILL_EACH") != nullptr) {
    // A round has about fifty of them.
    for (int64_t operation = 0; operation < 60; ++operation) {
      moments.push_back({kInputRemoved, "*", operation});
    }
  }
  return moments;
}

TEST_P(DistributedNoiseTest, IsPaidForBeforeItIsUnmasked) {
  ASSERT_NO_FATAL_FAILURE(StartTask());
  Onlooker onlooker(fleet_);
  // The disks that the deaths left, in their order: a session's number goes up
  // and is on the disk before the session begins, so it tells whose it was.
  std::vector<Disk> disks;
  int ahead = 0;  // with charges of a version that is not there
  const std::vector<KillSwitch::Moment> all = MomentsOfASession();
  for (size_t i = GetParam(); i < all.size(); i += kParts) {
    const KillSwitch::Moment& moment = all[i];
    SCOPED_TRACE(StrCat(moment.after, " … ", moment.spared, " × ",
                        moment.before, ", ", disks.size()));
    ASSERT_TRUE(fleet_.WaitForVersion(kKilledTask, Version() + 1));
    kill_.KillAt(moment);
    disks.push_back(AwaitDeath());
    const Disk& disk = disks.back();
    ASSERT_NO_FATAL_FAILURE(ExpectPaid(disk));
    ASSERT_FALSE(HasFailure());
    ahead += disk.IsCharged(disk.newest_version());
    ASSERT_TRUE(Start());
  }
  const auto moments = static_cast<int64_t>(disks.size());
  Tell(moments);
  EXPECT_GE(ahead, 2);

  // Later rounds are as usual.
  ASSERT_TRUE(fleet_.WaitForVersion(kKilledTask, Version() + 2));
  fleet_.coordinator()->Signal(SIGTERM);
  EXPECT_EQ(fleet_.coordinator()->Wait(), 0);
  disks.push_back(Disk::LookAt(state_, fleet_.PathOf("copy")));
  ASSERT_NO_FATAL_FAILURE(ExpectPaid(disks.back()));

  int asked = 0;
  int unpublished = 0;
  for (int i = 0; i < kDevices; ++i) {
    for (const Asked& of : AskedOf(*fleet_.device(StrCat("device-", i)))) {
      const auto disk =
          std::find_if(disks.begin(), disks.end(), [&of](const Disk& each) {
            return of.session <= each.secure_sessions;
          });
      ASSERT_NE(disk, disks.end()) << "session " << of.session;
      EXPECT_TRUE(std::any_of(disk->charges.begin(), disk->charges.end(),
                              [&of](const Disk::Charge& charge) {
                                return charge.step == of.step &&
                                       charge.secure_session == of.session;
                              }))
          << "device " << i << " was asked to unmask session " << of.session
          << " of step " << of.step << ", for which the disk has no charge";
      ++asked;
      unpublished += of.step == disk->newest_version();
    }
  }
  EXPECT_GE(asked, kFewest * moments);
  // Deaths between the request and the version.
  EXPECT_GE(unpublished, kCohort);
  for (const auto& [version, parameters] : disks.back().versions) {
    stored_[version].insert(parameters);
  }
  for (const auto& [version, parameters] : stored_) {
    EXPECT_THAT(parameters, SizeIs(1)) << "version " << version;
  }
  for (const auto& [version, seen] : onlooker.Stop()) {
    EXPECT_EQ(seen, stored_[version]) << "version " << version;
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, DistributedNoiseTest,
                         ::testing::Range(0, kParts));

}  // namespace
}  // namespace mledge
