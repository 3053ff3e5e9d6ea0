#include "mledge/coordinator/cohort_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "mledge/core/strings.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);

DeviceId Device(int i) { return DeviceId(StrCat("d", i)); }

TrainingRandom Cohort(int round) {
  return TrainingRandom(
      {.task_seed = 5, .ordinal = round, .purpose = "cohort"});
}

std::vector<std::string> Names(
    const std::vector<CandidatePool::Candidate>& drawn) {
  std::vector<std::string> names;
  for (const auto& candidate : drawn) names.push_back(candidate.device.value());
  return names;
}

TEST(CandidatePoolTest, CohortDoesNotDependOnTheOrderOfArrival) {
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) order.push_back(i);
  std::vector<std::string> first;
  for (int trial = 0; trial < 5; ++trial) {
    TrainingRandom shuffle({.task_seed = 1, .ordinal = trial});
    shuffle.Shuffle(std::span<int>(order));
    CandidatePool pool{absl::ZeroDuration()};
    for (const int i : order) {
      pool.Add(kStart, {.device = Device(i)}, absl::InfinitePast());
    }
    const std::vector<std::string> names = Names(pool.Draw(10, Cohort(1), {}));
    ASSERT_EQ(names.size(), 10u);
    if (trial == 0) first = names;
    EXPECT_EQ(names, first);
    EXPECT_EQ(pool.size(), 90);
  }
}

TEST(CandidatePoolTest, RoundsDrawDifferentCohortsOfEverybody) {
  std::map<std::string, int> times;
  for (int round = 1; round <= 200; ++round) {
    CandidatePool pool{absl::ZeroDuration()};
    for (int i = 0; i < 20; ++i) {
      pool.Add(kStart, {.device = Device(i)}, absl::InfinitePast());
    }
    for (const std::string& name : Names(pool.Draw(5, Cohort(round), {}))) {
      ++times[name];
    }
  }
  // Expected 50 each; 200 draws of 5 from 20 stray by 6.1. Fixed seed: cannot
  // fail by chance.
  EXPECT_EQ(times.size(), 20u);
  for (const auto& [name, count] : times) {
    EXPECT_GT(count, 25) << name;
    EXPECT_LT(count, 75) << name;
  }
}

TEST(CandidatePoolTest, AvoidedDevicesAreTakenOnlyWhenOthersAreTooFew) {
  CandidatePool pool{absl::ZeroDuration()};
  for (int i = 0; i < 4; ++i) {
    pool.Add(kStart, {.device = Device(i)}, absl::InfinitePast());
  }
  EXPECT_THAT(Names(pool.Draw(2, Cohort(1), {Device(0), Device(2)})),
              ElementsAre("d1", "d3"));
  EXPECT_EQ(pool.Draw(2, Cohort(1), {Device(0), Device(2)}).size(), 2u);
}

TEST(CandidatePoolTest, DrawWithoutLeavesThoseWhereTheyAre) {
  CandidatePool pool{absl::ZeroDuration()};
  for (int i = 0; i < 3; ++i) {
    pool.Add(kStart, {.device = Device(i)}, absl::InfinitePast());
  }
  EXPECT_THAT(Names(pool.DrawWithout(5, Cohort(1), {Device(1)})),
              ElementsAre("d0", "d2"));
  EXPECT_EQ(pool.size(), 1);
  EXPECT_FALSE(pool.HasOtherThan({Device(1)}));
  EXPECT_TRUE(pool.HasOtherThan({}));
}

TEST(CandidatePoolTest, DeviceRestsForTheMinimumInterval) {
  CandidatePool pool(absl::Hours(1));
  pool.Add(kStart, {.device = Device(1)}, kStart - absl::Minutes(20));
  EXPECT_EQ(pool.size(), 0);
  EXPECT_EQ(pool.NextTime(), kStart + absl::Minutes(40));
  pool.Tick(kStart + absl::Minutes(39));
  EXPECT_EQ(pool.size(), 0);
  pool.Tick(kStart + absl::Minutes(40));
  EXPECT_EQ(pool.size(), 1);
  EXPECT_EQ(pool.NextTime(), absl::InfiniteFuture());
}

TEST(CandidatePoolTest, DeviceThatLeavesIsNotDrawn) {
  CandidatePool pool(absl::Hours(1));
  pool.Add(kStart, {.device = Device(1)}, absl::InfinitePast());
  pool.Add(kStart, {.device = Device(2)}, kStart);
  pool.Remove(Device(1));
  pool.Remove(Device(2));
  pool.Tick(kStart + absl::Hours(2));
  EXPECT_THAT(pool.Draw(2, Cohort(1), {}), IsEmpty());
}

// Private tasks: a device rests for so many completed rounds.
TEST(CandidatePoolTest, DeviceThatIsEarlyWaitsForItsStep) {
  CandidatePool pool(absl::ZeroDuration());
  pool.Add(kStart, {.device = Device(0), .earliest_step = 0},
           absl::InfinitePast());
  pool.Add(kStart, {.device = Device(1), .earliest_step = 2},
           absl::InfinitePast());
  pool.Add(kStart, {.device = Device(2), .earliest_step = 3},
           absl::InfinitePast());
  EXPECT_EQ(pool.size(), 1);
  EXPECT_EQ(pool.early(), 2);
  EXPECT_THAT(Names(pool.Draw(3, Cohort(1), {})), ElementsAre("d0"));
  pool.SetStep(kStart, 1);
  EXPECT_EQ(pool.size(), 0);
  pool.SetStep(kStart, 2);
  EXPECT_THAT(Names(pool.Draw(3, Cohort(2), {})), ElementsAre("d1"));
  pool.Remove(Device(2));
  EXPECT_EQ(pool.early(), 0);
  pool.SetStep(kStart, 3);
  EXPECT_EQ(pool.size(), 0);
}

TEST(CandidatePoolTest, DeviceThatIsEarlyRestsAfterItsStepToo) {
  CandidatePool pool(absl::Minutes(1));
  pool.Add(kStart, {.device = Device(0), .earliest_step = 1}, kStart);
  pool.SetStep(kStart + absl::Seconds(30), 1);
  EXPECT_EQ(pool.size(), 0);
  EXPECT_EQ(pool.NextTime(), kStart + absl::Minutes(1));
  pool.Tick(kStart + absl::Minutes(1));
  EXPECT_EQ(pool.size(), 1);
}

}  // namespace
}  // namespace mledge
