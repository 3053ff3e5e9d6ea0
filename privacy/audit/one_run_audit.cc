#include "mledge/privacy/audit/one_run_audit.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/status/status.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr int64_t kFewestCanaries = 8;
constexpr double kMostEpsilon = 64;
// Probabilities are sums of up to canaries + 1 terms, each right to about
// 1e-12.
constexpr double kRounding = 1 + 1e-9;

// P[W = k] for k from 0 to `trials`, by logarithms, so that none vanishes that
// decides anything.
std::vector<double> Binomial(int64_t trials, double epsilon) {
  const auto n = static_cast<double>(trials);
  // log q and log (1 − q) of q = 1 / (1 + e^−ε).
  const double log_success = -std::log1p(std::exp(-epsilon));
  const double log_failure = log_success - epsilon;
  std::vector<double> probabilities(trials + 1);
  double log_choose = 0;
  for (int64_t k = 0; k <= trials; ++k) {
    const auto hits = static_cast<double>(k);
    probabilities[k] =
        std::exp(log_choose + hits * log_success + (n - hits) * log_failure);
    log_choose += std::log(n - hits) - std::log(hits + 1);
  }
  return probabilities;
}

}  // namespace

double CanaryGuessProbability(const CanaryGuesses& guesses, double epsilon,
                              double delta) {
  const std::vector<double> probability = Binomial(guesses.guesses, epsilon);
  // Small terms first.
  double at_least = 0;
  for (int64_t k = guesses.guesses; k >= guesses.correct; --k) {
    at_least += probability[k];
  }
  double below = 0;
  double steepest = 0;
  for (int64_t i = 1; i <= guesses.correct; ++i) {
    below += probability[guesses.correct - i];
    steepest = std::max(steepest, below / static_cast<double>(i));
  }
  const double total =
      at_least + 2 * static_cast<double>(guesses.canaries) * delta * steepest;
  return std::min(1.0, total * kRounding);
}

double EpsilonLowerBound(const CanaryGuesses& guesses, double delta,
                         double error) {
  const auto refuted = [&](double epsilon) {
    return CanaryGuessProbability(guesses, epsilon, delta) < error;
  };
  // Whoever promises an epsilon promises the next point of this grid, too; so
  // if the promise holds, that point is refuted with a probability of at most
  // `error`, and the bound lies below it otherwise. The term with delta need
  // not grow with epsilon, so all points up to the bound are asked.
  constexpr double kStep = 1.0 / 64;
  double bound = 0;
  while (bound < kMostEpsilon && refuted(bound + kStep)) bound += kStep;
  return refuted(0) ? bound : 0;
}

absl::StatusOr<CanaryBound> BoundEpsilonByCanaries(
    std::span<const double> scores, const std::vector<bool>& in, double delta,
    double confidence) {
  const auto canaries = static_cast<int64_t>(scores.size());
  if (canaries < kFewestCanaries || scores.size() != in.size()) {
    return absl::InvalidArgumentError(StrCat(
        "there are scores of ", canaries, " canaries and coins of ", in.size(),
        "; it takes ", kFewestCanaries, " or more, and as many coins"));
  }
  if (!(confidence > 0 && confidence < 1) || !(delta >= 0 && delta < 1)) {
    return absl::InvalidArgumentError(StrCat("confidence is ", confidence,
                                             " and delta ", delta,
                                             "; both lie between 0 and 1"));
  }
  if (std::any_of(scores.begin(), scores.end(),
                  [](double score) { return std::isnan(score); })) {
    return absl::InvalidArgumentError("the score of a canary is no number");
  }
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::abs(scores[a]) > std::abs(scores[b]);
  });
  std::vector<int64_t> counts;
  for (int64_t count = canaries; count >= kFewestCanaries;
       count = (count + 1) / 2) {
    counts.push_back(count);
  }
  const double error = (1 - confidence) / static_cast<double>(counts.size());
  CanaryBound best = {.guesses = {.canaries = canaries, .guesses = canaries}};
  for (const int64_t count : counts) {
    CanaryGuesses guesses = {.canaries = canaries, .guesses = count};
    for (int64_t i = 0; i < count; ++i) {
      const size_t canary = order[i];
      guesses.correct += (scores[canary] > 0) == in[canary] ? 1 : 0;
    }
    const double epsilon = EpsilonLowerBound(guesses, delta, error);
    if (count == canaries || epsilon > best.epsilon) {
      best = {.epsilon = epsilon, .guesses = guesses};
    }
  }
  return best;
}

}  // namespace mledge
