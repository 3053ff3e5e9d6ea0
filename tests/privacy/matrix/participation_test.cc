#include "mledge/privacy/matrix/participation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr ParticipationLimits kLimits = {
    .rounds = 10, .participations = 3, .separation = 4};

TEST(ParticipationTest, AFreshDeviceMayJoinFromTheFirstRound) {
  EXPECT_THAT(EarliestRound(kLimits, {}), IsOkAndHolds(Optional(Eq(0))));
  EXPECT_THAT(Participate(kLimits, {}, 9),
              IsOkAndHolds(ParticipationRecord{1, 9}));
}

TEST(ParticipationTest, WaitsOutTheSeparation) {
  const ParticipationRecord record{1, 2};
  EXPECT_THAT(EarliestRound(kLimits, record), IsOkAndHolds(Optional(Eq(6))));
  EXPECT_THAT(Participate(kLimits, record, 5),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("may join again from round 6")));
  EXPECT_THAT(Participate(kLimits, record, 6),
              IsOkAndHolds(ParticipationRecord{2, 6}));
}

TEST(ParticipationTest, RefusesTheSameAndAnEarlierRound) {
  const ParticipationRecord record{1, 5};
  for (int64_t round : {0, 4, 5}) {
    EXPECT_THAT(Participate(kLimits, record, round),
                StatusIs(StatusCode::kFailedPrecondition));
  }
}

TEST(ParticipationTest, EndsWithTheLastParticipation) {
  const ParticipationRecord record{3, 8};
  EXPECT_THAT(
      EarliestRound({.rounds = 100, .participations = 3, .separation = 4},
                    record),
      IsOkAndHolds(Eq(std::nullopt)));
  EXPECT_THAT(
      Participate({.rounds = 100, .participations = 3, .separation = 4}, record,
                  50),
      StatusIs(StatusCode::kFailedPrecondition, HasSubstr("participation 4")));
}

TEST(ParticipationTest, EndsWhereTheRoundsEnd) {
  EXPECT_THAT(EarliestRound(kLimits, {1, 6}), IsOkAndHolds(Eq(std::nullopt)));
}

// All subsets of ten rounds: the steps accept exactly those within the limits.
TEST(ParticipationTest, AcceptsExactlyTheHistoriesWithinTheLimits) {
  int accepted = 0;
  for (unsigned subset = 0; subset < 1024; ++subset) {
    std::vector<int64_t> rounds;
    bool allowed = true;
    for (int round = 0; round < 10; ++round) {
      if ((subset >> round & 1) == 0) continue;
      if (!rounds.empty() && round - rounds.back() < 4) allowed = false;
      rounds.push_back(round);
    }
    allowed = allowed && rounds.size() <= 3;
    accepted += allowed ? 1 : 0;
    EXPECT_EQ(ParticipationRecordOf(kLimits, rounds).ok(), allowed) << subset;
  }
  EXPECT_EQ(accepted, 1 + 10 + 21 + 4);
}

TEST(ParticipationTest, RefusesHistoriesOutOfOrder) {
  EXPECT_THAT(ParticipationRecordOf(kLimits, std::vector<int64_t>{5, 0}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("round 0")));
  EXPECT_THAT(ParticipationRecordOf(kLimits, std::vector<int64_t>{10}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("round 10")));
}

TEST(ParticipationTest, RefusesRecordsThatNoDeviceCanHave) {
  const std::vector<ParticipationRecord> impossible = {{0, 3},
                                                       {1, std::nullopt},
                                                       {-1, std::nullopt},
                                                       {4, 9},
                                                       {2, 3},
                                                       {3, 7},
                                                       {1, 10},
                                                       {1, -1}};
  for (const ParticipationRecord& record : impossible) {
    EXPECT_THAT(EarliestRound(kLimits, record),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("record")));
  }
}

TEST(ParticipationTest, RefusesBadLimitsByName) {
  for (int64_t bad : {int64_t{0}, int64_t{-1}, kMaximumRounds + 1,
                      std::numeric_limits<int64_t>::max(),
                      std::numeric_limits<int64_t>::min()}) {
    EXPECT_THAT(ValidateParticipationLimits({bad, 1, 1}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("rounds")));
    EXPECT_THAT(
        ValidateParticipationLimits({1, bad, 1}),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("participations")));
    EXPECT_THAT(
        ValidateParticipationLimits({1, 1, bad}),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("separation")));
  }
}

TEST(ParticipationTest, CountsWhatFits) {
  EXPECT_EQ(MostParticipations({10, 3, 4}), 3);
  EXPECT_EQ(MostParticipations({8, 3, 4}), 2);
  EXPECT_EQ(MostParticipations({9, 3, 4}), 3);
  EXPECT_EQ(MostParticipations({1, 5, 1}), 1);
}

}  // namespace
}  // namespace mledge
