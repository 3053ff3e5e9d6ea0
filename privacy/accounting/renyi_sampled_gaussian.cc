// The sampled Gaussians of renyi_divergence.h.

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <vector>

#include "mledge/privacy/accounting/internal/special_functions.h"
#include "mledge/privacy/accounting/renyi_divergence.h"

namespace mledge {
namespace {

using accounting_internal::LogAdd;
using accounting_internal::LogBinomial;
using accounting_internal::LogFactorial;
using accounting_internal::LogNormalCdf;
using accounting_internal::LogSumExp;

using accounting_internal::kInfinity;

// log(e^x - 1) for x > 0.
double LogExpm1(double x) {
  return x > 30 ? x + std::log1p(-std::exp(-x)) : std::log(std::expm1(x));
}
// log(1 + e^x).
double Log1pExp(double x) {
  return x > 30 ? x + std::exp(-x) : std::log1p(std::exp(x));
}

bool IsInteger(double order) { return order == std::floor(order); }

// (1+u)^a - 1 - a·u for u > -1, a > 1, given log(1+u).
double ConvexExcess(double u, double log1p_u, double order) {
  if (std::abs(order * u) < 1e-4) {
    // The first terms cancel otherwise; what is left out is below 1e-16 of it.
    return order * (order - 1) / 2 * u * u *
           (1 + (order - 2) / 3 * u *
                    (1 + (order - 3) / 4 * u * (1 + (order - 4) / 5 * u)));
  }
  return std::expm1(order * log1p_u) - order * u;
}

// log E_Q[(P/Q)^a] at every integer order of the Poisson-sampled Gaussian.
class BinomialSum {
 public:
  BinomialSum(double sampling_probability, double multiplier)
      : log_miss_(std::log1p(-sampling_probability)),
        log_odds_(std::log(sampling_probability) - log_miss_),
        rate_(1 / (2 * multiplier * multiplier)) {}

  // (a - 1) D_a.
  double LogMoment(int64_t order) {
    for (int64_t k = static_cast<int64_t>(terms_.size()) + 2; k <= order; ++k) {
      const double x = static_cast<double>(k);
      terms_.push_back(x * log_odds_ + LogExpm1(x * (x - 1) * rate_) -
                       LogFactorial(k));
    }
    summands_.clear();
    for (int64_t k = 2; k <= order; ++k) {
      summands_.push_back(terms_[k - 2] - LogFactorial(order - k));
    }
    const double log_excess = LogSumExp(summands_) + LogFactorial(order) +
                              static_cast<double>(order) * log_miss_;
    return Log1pExp(log_excess);
  }

 private:
  const double log_miss_;
  const double log_odds_;
  const double rate_;
  // For k = 2, 3, ...: log((q/(1-q))^k (e^(k(k-1)/2z²) - 1) / k!).
  std::vector<double> terms_;
  std::vector<double> summands_;
};

// The same at any order up to a largest one, by the trapezoidal rule. The
// integrand is analytic within ±iπ·multiplier² of the real axis.
class Quadrature {
 public:
  Quadrature(double sampling_probability, double multiplier,
             double largest_order) {
    const double q = sampling_probability;
    const double variance = multiplier * multiplier;
    const double step = std::min(multiplier / 2.5, variance / 2.2);
    const double low = -9.5 * multiplier;
    const double high = largest_order + 9.5 * multiplier;
    const int64_t nodes = static_cast<int64_t>((high - low) / step) + 2;
    const double log_scale =
        std::log(step / multiplier) - 0.5 * std::log(2 * std::numbers::pi);
    for (int64_t i = 0; i < nodes; ++i) {
      const double x = low + static_cast<double>(i) * step;
      const double exponent = (2 * x - 1) / (2 * variance);
      const double u = exponent < 700 ? q * std::expm1(exponent) : kInfinity;
      log_ratio_.push_back(u < 1e300 ? std::log1p(u) : exponent + std::log(q));
      excess_.push_back(u);
      log_weight_.push_back(log_scale - x * x / (2 * variance));
      weight_.push_back(std::exp(log_weight_.back()));
    }
  }

