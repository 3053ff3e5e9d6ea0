// What is claimed of correlated noise against what its integers do: the exact
// distribution of everything that three rounds of one coordinate publish, with
// and without a device, by enumeration of all draws.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mledge/privacy/matrix/correlated_grid.h"
#include "mledge/privacy/matrix/internal/noise_filter.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using matrix_internal::NoiseFilter;
using matrix_internal::RoundHalfUp;

constexpr int64_t kRounds = 3;
constexpr double kSigma = 16;
// Draws beyond 5 standard deviations are left out: 2e-6 of the mass.
constexpr int64_t kLargestDraw = 80;
constexpr int64_t kDraws = 2 * kLargestDraw + 1;
constexpr double kLeftOut = 2e-6;

using Published = std::array<int64_t, kRounds>;

// Probability of each result, by position in a box around zero.
class Distribution {
 public:
  explicit Distribution(const Published& reach)
      : reach_(reach), mass_(Side(0) * Side(1) * Side(2)) {}
  double& operator[](const Published& at) { return mass_[Index(at)]; }
  double At(const Published& at) const {
    for (int64_t t = 0; t < kRounds; ++t) {
      if (std::abs(at[t]) > reach_[t]) return 0;
    }
    return mass_[Index(at)];
  }
  // All results of some probability.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    Published at;
    size_t index = 0;
    for (at[0] = -reach_[0]; at[0] <= reach_[0]; ++at[0]) {
      for (at[1] = -reach_[1]; at[1] <= reach_[1]; ++at[1]) {
        for (at[2] = -reach_[2]; at[2] <= reach_[2]; ++at[2], ++index) {
          if (mass_[index] > 0) visit(at, mass_[index]);
        }
      }
    }
  }

 private:
  size_t Side(int t) const { return static_cast<size_t>(2 * reach_[t] + 1); }
  size_t Index(const Published& at) const {
    return (static_cast<size_t>(at[0] + reach_[0]) * Side(1) +
            static_cast<size_t>(at[1] + reach_[1])) *
               Side(2) +
           static_cast<size_t>(at[2] + reach_[2]);
  }
  Published reach_;
  std::vector<double> mass_;
};

// All draws at once, as if they were coordinates.
Distribution NoiseOf(const StrategyMatrix& strategy, int fraction_bits) {
  std::vector<double> pmf(kDraws);
  double sum = 0;
  for (int64_t i = 0; i < kDraws; ++i) {
    const auto x = static_cast<double>(i - kLargestDraw);
    pmf[i] = std::exp(-x * x / (2 * kSigma * kSigma));
    sum += pmf[i];
  }
  for (double& p : pmf) p /= sum;
  const NoiseFilter filter =
      *NoiseFilter::Create(strategy, kRounds, fraction_bits, kLargestDraw);
  constexpr int64_t kAll = kDraws * kDraws * kDraws;
  std::vector<std::vector<int64_t>> state(filter.vectors(),
                                          std::vector<int64_t>(kAll));
  std::vector<int64_t*> vectors;
  for (auto& vector : state) vectors.push_back(vector.data());
  std::array<std::vector<int64_t>, kRounds> results;
  Published reach{};
  int64_t stride = kDraws * kDraws;
  for (int64_t round = 0; round < kRounds; ++round, stride /= kDraws) {
    results[round].resize(kAll);
    for (int64_t i = 0; i < kAll; ++i) {
      results[round][i] = i / stride % kDraws - kLargestDraw;
    }
    filter.Apply(round, vectors, results[round]);
    for (int64_t& value : results[round]) {
      value = RoundHalfUp(value, fraction_bits);
      reach[round] = std::max(reach[round], std::abs(value));
    }
  }
  Distribution noise(reach);
  for (int64_t i = 0; i < kAll; ++i) {
    Published published;
    for (int64_t round = 0; round < kRounds; ++round) {
      published[round] = results[round][i];
    }
    noise[published] +=
        pmf[i / kDraws / kDraws] * pmf[i / kDraws % kDraws] * pmf[i % kDraws];
  }
  return noise;
}

constexpr std::array<double, 2> kEpsilons = {0.5, 2};

