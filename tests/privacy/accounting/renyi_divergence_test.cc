#include "mledge/privacy/accounting/renyi_divergence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "mledge/tests/privacy/accounting/sample_events.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;

double Poisson(double q, double multiplier, double order) {
  return PoissonSampledGaussianRenyi(q, multiplier, {&order, 1}).front();
}

struct Known {
  double sampled;
  double multiplier;
  double order;
  double divergence;
};

// Computed with mpmath 1.4 at 30 digits: the moment's integral itself.
TEST(PoissonSampledGaussianRenyiTest, IsTheIntegral) {
  for (const Known& known :
       std::vector<Known>{{0.01, 1, 1.5, 0.00012725374332745},
                          {0.01, 1, 4.3, 0.00039399628381128},
                          {0.01, 1, 32, 11.246275937048},
                          {0.0001, 0.3, 2.5, 0.070616364791559},
                          {0.3, 5, 1.1, 0.0020010306928858},
                          {0.5, 0.6, 7.7, 9.8978424703156},
                          {0.001, 10, 100.5, 5.0552266833293e-7},
                          {0.9, 0.3, 1.1, 5.4589532097694}}) {
    EXPECT_NEAR(Poisson(known.sampled, known.multiplier, known.order) /
                    known.divergence,
                1, 1e-10)
        << known.sampled << ' ' << known.multiplier << ' ' << known.order;
  }
}

// The sum at integers and the quadrature beside them know nothing of each
// other.
TEST(PoissonSampledGaussianRenyiTest, IntegerAndFractionalOrdersMeet) {
  for (double q : {1e-6, 1e-3, 0.2, 0.99}) {
    for (double multiplier : {0.3, 1.0, 20.0}) {
      for (double order : {2.0, 3.0, 11.0, 64.0}) {
        const double left = Poisson(q, multiplier, order - 1e-6);
        const double right = Poisson(q, multiplier, order + 1e-6);
        const double at = Poisson(q, multiplier, order);
        EXPECT_NEAR(at / ((left + right) / 2), 1, 1e-7)
            << q << ' ' << multiplier << ' ' << order;
      }
    }
  }
}

TEST(PoissonSampledGaussianRenyiTest, TheSeriesOfMagnitudesIsNeverBelow) {
  std::vector<double> orders = {1.1, 1.5, 2.5, 4.7, 9.9};
  for (double q : {1e-3, 0.1, 0.5}) {
    for (double multiplier : {0.5, 2.0}) {
      const auto exact = PoissonSampledGaussianRenyi(q, multiplier, orders);
      const auto series = PoissonSampledGaussianRenyi(
          q, multiplier, orders, FractionalOrders::kSeriesOfMagnitudes);
      for (size_t i = 0; i < orders.size(); ++i) {
        EXPECT_GE(series[i], exact[i] * (1 - 1e-9)) << orders[i];
      }
    }
  }
}

// Little noise: the line between integers, above the truth.
TEST(PoissonSampledGaussianRenyiTest, TinyNoiseIsBoundedBetweenIntegers) {
  const double between = Poisson(0.1, 0.05, 2.5) * 1.5;
  EXPECT_NEAR(between, (Poisson(0.1, 0.05, 2) + 2 * Poisson(0.1, 0.05, 3)) / 2,
              1e-9);
}

TEST(PoissonSampledGaussianRenyiTest, CertainSamplingIsTheGaussian) {
  EXPECT_EQ(Poisson(1, 2, 3.5), GaussianRenyi(2, 3.5));
}

TEST(PoissonSampledGaussianRenyiTest, RisesWithSamplingAndFallsWithNoise) {
  double last = 0;
  for (double q : {1e-5, 1e-3, 0.1, 0.5, 0.999, 1.0}) {
    const double divergence = Poisson(q, 1.3, 6.5);
    EXPECT_GT(divergence, last);
    last = divergence;
  }
  for (double multiplier : {1.4, 2.0, 10.0}) {
    EXPECT_LT(Poisson(1, multiplier, 6.5), last);
  }
}