  double LogMoment(double order) const {
    double largest = -kInfinity;
    for (size_t i = 0; i < weight_.size(); ++i) {
      largest = std::max(largest, order * log_ratio_[i] + log_weight_[i]);
    }
    if (order * log_ratio_.back() > 300) {
      // Too large for a double somewhere. The moment less 1 is then recovered
      // from logarithms, unless 1 is all there is.
      double sum = 0;
      for (size_t i = 0; i < weight_.size(); ++i) {
        const double term = order * log_ratio_[i];
        sum += term < 300
                   ? weight_[i] *
                         ConvexExcess(excess_[i], log_ratio_[i], order) *
                         std::exp(-std::max(largest, 0.0))
                   : std::exp(term + log_weight_[i] - std::max(largest, 0.0));
      }
      return Log1pExp(std::log(sum) + std::max(largest, 0.0));
    }
    double sum = 0;
    for (size_t i = 0; i < weight_.size(); ++i) {
      sum += weight_[i] * ConvexExcess(excess_[i], log_ratio_[i], order);
    }
    return std::log1p(sum);
  }

 private:
  std::vector<double> excess_;     // P/Q - 1 at each node
  std::vector<double> log_ratio_;  // log P/Q
  std::vector<double> weight_;     // Q's density times the step
  std::vector<double> log_weight_;
};

// log of the two series of section 3.3 of Mironov, Talwar, Zhang, the integral
// below and above the point where both parts of the mixture weigh the same,
// with every term's magnitude: at least (a - 1) D_a, infinite where 1000 terms
// do not suffice.
double LogMomentBySeries(double q, double multiplier, double order) {
  constexpr int kMostTerms = 1000;
  const double variance = multiplier * multiplier;
  const double log_hit = std::log(q);
  const double log_miss = std::log1p(-q);
  const double split = variance * (log_miss - log_hit) + 0.5;
  double log_binomial = 0;  // of |order choose i|
  double sum = -kInfinity;
  double last_below = -kInfinity;
  double last_above = -kInfinity;
  for (int i = 0; i < kMostTerms; ++i) {
    const double rest = order - i;
    const double below = log_binomial + i * log_hit + rest * log_miss +
                         (i * (i - 1.0)) / (2 * variance) +
                         LogNormalCdf((split - i) / multiplier);
    const double above = log_binomial + rest * log_hit + i * log_miss +
                         rest * (rest - 1) / (2 * variance) +
                         LogNormalCdf((rest - split) / multiplier);
    sum = LogAdd(sum, LogAdd(below, above));
    if (below < last_below && above < last_above &&
        std::max(below, above) < sum - 30) {
      return sum;
    }
    last_below = below;
    last_above = above;
    log_binomial += std::log(std::abs(rest) / (i + 1));
  }
  return kInfinity;
}

// log E_{x ~ N(0,1)}[(e^(x/z - 1/2z²) - 1)^l] for an even l >= 2: the l-th
// forward difference at 0 of e^(i(i-1)/2z²), which cancels beyond all digits
// where it is added up term by term. The trapezoidal rule adds positive terms.
double LogEvenDifference(int64_t l, double multiplier) {
  const double rate = 1 / multiplier;
  const double exponent = static_cast<double>(l);
  // Terms lie around x = l·rate where the exponential rules, and within
  // sqrt(l) of 0 where it does not.
  const double reach = std::sqrt(exponent) + 9.5;
  const double low = -reach;
  const double high = exponent * rate + reach;
  // Gaussians of width 1, shifted: the rule errs by e^(-2π²/step²).
  const double step = 0.4;
  std::vector<double> logs;
  for (double x = low; x <= high; x += step) {
    const double y = x * rate - rate * rate / 2;
    const double log_difference =
        y > 0 ? LogExpm1(y) : std::log(-std::expm1(y));
    logs.push_back(exponent * log_difference - x * x / 2);
  }
  return LogSumExp(logs) + std::log(step) -
         0.5 * std::log(2 * std::numbers::pi);
}

// Theorem 27 of Wang, Balle, Kasiviswanathan at integer orders.
class WithoutReplacementBound {
 public:
  WithoutReplacementBound(double sampled, double multiplier)
      : log_sampled_(std::log(sampled)), multiplier_(multiplier) {}