// For each ε the least δ for which (ε, δ) holds between the noise and the noise
// with contributions: the hockey-stick divergence, the larger of both
// directions.
std::array<double, 2> ExactDeltas(const Distribution& noise,
                                  const Published& contributions) {
  std::array<double, 2> with{};
  std::array<double, 2> without{};
  noise.ForEach([&](const Published& at, double probability) {
    Published back = at;
    Published forth = at;
    for (int64_t t = 0; t < kRounds; ++t) {
      back[t] -= contributions[t];
      forth[t] += contributions[t];
    }
    for (size_t e = 0; e < kEpsilons.size(); ++e) {
      const double factor = std::exp(kEpsilons[e]);
      without[e] += std::max(0.0, probability - factor * noise.At(back));
      with[e] += std::max(0.0, probability - factor * noise.At(forth));
    }
  });
  return {std::max(with[0], without[0]), std::max(with[1], without[1])};
}

// Of the Gaussian mechanism (Balle and Wang, ICML 2018, theorem 8).
double GaussianDelta(double noise_multiplier, double epsilon) {
  const auto phi = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2)); };
  const double mu = 1 / noise_multiplier;
  return phi(mu / 2 - epsilon / mu) -
         std::exp(epsilon) * phi(-mu / 2 - epsilon / mu);
}

struct Case {
  StrategyMatrix strategy;
  int fraction_bits;
};

std::vector<Case> Cases() {
  return {{IndependentNoise(), 0},
          {TreeAggregation{}, 0},
          {BandedToeplitz{{1, 0.5}}, 1},
          {BandedToeplitz{{1, 0.75, 0.5}}, 2},
          {BufferedToeplitz{{0.5}, {0.5}}, 0},
          {BufferedToeplitz{{0.25, 0.875}, {0.25, 0.25}}, 2}};
}

TEST(IntegerClaimTest, NoThreeRoundsSpendMoreThanIsClaimed) {
  const ParticipationLimits once = {kRounds, 1, 1};
  const ParticipationLimits twice = {kRounds, 2, 2};
  for (const Case& c : Cases()) {
    const Distribution noise = NoiseOf(c.strategy, c.fraction_bits);
    // About one standard deviation of z.
    const int64_t norm = int64_t{16} >> c.fraction_bits;
    struct Pattern {
      Published contributions;
      ParticipationLimits limits;
    };
    for (const Pattern& pattern :
         {Pattern{{norm, 0, 0}, once}, Pattern{{0, -norm, 0}, once},
          Pattern{{norm, 0, norm}, twice}, Pattern{{norm, 0, -norm}, twice}}) {
      const double multiplier = *CorrelatedNoiseMultiplier(
          c.strategy, pattern.limits,
          {.fraction_bits = c.fraction_bits,
           .dimension = 1,
           .l2_sensitivity = static_cast<double>(norm)},
          kSigma);
      const auto deltas = ExactDeltas(noise, pattern.contributions);
      for (size_t e = 0; e < deltas.size(); ++e) {
        EXPECT_LE(deltas[e], GaussianDelta(multiplier, kEpsilons[e]) + kLeftOut)
            << DescribeStrategy(c.strategy) << ", bits " << c.fraction_bits
            << ", epsilon " << kEpsilons[e];
      }
    }
  }
}

// So that the test above is known to be able to fail: a claim with 5 % more
// noise than there is would be found out.
TEST(IntegerClaimTest, AClaimOfMoreNoiseIsFoundOut) {
  const ParticipationLimits once = {kRounds, 1, 1};
  for (const StrategyMatrix& strategy :
       {IndependentNoise(), StrategyMatrix(TreeAggregation{}),
        StrategyMatrix(BandedToeplitz{{1, 1}})}) {
    const Distribution noise = NoiseOf(strategy, 0);
    const double multiplier = *CorrelatedNoiseMultiplier(
        strategy, once,
        {.fraction_bits = 0, .dimension = 1, .l2_sensitivity = 16}, kSigma);
    EXPECT_GT(ExactDeltas(noise, {16, 0, 0})[0],
              GaussianDelta(1.05 * multiplier, kEpsilons[0]) + kLeftOut)
        << DescribeStrategy(strategy);
  }
}

}  // namespace
}  // namespace mledge
