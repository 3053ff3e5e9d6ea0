#include "mledge/privacy/accounting/internal/loss_composition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <functional>
#include <memory>
#include <numbers>
#include <vector>

#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/privacy/accounting/internal/discrete_smoothing.h"
#include "mledge/privacy/accounting/internal/real_fft.h"

namespace mledge::accounting_internal {
namespace {

TEST(RealFftTest, IsTheTransformAndItsInverse) {
  for (size_t length : {4, 8, 64, 512}) {
    std::vector<double> x(length);
    for (size_t i = 0; i < length; ++i) {
      x[i] = std::sin(static_cast<double>(i * i) + 0.3);
    }
    RealFft fft(length);
    const std::vector<Complex> spectrum = fft.Forward(x);
    ASSERT_EQ(spectrum.size(), length / 2 + 1);
    for (size_t k = 0; k < spectrum.size(); ++k) {
      std::complex<double> direct = 0;
      for (size_t j = 0; j < length; ++j) {
        direct += x[j] * std::polar(1.0, -2 * std::numbers::pi *
                                             static_cast<double>(j * k) /
                                             static_cast<double>(length));
      }
      EXPECT_NEAR(spectrum[k].re, direct.real(), 1e-11);
      EXPECT_NEAR(spectrum[k].im, direct.imag(), 1e-11);
    }
    const std::vector<double> back = fft.Inverse(spectrum);
    for (size_t i = 0; i < length; ++i) EXPECT_NEAR(back[i], x[i], 1e-13);
  }
}

std::vector<CountedSource> Times(std::unique_ptr<LossSource> source,
                                 int64_t count) {
  std::vector<CountedSource> sources;
  sources.push_back({std::move(source), count});
  return sources;
}

// Gaussians through grid, transform and tilt, against their closed form: the
// truth lies between the two roundings, and both are close to it, also for
// deltas far below what a transform without tilting resolves (pitfall 6).
TEST(LossCompositionTest, BracketsTheClosedFormOfGaussians) {
  for (int64_t uses : {2, 100, 10000}) {
    const double mu = 1.6 / std::sqrt(static_cast<double>(uses));
    for (double delta : {0.2, 1e-5, 1e-15, 1e-60}) {
      const double truth = *GaussianEpsilon(1 / 1.6, delta);
      const double above =
          ComposedEpsilon(Times(GaussianLoss(mu), uses), delta, {});
      const double below = ComposedEpsilon(Times(GaussianLoss(mu), uses), delta,
                                           {.rounding = Rounding::kOptimistic});
      EXPECT_GE(above, truth * (1 - 1e-11)) << uses << ' ' << delta;
      EXPECT_LE(below, truth * (1 + 1e-11)) << uses << ' ' << delta;
      EXPECT_LE(above, truth * (1 + 5e-5)) << uses << ' ' << delta;
      EXPECT_GE(below, truth * (1 - 5e-4)) << uses << ' ' << delta;
    }
    for (double epsilon : {0.5, 3.0, 12.0}) {
      const double truth = *GaussianDelta(1 / 1.6, epsilon);
      const double above =
          ComposedDelta(Times(GaussianLoss(mu), uses), epsilon, {});
      EXPECT_GE(above, truth * (1 - 1e-9)) << uses << ' ' << epsilon;
      EXPECT_LE(above, truth * (1 + 1e-2)) << uses << ' ' << epsilon;
    }
  }
}

// δ of two uses without any grid: E over the first loss of the second's exact
// curve, by the trapezoidal rule over the noise.
double TwoUsesExactly(double q, double mu, bool remove, double epsilon) {
  const auto phi = [](double x) {
    return 0.5 * std::erfc(-x / std::sqrt(2.0));
  };
  const auto log_ratio = [&](double x) {
    return std::log1p(q * std::expm1(mu * x - mu * mu / 2));
  };
  const auto single = [&](double e) {
    // The noise beyond which the loss exceeds e.
    const double excess = (std::exp(remove ? e : -e) - 1 + q) / q;
    if (remove) {
      if (excess <= 0) return 1 - std::exp(e);
      const double x = std::log(excess) / mu + mu / 2;
      const double hit = (1 - q) * phi(-x) + q * phi(mu - x);
      return hit - std::exp(e) * phi(-x);
    }
    if (excess <= 0) return 0.0;
    const double x = std::log(excess) / mu + mu / 2;
    return phi(x) - std::exp(e) * ((1 - q) * phi(x) + q * phi(x - mu));
  };
  double sum = 0;
  constexpr double kStep = 1e-3;
  for (double x = -12; x < mu + 12; x += kStep) {
    const double miss = std::exp(-x * x / 2);
    const double hit = std::exp(-(x - mu) * (x - mu) / 2);
    const double density = remove ? (1 - q) * miss + q * hit : miss;
    sum += density *
           std::max(0.0, single(epsilon - (remove ? 1 : -1) * log_ratio(x)));
  }
  return sum * kStep / std::sqrt(2 * std::numbers::pi);
}

TEST(LossCompositionTest, BracketsTwoSampledUsesComputedWithoutAGrid) {
  for (double q : {0.01, 0.2, 0.7}) {
    for (double mu : {0.5, 1.0, 2.0}) {
      for (bool remove : {true, false}) {
        const auto twice = [&] {
          return Times(remove ? PoissonSampledRemoveLoss(q, mu)
                              : PoissonSampledAddLoss(q, mu),
                       2);
        };
        for (double epsilon : {0.05, 0.3, 1.5}) {
          const double truth = TwoUsesExactly(q, mu, remove, epsilon);
          if (truth < 1e-9) continue;
          EXPECT_GE(ComposedDelta(twice(), epsilon, {}), truth * (1 - 1e-6));
          EXPECT_LE(ComposedDelta(twice(), epsilon, {}), truth * (1 + 5e-3));
          EXPECT_LE(ComposedDelta(twice(), epsilon,
                                  {.rounding = Rounding::kOptimistic}),
                    truth * (1 + 1e-6));
          // And the other way round.
          EXPECT_GE(ComposedEpsilon(twice(), truth, {}), epsilon * (1 - 1e-6))
              << q << ' ' << mu << ' ' << remove << ' ' << epsilon;
          EXPECT_LE(ComposedEpsilon(twice(), truth, {}), epsilon * (1 + 1e-3))
              << q << ' ' << mu << ' ' << remove << ' ' << epsilon;
        }
      }
    }
  }
}

TEST(LossCompositionTest, ASingleUseIsExact) {
  EXPECT_NEAR(ComposedEpsilon(Times(GaussianLoss(0.7), 1), 1e-6, {}),
              *GaussianEpsilon(1 / 0.7, 1e-6), 1e-8);
  EXPECT_NEAR(ComposedDelta(Times(LaplaceLoss(1), 1), 0, {}),
              1 - std::exp(-0.5), 1e-12);
}

// The Laplace mechanism with a whole number of uses has no loss above their
// sum.
TEST(LossCompositionTest, PureMechanismsNeverExceedTheirSum) {
  EXPECT_LE(ComposedEpsilon(Times(LaplaceLoss(0.5), 4), 1e-12, {}),
            2 * (1 + 1e-9));
  EXPECT_NEAR(
      ComposedEpsilon(Times(RandomizedResponseLoss(0.5, 3), 4), 1e-12, {}), 2,
      1e-6);
}

// Binomials by hand: two categories, ten uses.
TEST(LossCompositionTest, RandomizedResponseIsTheBinomialSum) {
  const double epsilon = 1.1;
  const double most = std::exp(epsilon) / (1 + std::exp(epsilon));
  const auto delta_at = [&](double e) {
    double delta = 0;
    for (int k = 0; k <= 10; ++k) {
      const double choose =
          std::tgamma(11.0) / std::tgamma(k + 1.0) / std::tgamma(11.0 - k);
      const double p = choose * std::pow(most, k) * std::pow(1 - most, 10 - k);
      const double q = choose * std::pow(1 - most, k) * std::pow(most, 10 - k);
      delta += std::max(0.0, p - std::exp(e) * q);
    }
    return delta;
  };
  for (double e : {0.0, 1.0, 4.4, 8.0, 10.5}) {
    EXPECT_NEAR(
        ComposedDelta(Times(RandomizedResponseLoss(epsilon, 2), 10), e, {}) /
            delta_at(e),
        1, 1e-8)
        << e;
  }
}

// Outcome by outcome, twice, against the sum over both coordinates.
TEST(LossCompositionTest, DiscreteGaussianIsTheSumOverOutcomes) {
  const double sigma = 1.5;
  const double shift = 2;
  std::vector<double> pmf;
  double total = 0;
  for (int x = -60; x <= 60; ++x) {
    pmf.push_back(std::exp(-x * x / (2 * sigma * sigma)));
    total += pmf.back();
  }
  const auto p = [&](int x) {
    return std::abs(x) > 60 ? 0.0 : pmf[static_cast<size_t>(x + 60)] / total;
  };
  for (double epsilon : {0.3, 2.0, 6.0}) {
    double delta = 0;
    for (int x = -58; x <= 60; ++x) {
      for (int y = -58; y <= 60; ++y) {
        delta += std::max(
            0.0, p(x) * p(y) - std::exp(epsilon) * p(x - 2) * p(y - 2));
      }
    }
    EXPECT_NEAR(ComposedDelta(Times(DiscreteGaussianLoss(sigma, shift), 2),
                              epsilon, {}) /
                    delta,
                1, 1e-7)
        << epsilon;
  }
}

TEST(SmoothDiscreteGaussianTest, TheFactorBoundsEveryOutcome) {
  // One coordinate, one use: rounding a Gaussian at random to integers gives
  // the discrete Gaussian's probabilities up to the factor.
  const double sigma = 2;
  const auto smoothed = SmoothDiscreteGaussian(sigma, 1, 1, 1, 1);
  ASSERT_TRUE(smoothed.has_value());
  const double r_squared = 1 / smoothed->squared_mu;
  const double s_squared = sigma * sigma - r_squared;
  ASSERT_GT(s_squared, 0);
  double total = 0;
  for (int k = -80; k <= 80; ++k) {
    total += std::exp(-k * k / (2 * sigma * sigma));
  }
  for (int x = 0; x <= 8; ++x) {
    double rounded = 0;
    constexpr double kStep = 1e-3;
    for (double y = -20; y < 30; y += kStep) {
      double weights = 0;
      for (int k = -40; k <= 50; ++k) {
        weights += std::exp(-(k - y) * (k - y) / (2 * s_squared));
      }
      rounded += std::exp(-y * y / (2 * r_squared)) *
                 std::exp(-(x - y) * (x - y) / (2 * s_squared)) / weights *
                 kStep;
    }
    rounded /= std::sqrt(2 * std::numbers::pi * r_squared);
    const double exact = std::exp(-x * x / (2 * sigma * sigma)) / total;
    EXPECT_LE(std::abs(std::log(rounded / exact)), smoothed->log_factor + 1e-9)
        << x;
  }
}

TEST(SmoothDiscreteGaussianTest, SmallNoiseInManyCoordinatesIsNotCovered) {
  EXPECT_FALSE(SmoothDiscreteGaussian(0.6, 1, 1'000'000, 1, 100).has_value());
  EXPECT_TRUE(SmoothDiscreteGaussian(4, 1, 1'000'000, 1, 100).has_value());
}

}  // namespace
}  // namespace mledge::accounting_internal
