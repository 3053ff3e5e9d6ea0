// Private tasks: noise, participations, budget.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "mledge/tests/coordinator/support/private_fleet.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<float> FloatsOf(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Says of itself that others can know what it draws.
class PredictableRandom final : public SecretRandom {
 public:
  bool IsPredictable() const override { return true; }
  void Fill(std::span<uint8_t> out) override { system_.Fill(out); }

 private:
  SystemSecretRandom system_;
};

TEST(PrivateRoundTest, VersionIsTheNoisyMeanTimesTheClipNorm) {
  PrivateFleet fleet({.size = 2, .rounds = 1}, {.noise_multiplier = 0.01}, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  const std::vector<float> before = FloatsOf(fleet.harness.Parameters());
  ASSERT_EQ(fleet.DoRound(), 2);
  const std::vector<float> after = FloatsOf(fleet.harness.Parameters());
  double squares = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    // Each device moved it by a quarter of the clip norm 0.5.
    const double noise = after[i] - before[i] - 0.125;
    squares += noise * noise;
    EXPECT_LT(std::abs(noise), 0.02) << i;  // eight standard deviations
  }
  EXPECT_GT(squares, 0);
}

TEST(PrivateRoundTest, LayersAreMeasuredByTheirTotal) {
  PrivateFleet fleet({.size = 2, .rounds = 1},
                     {.noise_multiplier = 0.01,
                      .layer_clip_norms = {{"fc", 0.3}, {"norm", 0.4}}},
                     2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  const std::vector<float> before = FloatsOf(fleet.harness.Parameters());
  const auto first = fleet.harness.CheckIn("0");
  const auto second = fleet.harness.CheckIn("1");
  ASSERT_TRUE(first->has_assignment() && second->has_assignment());
  EXPECT_NEAR(first->assignment().clip_norm(), 0.5, 1e-15);
  ASSERT_THAT(fleet.Upload("0", first->assignment()), IsOk());
  ASSERT_THAT(fleet.Upload("1", second->assignment()), IsOk());
  const std::vector<float> after = FloatsOf(fleet.harness.Parameters());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(after[i] - before[i], 0.125, 0.02) << i;
  }
}

TEST(PrivateRoundTest, LayersThatAreNotTheModelsAreRefused) {
  PrivateFleet fleet({.size = 2, .rounds = 1},
                     {.layer_clip_norms = {{"fc", 0.3}}}, 2);
  EXPECT_THAT(fleet.Submit(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("parameter norm.mean is in no layer")));
}

// With a noise multiplier of 20 over two devices and eight values the noise on
// the mean has a standard deviation of 5; chi-square with 8 degrees of freedom
// lies outside 0.2 … 35 times in 10^5 runs at most five times.
TEST(PrivateRoundTest, NoiseIsAsLargeAsTheTaskSays) {
  PrivateFleet fleet({.size = 2, .rounds = 1}, {.noise_multiplier = 20}, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  const std::vector<float> before = FloatsOf(fleet.harness.Parameters());
  ASSERT_EQ(fleet.DoRound(), 2);
  const std::vector<float> after = FloatsOf(fleet.harness.Parameters());
  double squares = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    squares += std::pow((after[i] - before[i] - 0.125) / 5, 2);
  }
  EXPECT_GT(squares, 0.2);
  EXPECT_LT(squares, 35);
}

