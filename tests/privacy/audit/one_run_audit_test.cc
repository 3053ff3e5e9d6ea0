#include "mledge/privacy/audit/one_run_audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

// Numbers of the theorem's formula, worked out apart from this program (Python,
// exact fractions for the binomials).
TEST(CanaryGuessProbabilityTest, IsTheTheorem) {
  // 3 of 4 under ε = 0: P[W ≥ 3] = 5/16.
  EXPECT_NEAR(CanaryGuessProbability({4, 4, 3}, 0, 0), 5.0 / 16, 1e-8);
  // With δ = 1/100, m = 10: max of P[W = 2] = 6/16, P[1 ≤ W ≤ 2]/2 = 10/32,
  // P[W ≤ 2]/3 = 11/48; so 5/16 + 0.2 · 6/16.
  EXPECT_NEAR(CanaryGuessProbability({10, 4, 3}, 0, 0.01),
              5.0 / 16 + 0.2 * 6.0 / 16, 1e-8);
  // ε = ln 3, so q = 3/4, all 8 of 8 right: (3/4)^8.
  EXPECT_NEAR(CanaryGuessProbability({8, 8, 8}, std::log(3.0), 0),
              std::pow(0.75, 8), 1e-9);
  EXPECT_EQ(CanaryGuessProbability({8, 8, 0}, 1, 0), 1);
  EXPECT_EQ(CanaryGuessProbability({8, 0, 0}, 1, 0), 1);
}

TEST(EpsilonLowerBoundTest, InvertsTheProbability) {
  // All of n right: q^n = error, so e^ε = q / (1 − q) with q = error^(1/n).
  for (const int64_t n : {8, 100, 10'000}) {
    const double q = std::pow(0.05, 1.0 / static_cast<double>(n));
    const double exact = std::log(q / (1 - q));
    const double bound = EpsilonLowerBound({n, n, n}, 0, 0.05);
    EXPECT_LE(bound, exact);
    EXPECT_GT(bound, exact - 0.02);
  }
  EXPECT_EQ(EpsilonLowerBound({1000, 1000, 500}, 0, 0.05), 0);
  EXPECT_EQ(EpsilonLowerBound({1000, 0, 0}, 0, 0.05), 0);
}

TEST(EpsilonLowerBoundTest, FallsWithDeltaAndWithTheError) {
  const CanaryGuesses guesses = {1000, 200, 190};
  const double bound = EpsilonLowerBound(guesses, 0, 0.05);
  EXPECT_GT(bound, 1.5);
  EXPECT_LT(EpsilonLowerBound(guesses, 1e-4, 0.05), bound);
  EXPECT_LT(EpsilonLowerBound(guesses, 0, 0.001), bound);
  EXPECT_EQ(EpsilonLowerBound(guesses, 1, 0.05), 0);
}

// Scores of canaries under a Gaussian mechanism of that noise multiplier.
struct Scored {
  std::vector<double> scores;
  std::vector<bool> in;
};
Scored Score(int canaries, double noise, TrainingRandom& random) {
  Scored scored;
  for (int i = 0; i < canaries; ++i) {
    scored.in.push_back(random.UniformBelow(2) == 1);
    scored.scores.push_back((scored.in.back() ? 0.5 : -0.5) +
                            noise * random.Normal());
  }
  return scored;
}

// Randomized response of ε = 1 on 200 coins is as good a mechanism as any for
// the guesser: its own bits. The bound is above 1 in 5 % of the runs at most;
// of 400 runs in more than 36 once in 10^4 times (binomial, 3.7 standard
// deviations).
TEST(BoundEpsilonByCanariesTest, CoversItsConfidenceForRandomizedResponse) {
  TrainingRandom random({.task_seed = 11, .purpose = "audit"});
  const double truth = 1 / (1 + std::exp(-1.0));
  int above = 0;
  double mean = 0;
  constexpr int kRuns = 400;
  for (int run = 0; run < kRuns; ++run) {
    Scored scored;
    for (int i = 0; i < 200; ++i) {
      scored.in.push_back(random.UniformBelow(2) == 1);
      const bool tells_truth = random.UniformDouble() < truth;
      scored.scores.push_back(scored.in.back() == tells_truth ? 1 : -1);
    }
    const auto bound =
        BoundEpsilonByCanaries(scored.scores, scored.in, 0, 0.95);
    ASSERT_THAT(bound, IsOk());
    above += bound->epsilon > 1 ? 1 : 0;
    mean += bound->epsilon / kRuns;
  }
  EXPECT_LE(above, 36);
  EXPECT_GT(mean, 0.4) << "a bound that is always small says nothing";
}

TEST(BoundEpsilonByCanariesTest, GrowsWhereNoiseIsMissing) {
  TrainingRandom random({.task_seed = 12, .purpose = "audit"});
  const Scored bare = Score(1000, 0.01, random);
  const auto large = BoundEpsilonByCanaries(bare.scores, bare.in, 1e-6, 0.95);
  ASSERT_THAT(large, IsOk());
  EXPECT_GT(large->epsilon, 5);
  EXPECT_EQ(large->guesses.correct, 1000);
  // Multiplier 2: epsilon 2.3 at 1e-5; a guesser is right in 60 % of all cases,
  // and oftener where it is sure.
  const Scored hidden = Score(1000, 2, random);
  const auto small =
      BoundEpsilonByCanaries(hidden.scores, hidden.in, 1e-5, 0.95);
  ASSERT_THAT(small, IsOk());
  EXPECT_LT(small->epsilon, 2.3);
}

TEST(BoundEpsilonByCanariesTest, TheLouderHalfMayBeTheBetterOne) {
  std::vector<double> scores;
  std::vector<bool> in;
  // 32 that are sure and right, 224 that know nothing.
  for (int i = 0; i < 256; ++i) {
    in.push_back(i % 2 == 0);
    scores.push_back(i < 32 ? (in.back() ? 10 : -10)
                            : (i / 2 % 2 == 0 ? 1 : -1));
  }
  const auto bound = BoundEpsilonByCanaries(scores, in, 0, 0.95);
  ASSERT_THAT(bound, IsOk());
  EXPECT_EQ(bound->guesses.guesses, 32);
  EXPECT_EQ(bound->guesses.correct, 32);
  EXPECT_GT(bound->epsilon, 1.7);
}

TEST(BoundEpsilonByCanariesTest, RefusesWhatItCannotTest) {
  const std::vector<double> few(7, 1.0);
  const std::vector<bool> coins(7, true);
  const auto refused = [](const auto& bound, const char* why) {
    EXPECT_THAT(bound, StatusIs(absl::StatusCode::kInvalidArgument,
                                ::testing::HasSubstr(why)));
  };
  refused(BoundEpsilonByCanaries(few, coins, 0, 0.95), "scores of 7");
  const std::vector<double> enough(8, 1.0);
  refused(BoundEpsilonByCanaries(enough, coins, 0, 0.95), "coins of 7");
  const std::vector<bool> eight(8, true);
  refused(BoundEpsilonByCanaries(enough, eight, 0, 1), "confidence is 1");
  refused(BoundEpsilonByCanaries(enough, eight, 0, 0), "confidence is 0");
  refused(BoundEpsilonByCanaries(enough, eight, -1, 0.95), "delta -1");
  refused(BoundEpsilonByCanaries(enough, eight, NAN, 0.95), "delta");
  std::vector<double> bad = enough;
  bad[3] = NAN;
  refused(BoundEpsilonByCanaries(bad, eight, 0, 0.95), "no number");
}

}  // namespace
}  // namespace mledge