// Computed with mpmath 1.4 at 200 digits: theorem 27 term by term.
TEST(SampledWithoutReplacementGaussianRenyiTest, IsTheTheorem) {
  for (const Known& known :
       std::vector<Known>{{0.01, 0.8, 5, 0.0035037206694901},
                          {0.01, 1.6, 13, 0.0013615992704047},
                          {0.1, 5, 40, 0.030373546074903},
                          {0.001, 2, 8, 4.5588118884859e-6},
                          {0.3, 1, 3, 0.63382454928542}}) {
    EXPECT_NEAR(SampledWithoutReplacementGaussianRenyi(
                    known.sampled, known.multiplier, {&known.order, 1})
                        .front() /
                    known.divergence,
                1, 1e-10)
        << known.sampled << ' ' << known.multiplier;
  }
}

TEST(SampledWithoutReplacementGaussianRenyiTest, NeverExceedsTheWholeSample) {
  for (double order : {1.5, 2.0, 30.0, 300.0}) {
    EXPECT_LE(
        SampledWithoutReplacementGaussianRenyi(0.9, 1, {&order, 1}).front(),
        GaussianRenyi(1, order));
  }
}

// E_Q[(P/Q)^a] by the trapezoidal rule.
double RenyiByIntegration(const std::function<double(double)>& p,
                          const std::function<double(double)>& q,
                          double order) {
  long double sum = 0;
  constexpr double kStep = 1e-4;
  for (double x = -60; x < 60; x += kStep) {
    sum += std::pow(p(x), order) * std::pow(q(x), 1 - order) * kStep;
  }
  return static_cast<double>(std::log(sum)) / (order - 1);
}

TEST(LaplaceRenyiTest, IsTheIntegral) {
  for (double multiplier : {0.7, 2.0}) {
    const auto p = [&](double x) { return 0.5 * std::exp(-std::abs(x)); };
    const auto q = [&](double x) {
      return 0.5 * std::exp(-std::abs(x - 1 / multiplier));
    };
    for (double order : {1.1, 2.0, 7.5}) {
      EXPECT_NEAR(LaplaceRenyi(multiplier, order),
                  RenyiByIntegration(p, q, order), 1e-6);
    }
  }
  // The limit of large orders is pure privacy.
  EXPECT_NEAR(LaplaceRenyi(2, 1e6), 0.5, 1e-5);
}

TEST(RandomizedResponseRenyiTest, IsTheSumOverCategories) {
  for (double epsilon : {0.01, 1.0, 5.0}) {
    for (int64_t k : {2, 3, 50}) {
      const double least = 1 / (std::exp(epsilon) + static_cast<double>(k) - 1);
      const double most = std::exp(epsilon) * least;
      for (double order : {1.1, 3.0, 40.0}) {
        const double moment =
            std::pow(most, order) * std::pow(least, 1 - order) +
            std::pow(least, order) * std::pow(most, 1 - order) +
            static_cast<double>(k - 2) * least;
        EXPECT_NEAR(RandomizedResponseRenyi(epsilon, k, order) /
                        (std::log(moment) / (order - 1)),
                    1, 1e-9)
            << epsilon << ' ' << k << ' ' << order;
      }
    }
  }
  EXPECT_NEAR(RandomizedResponseRenyi(100, 2, 1000), 100, 1e-6);
}

// The formula of proposition 14, as it is printed.
TEST(DistributedDiscreteGaussianRenyiTest, IsTheProposition) {
  for (double sigma : {0.5, 0.9, 3.0}) {
    for (int64_t n : {1, 2, 100, 10000}) {
      const DistributedDiscreteGaussianEvent event{.local_sigma = sigma,
                                                   .honest_clients = n,
                                                   .dimension = 64,
                                                   .l2_sensitivity = 20,
                                                   .l1_sensitivity = 160};
      long double tau = 0;
      for (int64_t k = 1; k < n; ++k) {
        tau += 10 * std::exp(-2 * std::numbers::pi_v<long double> *
                             std::numbers::pi_v<long double> * sigma * sigma *
                             k / (k + 1.0L));
      }
      const long double r2 =
          20 / (std::sqrt(static_cast<long double>(n)) * sigma);
      const long double r1 = 8 * r2;
      const long double a = 5.5;
      const long double expected =
          std::min({a / 2 * r2 * r2 + tau * 64,
                    a / 2 * (r2 * r2 + 2 * r1 * tau + tau * tau * 64),
                    a / 2 * (r2 + 8 * tau) * (r2 + 8 * tau)});
      // From the thousandth client on, the code rounds each term of tau up by
      // at most e^(2π²σ²/1000).
      const double slack =
          n > 1000 ? 3 * std::expm1(2 * std::numbers::pi * std::numbers::pi *
                                    sigma * sigma / 1000)
                   : 0;
      const double bound = DistributedDiscreteGaussianRenyi(event, 5.5);
      EXPECT_GE(bound, static_cast<double>(expected) * (1 - 1e-12));
      EXPECT_LE(bound, static_cast<double>(expected) * (1 + 1e-9 + slack))
          << sigma << ' ' << n;
    }
  }
}

