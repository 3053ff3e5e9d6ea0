#include "mledge/tests/privacy/falsifier.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "mledge/core/training_random.h"

namespace mledge {
namespace {

constexpr size_t kCells = 64;

using Score = double (*)(std::span<const int32_t> output,
                         std::span<const float> update);

double Projection(std::span<const int32_t> output,
                  std::span<const float> update) {
  double sum = 0;
  for (size_t i = 0; i < output.size(); ++i) {
    sum += static_cast<double>(output[i]) * update[i];
  }
  return sum;
}

double FirstValue(std::span<const int32_t> output, std::span<const float>) {
  return output[0];
}

double SquaredNorm(std::span<const int32_t> output, std::span<const float>) {
  double sum = 0;
  for (const int32_t value : output) {
    sum += static_cast<double>(value) * value;
  }
  return sum;
}

struct NamedScore {
  const char* name;
  Score score;
};
constexpr std::array<NamedScore, 3> kScores = {
    {{"projection onto the update", Projection},
     {"first value", FirstValue},
     {"squared norm", SquaredNorm}}};

std::vector<double> ScoresOf(const std::vector<int32_t>& outputs,
                             std::span<const float> update, Score score) {
  std::vector<double> scores;
  for (size_t begin = 0; begin < outputs.size(); begin += update.size()) {
    scores.push_back(
        score(std::span(outputs).subspan(begin, update.size()), update));
  }
  return scores;
}

// n · KL(found ‖ assumed), of Bernoulli variables.
double Surprise(double found, double assumed, double n) {
  double sum = 0;
  if (found > 0) sum += found * std::log(found / assumed);
  if (found < 1) sum += (1 - found) * std::log((1 - found) / (1 - assumed));
  return n * sum;
}

// The end, below or above `found`, of the probabilities that are refuted by at
// most `log_rate` (Chernoff).
double Bound(double found, double n, double log_rate, bool below) {
  double inside = found;
  double outside = below ? 0 : 1;
  for (int i = 0; i < 60; ++i) {
    const double middle = (inside + outside) / 2;
    (Surprise(found, middle, n) < -log_rate ? inside : outside) = middle;
  }
  return outside;
}

// Shares of the scores in each of the cells that `edges` cut.
std::vector<double> Shares(std::span<const double> scores,
                           const std::vector<double>& edges) {
  std::vector<double> shares(edges.size() + 1);
  for (const double score : scores) {
    const auto cell = std::upper_bound(edges.begin(), edges.end(), score);
    shares[static_cast<size_t>(cell - edges.begin())] +=
        1 / static_cast<double>(scores.size());
  }
  return shares;
}

// One pair of score samples, of which the first halves teach and the second
// halves test.
struct Pair {
  std::vector<double> teach_edges;
  std::vector<double> teach_p, teach_q, test_p, test_q;
};

Pair CutIntoCells(const std::vector<double>& with,
                  const std::vector<double>& without) {
  const size_t half = with.size() / 2;
  std::vector<double> pooled(with.begin(), with.begin() + half);
  pooled.insert(pooled.end(), without.begin(), without.begin() + half);
  std::sort(pooled.begin(), pooled.end());
  Pair pair;
  for (size_t i = 1; i < kCells; ++i) {
    const double edge = pooled[i * pooled.size() / kCells];
    if (pair.teach_edges.empty() || edge > pair.teach_edges.back()) {
      pair.teach_edges.push_back(edge);
    }
  }
  const std::span p(with);
  const std::span q(without);
  pair.teach_p = Shares(p.first(half), pair.teach_edges);
  pair.teach_q = Shares(q.first(half), pair.teach_edges);
  pair.test_p = Shares(p.subspan(half), pair.teach_edges);
  pair.test_q = Shares(q.subspan(half), pair.teach_edges);
  return pair;
}

// δ at ε that the second halves prove, for P against Q or, swapped, Q against
// P.
double LeastDelta(const Pair& pair, bool swapped, double epsilon, double runs,
                  double log_rate) {
  const auto& teach_p = swapped ? pair.teach_q : pair.teach_p;
  const auto& teach_q = swapped ? pair.teach_p : pair.teach_q;
  const auto& test_p = swapped ? pair.test_q : pair.test_p;
  const auto& test_q = swapped ? pair.test_p : pair.test_q;
  double p = 0;
  double q = 0;
  for (size_t i = 0; i < teach_p.size(); ++i) {
    if (teach_p[i] > std::exp(epsilon) * teach_q[i]) {
      p += test_p[i];
      q += test_q[i];
    }
  }
  return Bound(std::min(p, 1.0), runs, log_rate, true) -
         std::exp(epsilon) * Bound(std::min(q, 1.0), runs, log_rate, false);
}

}  // namespace

std::optional<Violation> Falsify(
    const BatchMechanism& mechanism, const std::vector<NamedUpdate>& updates,
    const std::function<double(double)>& claimed_delta,
    const FalsifierOptions& options) {
  const auto tests = static_cast<double>(2 * updates.size() * kScores.size() *
                                         options.epsilons.size());
  // Two bounds a test.
  const double log_rate = std::log(options.false_alarm_rate / (2 * tests));
  const std::vector<float> zero(updates.front().values.size());
  std::vector<int32_t> without;
  mechanism(zero, 2 * options.runs, &without);
  std::optional<Violation> worst;
  for (const NamedUpdate& update : updates) {
    std::vector<int32_t> with;
    mechanism(update.values, 2 * options.runs, &with);
    for (const NamedScore& score : kScores) {
      const Pair pair =
          CutIntoCells(ScoresOf(with, update.values, score.score),
                       ScoresOf(without, update.values, score.score));
      for (const double epsilon : options.epsilons) {
        for (const bool swapped : {false, true}) {
          const double claimed = claimed_delta(epsilon);
          const double least =
              LeastDelta(pair, swapped, epsilon,
                         static_cast<double>(options.runs), log_rate);
          if (least > claimed &&
              (!worst.has_value() ||
               least - claimed > worst->least_delta - worst->claimed_delta)) {
            worst = Violation{update.name, score.name, epsilon, claimed, least};
          }
        }
      }
    }
  }
  return worst;
}

std::vector<NamedUpdate> ExtremeUpdates(size_t size, double clip_norm,
                                        double grid_step, uint64_t seed) {
  const double root = std::sqrt(static_cast<double>(size));
  const double even = clip_norm / root;
  std::vector<NamedUpdate> updates;
  const auto add = [&](const char* name, double first, double others) {
    std::vector<float> values(size, static_cast<float>(others));
    values[0] = static_cast<float>(first);
    updates.push_back({name, std::move(values)});
  };
  add("all in one value", clip_norm, 0);
  add("all in one value, negative", -clip_norm, 0);
  add("spread evenly", even, even);
  // As far as the clip allows.
  const double half_way =
      (std::max(0.0, std::floor(even / grid_step - 0.5)) + 0.5) * grid_step;
  add("half way between grid points", half_way, half_way);
  add("just above grid points", 0.001 * grid_step, 0.001 * grid_step);
  add("one large value, others just above grid points", 0.9 * clip_norm,
      std::min(0.01 * grid_step, 0.4 * even));
  add("far above the clip", 10 * even, 10 * even);
  TrainingRandom random({.task_seed = seed, .purpose = "falsifier"});
  for (const char* name : {"random direction 1", "random direction 2"}) {
    std::vector<double> direction(size);
    double squares = 0;
    for (double& value : direction) {
      value = random.Normal();
      squares += value * value;
    }
    std::vector<float> values;
    for (const double value : direction) {
      values.push_back(
          static_cast<float>(value * clip_norm / std::sqrt(squares)));
    }
    updates.push_back({name, std::move(values)});
  }
  return updates;
}

}  // namespace mledge
