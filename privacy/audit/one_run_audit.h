#ifndef MLEDGE_PRIVACY_AUDIT_ONE_RUN_AUDIT_H_
#define MLEDGE_PRIVACY_AUDIT_ONE_RUN_AUDIT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

// A lower bound on epsilon from a single run of a mechanism (Steinke, Nasr,
// Jagielski, "Privacy auditing with one (1) training run", NeurIPS 2023, arXiv
// 2305.08846). Canaries are in the run or not, each by a fair coin of its own;
// somebody who sees only what the mechanism released guesses the coins, and may
// abstain. A mechanism that is (epsilon, delta)-private for one canary more or
// less lets no guesser be right more often than the theorem says:
//
//   theorem 3.1: of r guesses about m coins, v or more are right with a
//   probability of at most
//     P[W ≥ v] + 2·m·δ · max over i ≥ 1 of P[v > W ≥ v − i] / i,
//   where W is binomial (r, e^ε / (1 + e^ε)).
//
// So whatever epsilon makes this probability smaller than 1 − confidence is
// refuted. What follows from it is one-sided: a bound below a claim does not
// prove the claim, it only failed to refute it. Pure functions, thread-safe.

namespace mledge {

struct CanaryGuesses {
  int64_t canaries = 0;  // m, coins
  int64_t guesses = 0;   // r, those that were guessed: 0 … canaries
  int64_t correct = 0;   // v: 0 … guesses
};

// How probable so many correct guesses are at most, if the mechanism is
// (epsilon, delta)-private. Rounded up; at most 1. Preconditions: ranges as
// above, epsilon ≥ 0, delta in [0, 1].
double CanaryGuessProbability(const CanaryGuesses& guesses, double epsilon,
                              double delta);

// Epsilon is greater than this, if delta is right, but for a probability of
// `error`: up to it, in steps of 1/64, every epsilon is refuted. 0: none is. At
// most 64. Precondition as above, error in (0, 1).
double EpsilonLowerBound(const CanaryGuesses& guesses, double delta,
                         double error);

struct CanaryBound {
  double epsilon = 0;     // a lower bound
  CanaryGuesses guesses;  // that gave it
};

// Bounds epsilon from scores. A canary's score speaks for "in" where it is
// positive and for "out" otherwise, the more loudly the larger its magnitude.
// All are guessed, or the louder half of them, quarter, … down to eight: a
// fixed list, of which each is tested at its share of 1 − confidence, so that
// the best may be taken. INVALID_ARGUMENT: fewer than 8 canaries, unequal
// sizes, a confidence outside (0, 1), a delta outside [0, 1), a score that is
// no number.
absl::StatusOr<CanaryBound> BoundEpsilonByCanaries(
    std::span<const double> scores, const std::vector<bool>& in, double delta,
    double confidence);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_AUDIT_ONE_RUN_AUDIT_H_