// One client: no sum, so exactly the discrete Gaussian's.
TEST(DistributedDiscreteGaussianRenyiTest, OfOneClientIsTheGaussian) {
  EXPECT_NEAR(DistributedDiscreteGaussianRenyi({.local_sigma = 4,
                                                .honest_clients = 1,
                                                .dimension = 9,
                                                .l2_sensitivity = 3,
                                                .l1_sensitivity = 5},
                                               7.5),
              GaussianRenyi(4.0 / 3, 7.5), 1e-12);
}

// The formula of corollary 3.6, as it is printed.
TEST(SkellamRenyiTest, IsTheCorollaryAtIntegerOrders) {
  for (double mu : {4.0, 900.0, 1e7}) {
    for (double a : {2.0, 5.0, 64.0}) {
      const double l2 = 20;
      const double l1 = 160;
      const double expected =
          a * l2 * l2 / (2 * mu) +
          std::min(((2 * a - 1) * l2 * l2 + 6 * l1) / (4 * mu * mu),
                   3 * l1 / (2 * mu));
      EXPECT_NEAR(SkellamRenyi({mu, l2, l1}, a) / expected, 1, 1e-12);
    }
  }
  EXPECT_EQ(SkellamRenyi({900, 20, 160}, 2.5),
            std::numeric_limits<double>::infinity());
}

// The bound lies above the exact divergence in one dimension.
TEST(SkellamRenyiTest, IsAboveTheExactDivergence) {
  for (double mu : {8.0, 20.0}) {
    // pmf of the difference of two Poisson variables of mean mu/2.
    const auto pmf = [&](int64_t x) {
      return std::exp(-mu) *
             std::cyl_bessel_i(std::abs(static_cast<double>(x)), mu);
    };
    for (double a : {2.0, 4.0, 8.0}) {
      long double sum = 0;
      for (int64_t x = -35; x <= 35; ++x) {
        sum += std::pow(static_cast<long double>(pmf(x)), a) *
               std::pow(static_cast<long double>(pmf(x - 2)), 1 - a);
      }
      EXPECT_GE(SkellamRenyi({mu, 2, 2}, a),
                static_cast<double>(std::log(sum)) / (a - 1))
          << mu << ' ' << a;
    }
  }
}

TEST(RenyiDivergencesTest, ReplacingDoublesTheDistance) {
  const std::vector<double> orders = {2, 8};
  const auto one = [&](const PrivacyEvent& event, Adjacency adjacency) {
    return RenyiDivergences(event, adjacency, orders)->back();
  };
  for (const PrivacyEvent& event :
       {PrivacyEvent{GaussianEvent{2}},
        PrivacyEvent{DiscreteGaussianEvent{40, 10, 100, 1000}}}) {
    EXPECT_NEAR(
        one(event, Adjacency::kReplaceOne) / one(event, Adjacency::kZeroOut), 4,
        1e-12)
        << EventName(event);
  }
  EXPECT_DOUBLE_EQ(one({LaplaceEvent{3}}, Adjacency::kReplaceOne),
                   LaplaceRenyi(1.5, 8));
  EXPECT_DOUBLE_EQ(one({SkellamEvent{9000, 20, 160}}, Adjacency::kReplaceOne),
                   SkellamRenyi({9000, 40, 320}, 8));
  // Randomized response is about replacing in the first place.
  EXPECT_EQ(one({RandomizedResponseEvent{1, 4}}, Adjacency::kReplaceOne),
            one({RandomizedResponseEvent{1, 4}}, Adjacency::kZeroOut));
}

TEST(RenyiDivergencesTest, RefusesWhatItDoesNotCover) {
  const std::vector<double> orders = {2};
  EXPECT_THAT(RenyiDivergences(Repeated({GaussianEvent{1}}, 2),
                               Adjacency::kZeroOut, orders),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(RenyiDivergences({PoissonSampledGaussianEvent{0.1, 1}},
                               Adjacency::kReplaceOne, orders),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(RenyiDivergences({GaussianEvent{0}}, Adjacency::kZeroOut, orders),
              StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge
