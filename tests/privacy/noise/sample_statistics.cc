#include "mledge/tests/privacy/noise/sample_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace mledge {
namespace {

constexpr double kLeastExpected = 25;

// P[a chi-square variable of that many degrees of freedom ≥ statistic].
double UpperTail(double statistic, int degrees_of_freedom) {
  const double k = degrees_of_freedom;
  const double z =
      (std::cbrt(statistic / k) - (1 - 2 / (9 * k))) / std::sqrt(2 / (9 * k));
  return std::erfc(z / std::sqrt(2.0)) / 2;
}

}  // namespace

std::map<int64_t, int64_t> Histogram(std::span<const int32_t> draws) {
  std::map<int64_t, int64_t> histogram;
  for (const int32_t draw : draws) ++histogram[draw];
  return histogram;
}

ChiSquare ChiSquareTest(const std::map<int64_t, int64_t>& histogram,
                        const std::function<double(int64_t)>& pmf,
                        int64_t largest) {
  int64_t draws = 0;
  for (const auto& [value, count] : histogram) draws += count;
  ChiSquare result;
  int cells = 0;
  double expected = 0;
  double observed = 0;
  double last_expected = 0;
  double last_observed = 0;
  const auto close_cell = [&] {
    const double difference = observed - expected;
    result.statistic += difference * difference / expected;
    ++cells;
    last_expected = expected;
    last_observed = observed;
    expected = 0;
    observed = 0;
  };
  for (int64_t x = -largest; x <= largest; ++x) {
    expected += pmf(x) * static_cast<double>(draws);
    const auto found = histogram.find(x);
    if (found != histogram.end()) {
      observed += static_cast<double>(found->second);
    }
    if (expected >= kLeastExpected) close_cell();
  }
  // What is left in the upper tail joins the last cell.
  const double difference = last_observed - last_expected;
  result.statistic -= difference * difference / last_expected;
  --cells;
  expected += last_expected;
  observed += last_observed;
  close_cell();
  result.degrees_of_freedom = cells - 1;
  result.p_value = UpperTail(result.statistic, result.degrees_of_freedom);
  return result;
}

DiscreteGaussianPmf::DiscreteGaussianPmf(double variance)
    : variance_(variance) {
  const auto largest =
      static_cast<int64_t>(std::ceil(15 * std::sqrt(variance))) + 1;
  for (int64_t x = largest; x >= -largest; --x) {
    const long double square = static_cast<long double>(x) * x;
    total_ += std::exp(-square / (2 * variance_));
  }
}

double DiscreteGaussianPmf::operator()(int64_t x) const {
  const long double square = static_cast<long double>(x) * x;
  return static_cast<double>(std::exp(-square / (2 * variance_)) / total_);
}

double SkellamPmf(double variance, int64_t x) {
  const double mean = variance / 2;
  const auto k = static_cast<double>(std::abs(x));
  // Σ_j P[j + k] P[j]; terms matter where both are near the mean.
  const double width = 12 * std::sqrt(mean) + 40;
  const double middle = (std::sqrt(k * k + variance * variance) - k) / 2;
  double sum = 0;
  for (auto j = std::max(0.0, std::floor(middle - width)); j < middle + width;
       ++j) {
    sum += std::exp((2 * j + k) * std::log(mean) - std::lgamma(j + 1) -
                    std::lgamma(j + k + 1) - variance);
  }
  return sum;
}

}  // namespace mledge
