#include "mledge/coordinator/cohort_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mledge/core/strings.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

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

// Gives the words that it was made with.
class WordsRandom final : public SecretRandom {
 public:
  explicit WordsRandom(std::vector<uint64_t> words)
      : words_(std::move(words)) {}
  void Fill(std::span<uint8_t> out) override {
    ASSERT_EQ(out.size(), words_.size() * sizeof(uint64_t));
    std::memcpy(out.data(), words_.data(), out.size());
  }

 private:
  const std::vector<uint64_t> words_;
};

TEST(CandidatePoolTest, ACoinComesUpBelowItsProbabilityExactly) {
  constexpr uint64_t kQuarter = uint64_t{1} << 62;
  CandidatePool pool(absl::ZeroDuration());
  for (int i = 0; i < 4; ++i) {
    pool.Add(kStart, {Device(i), AssignmentOrdinal(i)}, absl::InfinitePast());
  }
  WordsRandom coins({0, kQuarter - 1, kQuarter, ~uint64_t{0}});
  const auto drawn = pool.DrawEach(0.25, coins);
  EXPECT_THAT(Names(drawn), ElementsAre("d0", "d1"));
  EXPECT_EQ(drawn[1].next_ordinal, AssignmentOrdinal(1));
  EXPECT_EQ(pool.size(), 2) << "who was not drawn waits on";
  WordsRandom highest({~uint64_t{0}, ~uint64_t{0}});
  EXPECT_THAT(pool.DrawEach(1, highest), SizeIs(2));
}

// 20,000 rounds over 8 devices with probability 0.3: how many are drawn is
// binomial, and no two devices' coins have to do with each other. Chi-square
// with 8 degrees of freedom is above 38 once in 10^5 times; a correlation of
// independent coins is beyond 5 standard deviations less often, and 28 pairs
// and 8 lags in time are looked at.
TEST(CandidatePoolTest, PoissonSamplesAreIndependentCoins) {
  constexpr int kDevices = 8;
  constexpr int kRounds = 20'000;
  constexpr double kProbability = 0.3;
  SystemSecretRandom coins;
  std::vector<std::vector<int>> in(kDevices, std::vector<int>(kRounds));
  std::vector<double> sizes(kDevices + 1);
  CandidatePool pool(absl::ZeroDuration());
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kDevices; ++i) {
      pool.Add(kStart, {Device(i), AssignmentOrdinal(0)}, absl::InfinitePast());
    }
    const auto drawn = pool.DrawEach(kProbability, coins);
    ++sizes[drawn.size()];
    for (const auto& candidate : drawn) {
      in[candidate.device.value()[1] - '0'][round] = 1;
    }
  }
  double chi_square = 0;
  for (int k = 0; k <= kDevices; ++k) {
    const double expected =
        kRounds *
        std::exp(std::lgamma(kDevices + 1) - std::lgamma(k + 1) -
                 std::lgamma(kDevices - k + 1)) *
        std::pow(kProbability, k) * std::pow(1 - kProbability, kDevices - k);
    chi_square += std::pow(sizes[k] - expected, 2) / expected;
  }
  EXPECT_LT(chi_square, 38);
  const double variance = kProbability * (1 - kProbability);
  const auto expect_independent = [&](int a, int b, int lag) {
    double sum = 0;
    for (int round = lag; round < kRounds; ++round) {
      sum +=
          (in[a][round - lag] - kProbability) * (in[b][round] - kProbability);
    }
    EXPECT_LT(std::abs(sum), 5 * variance * std::sqrt(kRounds))
        << a << ' ' << b << ' ' << lag;
  };
  for (int a = 0; a < kDevices; ++a) {
    expect_independent(a, a, 1);
    for (int b = 0; b < a; ++b) expect_independent(a, b, 0);
  }
}

}  // namespace
}  // namespace mledge
