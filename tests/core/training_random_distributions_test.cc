#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/tests/support/test_seed.h"

// Each test draws kSamples values and compares their empirical distribution
// function with the true one. By the Dvoretzky–Kiefer–Wolfowitz inequality
// (with Massart's constant, for any distribution, continuous or not) the
// largest difference exceeds sqrt(ln(2 / alpha) / (2 n)) with probability at
// most alpha. With alpha = 1e-9 a test each, a change of seed raises a false
// alarm in this whole file less often than once in fifty million.

namespace mledge {
namespace {

constexpr size_t kSamples = 400'000;
constexpr double kFalseAlarmRate = 1e-9;

double Tolerance() {
  return std::sqrt(std::log(2 / kFalseAlarmRate) / (2.0 * kSamples));
}

// Largest difference between the empirical distribution function of `samples`
// and `cdf`, from above and below.
double Distance(std::vector<double> samples,
                const std::function<double(double)>& cdf) {
  std::sort(samples.begin(), samples.end());
  const auto n = static_cast<double>(samples.size());
  double distance = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const double expected = cdf(samples[i]);
    distance = std::max(distance, expected - static_cast<double>(i) / n);
    distance = std::max(distance, static_cast<double>(i + 1) / n - expected);
  }
  return distance;
}

std::vector<double> Draw(uint64_t seed,
                         const std::function<double(TrainingRandom&)>& draw) {
  TrainingRandom random(
      TrainingRandom::Stream{.task_seed = seed, .purpose = "test"});
  std::vector<double> samples(kSamples);
  for (double& sample : samples) sample = draw(random);
  return samples;
}

double NormalCdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2)); }

// Regularized lower incomplete gamma function by its power series.
double GammaCdf(double shape, double x) {
  if (x <= 0) return 0;
  double term = std::exp(shape * std::log(x) - x - std::lgamma(shape + 1));
  double sum = 0;
  for (int k = 1; term > 1e-17 * sum || k < x; ++k) {
    sum += term;
    term *= x / (shape + k);
  }
  return std::min(1.0, sum);
}

class TrainingRandomDistributionTest : public ::testing::Test {
 protected:
  const uint64_t seed_ = TestSeed(20260101);
  const ::testing::ScopedTrace trace_ = TraceSeed(seed_);
};

TEST_F(TrainingRandomDistributionTest, UniformFloatIsUniform) {
  const auto samples =
      Draw(seed_, [](TrainingRandom& r) -> double { return r.UniformFloat(); });
  EXPECT_LT(Distance(samples, [](double x) { return x; }), Tolerance());
}

TEST_F(TrainingRandomDistributionTest, UniformDoubleIsUniform) {
  const auto samples =
      Draw(seed_, [](TrainingRandom& r) { return r.UniformDouble(); });
  EXPECT_LT(Distance(samples, [](double x) { return x; }), Tolerance());
}

// Just under 2/3 of 2^64: without rejection the lower half of the range would
// come twice as often as the upper half.
TEST_F(TrainingRandomDistributionTest, UniformBelowALargeBoundHasNoBias) {
  const uint64_t bound = 0xAAAAAAAAAAAAAAAA;
  const auto samples = Draw(seed_, [&](TrainingRandom& r) {
    return static_cast<double>(r.UniformBelow(bound));
  });
  const auto cdf = [&](double x) { return x / static_cast<double>(bound); };
  EXPECT_LT(Distance(samples, cdf), Tolerance());
}

TEST_F(TrainingRandomDistributionTest, UniformBelowTenHitsEachValueAlike) {
  std::array<double, 10> counts{};
  for (const double sample : Draw(seed_, [](TrainingRandom& r) {
         return static_cast<double>(r.UniformBelow(10));
       })) {
    counts[static_cast<size_t>(sample)] += 1;
  }
  double cumulative = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    cumulative += counts[i] / kSamples;
    EXPECT_NEAR(cumulative, (static_cast<double>(i) + 1) / 10, Tolerance());
  }
}

TEST_F(TrainingRandomDistributionTest, ShuffleGivesEachOrderAlike) {
  std::map<std::array<int, 4>, double> counts;
  Draw(seed_, [&](TrainingRandom& r) {
    std::array<int, 4> order = {0, 1, 2, 3};
    r.Shuffle(std::span<int>(order));
    return counts[order] += 1;
  });
  ASSERT_EQ(counts.size(), 24u);
  double cumulative = 0;
  double expected = 0;
  for (const auto& [order, count] : counts) {
    cumulative += count / kSamples;
    expected += 1.0 / 24;
    EXPECT_NEAR(cumulative, expected, Tolerance());
  }
}

TEST_F(TrainingRandomDistributionTest, NormalIsStandardNormal) {
  const auto samples =
      Draw(seed_, [](TrainingRandom& r) { return r.Normal(); });
  EXPECT_LT(Distance(samples, NormalCdf), Tolerance());
}

// What one draw says of the next: by the same inequality for u·v of two
// uniform values, whose distribution function is z − z ln z.
TEST_F(TrainingRandomDistributionTest, NeighbouringDrawsAreIndependent) {
  const auto samples = Draw(seed_, [](TrainingRandom& r) {
    return NormalCdf(r.Normal()) * NormalCdf(r.Normal());
  });
  const auto cdf = [](double z) { return z <= 0 ? 0 : z - z * std::log(z); };
  EXPECT_LT(Distance(samples, cdf), Tolerance());
}

TEST_F(TrainingRandomDistributionTest, GammaHasTheShapeAskedFor) {
  for (const double shape : {0.1, 0.5, 1.0, 2.5, 30.0}) {
    const auto samples =
        Draw(seed_, [&](TrainingRandom& r) { return r.Gamma(shape); });
    EXPECT_LT(Distance(samples, [&](double x) { return GammaCdf(shape, x); }),
              Tolerance())
        << "shape " << shape;
  }
}

// The tests above can fail: a mean that is off by 2 % of the deviation shows.
TEST_F(TrainingRandomDistributionTest, ASmallShiftWouldBeSeen) {
  const auto samples =
      Draw(seed_, [](TrainingRandom& r) { return r.Normal() + 0.02; });
  EXPECT_GT(Distance(samples, NormalCdf), Tolerance());
}

}  // namespace
}  // namespace mledge