TEST(PrivateRoundTest, RoundIsChargedAndTellsOnlyWhatIsPaidFor) {
  PrivateFleet fleet({.size = 2, .rounds = 1}, {}, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  EXPECT_EQ(fleet.Ledger().accounts(0).spent().epsilon(), 0);
  ASSERT_EQ(fleet.DoRound(), 2);
  const v1::GetPrivacyLedgerResponse ledger = fleet.Ledger();
  ASSERT_EQ(ledger.entries_size(), 2);
  EXPECT_EQ(ledger.entries(1).charge().step(), 0);
  EXPECT_EQ(ledger.entries(1).charge().devices(), 2);
  EXPECT_EQ(ledger.mechanism(), "central");
  ASSERT_EQ(ledger.accounts_size(), 1);  // nothing against the coordinator
  const v1::PrivacyClaim& spent = ledger.accounts(0).spent();
  EXPECT_EQ(spent.observer(), v1::OBSERVER_MODEL_RECIPIENTS);
  EXPECT_EQ(spent.adjacency(), v1::ADJACENCY_ZERO_OUT);
  EXPECT_EQ(spent.unit(), "device");
  EXPECT_GT(spent.epsilon(), 1);
  EXPECT_EQ(spent.epsilon(), ledger.accounts(0).schedule().epsilon());
  for (const v1::TaskEvent& event : fleet.harness.Events()) {
    if (!event.has_round_completed()) continue;
    EXPECT_EQ(event.round_completed().epsilon_spent(), spent.epsilon());
    EXPECT_EQ(event.round_completed().training_loss(), 0);
    EXPECT_EQ(event.round_completed().examples(), 0);
  }
  EXPECT_FALSE(fleet.harness.Summary().has_loss());
}

TEST(PrivateRoundTest, UpdateOffTheGridOrTooLongIsRefused) {
  PrivateFleet fleet({.size = 2, .rounds = 1}, {}, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  const auto a = fleet.harness.CheckIn("a");
  const auto b = fleet.harness.CheckIn("b");
  const auto upload = [&](const std::string& device,
                          const CoordinatorHarness::Call& call, float value) {
    const std::string& id = call.assignment().assignment_id();
    Update update = MakePrivateTestUpdate(fleet.task);
    for (float& v : update.sections[0].values.span()) v = value;
    return fleet.harness
        .UploadFile(device, id,
                    SerializeUpdate(update, MakeTestContext(id)).value())
        .value();
  };
  const v1::UploadResult off_grid = upload("a", *a, 0.1f);
  EXPECT_EQ(off_grid.outcome(), v1::UploadResult::REFUSED);
  EXPECT_THAT(off_grid.reason(), HasSubstr("off the task's grid"));
  // Norm √8 · 0.5 = 1.41.
  const v1::UploadResult too_long = upload("b", *b, 0.5f);
  EXPECT_EQ(too_long.outcome(), v1::UploadResult::REFUSED);
  EXPECT_THAT(too_long.reason(), HasSubstr("norm"));
}

TEST(PrivateRoundTest, SeedsThatAreKnownAreMarkedForEver) {
  PrivateFleet fleet({.size = 2, .rounds = 2},
                     {.participations = 2, .epsilon_limit = 100}, 2);
  PredictableRandom predictable;
  fleet.harness.noise_random = &predictable;
  fleet.harness.Start();
  ASSERT_THAT(fleet.Submit(), IsOk());
  ASSERT_EQ(fleet.DoRound(), 2);
  EXPECT_TRUE(std::isinf(fleet.Ledger().accounts(0).spent().epsilon()));
  EXPECT_EQ(fleet.Ledger().accounts(0).left(), 0);
  fleet.harness.noise_random = nullptr;
  fleet.harness.Crash();
  EXPECT_TRUE(std::isinf(fleet.Ledger().accounts(0).schedule().epsilon()));
  // No limit can be kept any more.
  EXPECT_EQ(fleet.DoRound(), 0);
  EXPECT_EQ(fleet.harness.Summary().version(), 1);
  EXPECT_THAT(fleet.harness.Summary().reason(), HasSubstr("not private"));
}

// A second life of a ledger that was never predictable is marked from then on.
TEST(PrivateRoundTest, KnownSeedsInASecondLifeAreMarkedToo) {
  PrivateFleet fleet({.size = 2, .rounds = 2}, {.participations = 2}, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  PredictableRandom predictable;
  fleet.harness.noise_random = &predictable;
  fleet.harness.Crash();
  EXPECT_TRUE(std::isinf(fleet.Ledger().accounts(0).spent().epsilon()));
  fleet.harness.Crash();
  EXPECT_EQ(fleet.Ledger().entries_size(), 2);
}

TEST(PrivateRoundTest, ClipNormFollowsTheNoisyQuantile) {
  PrivateFleet fleet({.size = 2, .rounds = 3},
                     {.noise_multiplier = 0.01,
                      .participations = 3,
                      .adaptive_clipping = true},
                     2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  double expected = 0.5;
  for (int round = 0; round < 3; ++round) {
    fleet.harness.CheckIn("0");
    const auto call = fleet.harness.CheckIn("1");
    ASSERT_TRUE(call->has_assignment());
    EXPECT_NEAR(call->assignment().clip_norm(), expected, 0.02 * expected);
    // Both are below the norm: it shrinks by e^(-0.2 · 0.5), to half at most.
    expected *= std::exp(-0.1);
    fleet.harness.Crash();
    ASSERT_EQ(fleet.DoRound(), 2);
  }
}

TEST(PrivateRoundTest, CorrelatedNoiseGoesOnAfterACrash) {
  PrivateFleet fleet(
      {.size = 2, .rounds = 3},
      {.mechanism = v1::Privacy::CORRELATED, .participations = 3}, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(fleet.DoRound(), 2);
    fleet.harness.Crash();
    const StoredState state = fleet.harness.memory.Load().value();
    for (const VersionRecord& version : state.versions) {
      // The newest version's only, and as long as a round follows: older noise
      // would only be a danger.
      EXPECT_EQ(version.noise_state.has_value(),
                version.version.value() == round + 1 && round < 2)
          << version.version;
    }
  }
  EXPECT_EQ(fleet.harness.Summary().version(), 3);
  EXPECT_EQ(fleet.Charges(), 3);
  const v1::GetPrivacyLedgerResponse ledger = fleet.Ledger();
  EXPECT_EQ(ledger.accounts(0).spent().epsilon(),
            ledger.accounts(0).schedule().epsilon());
}

// Without a signed head no device would take the assignment.
TEST(PrivateRoundTest, HeadThatCannotBeSignedIsAnErrorAndNoAssignment) {
  PrivateFleet fleet({.size = 1, .rounds = 1}, {}, 1);
  ASSERT_THAT(fleet.Submit(), IsOk());
  fleet.harness.signing = absl::InternalError("the key is gone");
  const auto refused = fleet.harness.CheckIn("0");
  ASSERT_TRUE(refused->answer.has_value());
  EXPECT_THAT(refused->answer->status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("privacy ledger of task task: the key is")));
  // The same assignment is handed out once it can be.
  fleet.harness.signing = absl::OkStatus();
  const auto again = fleet.harness.CheckIn("0");
  ASSERT_TRUE(again->has_assignment());
  EXPECT_EQ(again->assignment().ordinal(), 0);
  EXPECT_TRUE(again->assignment().ledger().has_head());
  EXPECT_EQ(fleet.DoRound(), 1);
}

// Its numbers are not worked out again at the start, but when somebody asks.
TEST(PrivateRoundTest, LedgerOfATaskThatHasEndedOutlivesARestart) {
  for (const auto mechanism : {v1::Privacy::CENTRAL, v1::Privacy::CORRELATED}) {
    PrivateFleet fleet({.size = 2, .rounds = 2},
                       {.mechanism = mechanism, .participations = 2}, 2);
    ASSERT_THAT(fleet.Submit(), IsOk());
    ASSERT_EQ(fleet.DoRound(), 2);
    ASSERT_EQ(fleet.DoRound(), 2);
    ASSERT_EQ(fleet.harness.Summary().state(), v1::COMPLETED);
    const std::string before = fleet.Ledger().DebugString();
    fleet.harness.Crash();
    EXPECT_EQ(fleet.Ledger().DebugString(), before);
    EXPECT_EQ(fleet.harness.Summary().state(), v1::COMPLETED);
  }
}

// Participations.

// Four devices, each in a round with probability 1/4: of 40 rounds none is
// empty once in 10^6 times.
TEST(PoissonRoundTest, EmptyRoundsAreNoisedChargedAndPublished) {
  PrivateFleet fleet({.size = 1, .rounds = 40, .minimum_waiting = 4},
                     {.poisson = true}, 4);
  fleet.harness.noise_cohort = 1;
  fleet.harness.Start();
  ASSERT_THAT(fleet.Submit(), IsOk());
  for (int i = 0; i < 40; ++i) fleet.DoRound();
  const v1::GetPrivacyLedgerResponse ledger = fleet.Ledger();
  ASSERT_EQ(ledger.entries_size(), 41);
  EXPECT_EQ(ledger.entries(1).charge().participation().kind_case(),
            v1::PrivacyEvent::kPoissonSampledGaussian);
  for (int i = 1; i <= 40; ++i) {
    // Not how many there were: devices see this entry's hash.
    EXPECT_EQ(ledger.entries(i).charge().devices(), 1);
    EXPECT_EQ(ledger.entries(i).charge().step(), i - 1);
  }
  EXPECT_EQ(ledger.participations(), 40);
  std::map<int64_t, int> rounds_of;
  for (const v1::TaskEvent& event : fleet.harness.Events()) {
    if (event.has_round_completed()) {
      ++rounds_of[event.round_completed().updates()];
    }
  }
  EXPECT_GT(rounds_of[0], 0);
  EXPECT_GT(rounds_of.size(), 2u) << "cohorts of one size are no coins";
}

// Whoever was drawn counts once, whatever the rounds before added up, and the
// mean divides by what was expected.
TEST(PoissonRoundTest, AnEmptyRoundIsNoiseAndNothingElse) {
  constexpr int kRounds = 15;
  PrivateFleet fleet({.size = 1, .rounds = kRounds, .minimum_waiting = 4},
                     {.noise_multiplier = 0.01, .poisson = true}, 4);
  fleet.harness.noise_cohort = 1;
  fleet.harness.Start();
  ASSERT_THAT(fleet.Submit(), IsOk());
  const std::vector<float> before = FloatsOf(fleet.harness.Parameters());
  int64_t updates = 0;
  for (int i = 0; i < kRounds; ++i) updates += fleet.DoRound();
  ASSERT_EQ(fleet.Charges(), kRounds);
  const std::vector<float> after = FloatsOf(fleet.harness.Parameters());
  double squares = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    // Each update moves it by a quarter of the clip norm 0.5; the noise of 15
    // rounds has a standard deviation of 0.019, six times that allowed.
    const double noise =
        after[i] - before[i] - 0.125 * static_cast<double>(updates);
    EXPECT_LT(std::abs(noise), 0.12) << i;
    squares += noise * noise;
  }
  EXPECT_GT(squares, 0);
}

TEST(PoissonRoundTest, IsRefusedInTheField) {
  PrivateFleet fleet({.size = 1, .rounds = 4, .minimum_waiting = 4},
                     {.poisson = true}, 4);
  EXPECT_THAT(fleet.Submit(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("cohort.selection is poisson")));
}

TEST(ParticipationTest, LimitsHoldOverRestarts) {
  PrivateFleet fleet({.size = 2, .rounds = 6},
                     {.participations = 2, .separation = 3}, 6);
  ASSERT_THAT(fleet.Submit(), IsOk());
  // Each life of the coordinator sees one update.
  for (int life = 0; life < 12; ++life) {
    ASSERT_EQ(fleet.DoRound(1), 1) << "life " << life;
    fleet.harness.Crash();
  }
  EXPECT_EQ(fleet.harness.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(fleet.harness.Summary().version(), 6);
  int64_t all = 0;
  for (const auto& [device, steps] : fleet.steps) {
    all += static_cast<int64_t>(steps.size());
    ASSERT_LE(steps.size(), 2u) << device;
    if (steps.size() == 2) {
      EXPECT_GE(steps[1] - steps[0], 3) << device;
    }
  }
  EXPECT_EQ(all, 12);
}

TEST(ParticipationTest, DeviceThatIsUsedUpIsToldToComeBackLate) {
  PrivateFleet fleet({.size = 1, .rounds = 3}, {.participations = 1}, 1);
  ASSERT_THAT(fleet.Submit(), IsOk());
  ASSERT_EQ(fleet.DoRound(), 1);
  const auto call = fleet.harness.CheckIn("0");
  ASSERT_TRUE(call->told_to_come_back());
  const v1::ComeBack& come_back = call->answer->value().come_back();
  EXPECT_EQ(come_back.after_milliseconds(), 3'600'000);
  EXPECT_THAT(come_back.reason(), HasSubstr("all its participations"));
  EXPECT_THAT(fleet.harness.Summary().hindrance(),
              HasSubstr("1 devices have had all their participations"));
  // Another task may ask it.
  ASSERT_THAT(fleet.harness.Submit({.name = "other", .size = 1}), IsOk());
  EXPECT_TRUE(fleet.harness.CheckIn("0")->has_assignment());
}

// Who rests comes again without anybody's help.
TEST(ParticipationTest, DevicesThatRestHinderNothing) {
  PrivateFleet fleet(
      {.size = 2, .rounds = 5, .minimum_interval_in_seconds = 3600},
      {.participations = 2, .separation = 2}, 4);
  ASSERT_THAT(fleet.Submit(), IsOk());
  ASSERT_EQ(fleet.DoRound(), 4);  // two rounds
  // Two rest, and for the other two it is too early.
  EXPECT_EQ(fleet.DoRound(), 0);
  EXPECT_THAT(fleet.harness.Summary().hindrance(), IsEmpty());
  fleet.harness.Advance(absl::Minutes(61));
  EXPECT_EQ(fleet.DoRound(), 4);
}

TEST(ParticipationTest, OperatorSeesWhyNoRoundStarts) {
  PrivateFleet fleet({.size = 2, .rounds = 5},
                     {.participations = 2, .separation = 3}, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  EXPECT_THAT(fleet.harness.Summary().hindrance(), IsEmpty());
  ASSERT_EQ(fleet.DoRound(), 2);
  EXPECT_EQ(fleet.DoRound(), 0);
  EXPECT_THAT(fleet.harness.Summary().hindrance(),
              HasSubstr("0 of 2 devices wait that may take part; 2 more wait "
                        "whose last participation is fewer than 3 rounds ago"));
}

// What was acknowledged may be in a noised sum, also if its round fails.
TEST(ParticipationTest, FailedRoundCountsForThoseWhoseUpdateArrived) {
  PrivateFleet fleet({.size = 2, .rounds = 2}, {.participations = 1}, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  const auto a = fleet.harness.CheckIn("0");
  const auto b = fleet.harness.CheckIn("1");
  ASSERT_THAT(fleet.Upload("0", a->assignment()), IsOk());
  fleet.harness.Advance(absl::Hours(1));
  EXPECT_EQ(fleet.Charges(), 0);
  EXPECT_TRUE(fleet.harness.CheckIn("0")->told_to_come_back());
  EXPECT_FALSE(fleet.harness.CheckIn("1")->told_to_come_back());
}

// Budget.

TEST(BudgetTest, TaskEndsBeforeTheRoundThatWouldOverspend) {
  const PrivateTaskTestOptions options = {.participations = 5};
  PrivateFleet unlimited({.size = 2, .rounds = 5}, options, 2);
  ASSERT_THAT(unlimited.Submit(), IsOk());
  std::vector<double> spent;
  for (int round = 0; round < 5; ++round) {
    ASSERT_EQ(unlimited.DoRound(), 2);
    spent.push_back(unlimited.Ledger().accounts(0).spent().epsilon());
    if (round > 0) {
      EXPECT_GT(spent[round], spent[round - 1]);
    }
  }
  PrivateTaskTestOptions limited = options;
  limited.epsilon_limit = (spent[1] + spent[2]) / 2;
  PrivateFleet fleet({.size = 2, .rounds = 5}, limited, 2);
  ASSERT_THAT(fleet.Submit(), IsOk());
  for (int round = 0; round < 4; ++round) {
    EXPECT_EQ(fleet.DoRound(), round < 2 ? 2 : 0);
    fleet.harness.Crash();
  }
  const v1::TaskSummary summary = fleet.harness.Summary();
  EXPECT_EQ(summary.state(), v1::COMPLETED);
  EXPECT_EQ(summary.version(), 2);
  EXPECT_THAT(summary.reason(), HasSubstr("privacy budget is used up"));
  EXPECT_THAT(summary.reason(), HasSubstr("against model recipients"));
  EXPECT_EQ(fleet.Charges(), 2);
  EXPECT_NEAR(fleet.Ledger().accounts(0).left(),
              *limited.epsilon_limit - spent[1], 1e-9);
}

TEST(BudgetTest, TaskWhoseFirstRoundWouldOverspendIsRefused) {
  PrivateFleet fleet({.size = 2, .rounds = 5}, {.epsilon_limit = 0.01}, 2);
  EXPECT_THAT(fleet.Submit(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("privacy.epsilon_limit is 0.01, and one "
                                 "round would spend")));
}

}  // namespace
}  // namespace mledge