  // (a - 1) D_a, at most.
  double LogMoment(int64_t order) {
    summands_.clear();
    for (int64_t j = 2; j <= order; ++j) {
      summands_.push_back(LogBinomial(order, j) +
                          static_cast<double>(j) * log_sampled_ +
                          LogCoefficient(j));
    }
    return order < 2 ? 0 : Log1pExp(LogSumExp(summands_));
  }

 private:
  double LogCoefficient(int64_t j) {
    const double x = static_cast<double>(j);
    // log 2 e^((j-1) D_j) of the Gaussian itself.
    const double plain =
        std::numbers::ln2 + x * (x - 1) / (2 * multiplier_ * multiplier_);
    // Beyond this order the differences no longer matter, only cost.
    constexpr int64_t kLargestDifference = 256;
    if (j > kLargestDifference) return plain;
    if (!coefficients_.contains(j)) {
      const double differences =
          j == 2 ? Difference(2)
                 : 0.5 * (Difference(j / 2 * 2) + Difference((j + 1) / 2 * 2));
      coefficients_[j] = std::min(plain, 2 * std::numbers::ln2 + differences);
    }
    return coefficients_[j];
  }
  double Difference(int64_t l) {
    const auto [found, added] = differences_.try_emplace(l, 0);
    if (added) {
      found->second = l == 2 ? LogExpm1(1 / (multiplier_ * multiplier_))
                             : LogEvenDifference(l, multiplier_);
    }
    return found->second;
  }

  const double log_sampled_;
  const double multiplier_;
  std::map<int64_t, double> coefficients_;
  std::map<int64_t, double> differences_;
  std::vector<double> summands_;
};

// (a - 1) D_a is convex in a, so that between two integers it lies below the
// line through its values there; at 1 it is 0.
template <typename IntegerOrders>
double BetweenIntegers(IntegerOrders& at, double order) {
  const double below = std::floor(order);
  const double share = order - below;
  const double low = below < 2 ? 0 : at.LogMoment(static_cast<int64_t>(below));
  const double high = at.LogMoment(static_cast<int64_t>(below) + 1);
  return (1 - share) * low + share * high;
}

}  // namespace

std::vector<double> PoissonSampledGaussianRenyi(double sampling_probability,
                                                double multiplier,
                                                std::span<const double> orders,
                                                FractionalOrders fractional) {
  std::vector<double> result;
  if (sampling_probability == 1) {
    for (double order : orders) {
      result.push_back(GaussianRenyi(multiplier, order));
    }
    return result;
  }
  constexpr double kLeastMultiplierForQuadrature = 0.1;
  const bool by_series = fractional == FractionalOrders::kSeriesOfMagnitudes;
  const bool quadrature_applies =
      !by_series && multiplier >= kLeastMultiplierForQuadrature;
  double largest = 0;
  for (double order : orders) {
    if (!IsInteger(order)) largest = std::max(largest, order);
  }
  BinomialSum sum(sampling_probability, multiplier);
  const Quadrature quadrature(sampling_probability,
                              quadrature_applies ? multiplier : 1,
                              quadrature_applies ? largest : 0);
  for (double order : orders) {
    double log_moment = 0;
    if (IsInteger(order)) {
      log_moment = sum.LogMoment(static_cast<int64_t>(order));
    } else if (by_series) {
      log_moment = LogMomentBySeries(sampling_probability, multiplier, order);
    } else if (quadrature_applies) {
      log_moment = quadrature.LogMoment(order);
    } else {
      log_moment = BetweenIntegers(sum, order);
    }
    result.push_back(log_moment / (order - 1));
  }
  return result;
}

std::vector<double> SampledWithoutReplacementGaussianRenyi(
    double sampled, double multiplier, std::span<const double> orders) {
  WithoutReplacementBound bound(sampled, multiplier);
  std::vector<double> result;
  for (double order : orders) {
    if (sampled == 1) {
      result.push_back(GaussianRenyi(multiplier, order));
      continue;
    }
    const double log_moment = IsInteger(order)
                                  ? bound.LogMoment(static_cast<int64_t>(order))
                                  : BetweenIntegers(bound, order);
    // Sampling never makes it worse.
    result.push_back(
        std::min(log_moment / (order - 1), GaussianRenyi(multiplier, order)));
  }
  return result;
}

}  // namespace mledge
