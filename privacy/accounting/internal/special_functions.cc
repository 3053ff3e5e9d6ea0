#include "mledge/privacy/accounting/internal/special_functions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace mledge::accounting_internal {
namespace {

constexpr double kInvSqrt2 = 1 / std::numbers::sqrt2;
const double kSqrtHalfPi = std::sqrt(std::numbers::pi / 2);
// log(sqrt(2π))
const double kLogSqrtTwoPi = 0.5 * std::log(2 * std::numbers::pi);

// From here on the asymptotic series of Mills' ratio has a relative error below
// 1e-16, and erfc below is still far from underflow.
constexpr double kAsymptoticFrom = 20;

}  // namespace

double NormalCdf(double x) { return 0.5 * std::erfc(-x * kInvSqrt2); }

double MillsRatio(double x) {
  const double t = -x;
  if (t > kAsymptoticFrom) {
    // 1/t · (1 - 1/t² + 3/t⁴ - 15/t⁶ + ...)
    const double s = 1 / (t * t);
    double term = 1;
    double sum = 1;
    for (int k = 1; k <= 12; ++k) {
      term *= -(2 * k - 1) * s;
      sum += term;
    }
    return sum / t;
  }
  return kSqrtHalfPi * std::exp(t * t / 2) * std::erfc(t * kInvSqrt2);
}

double LogNormalCdf(double x) {
  if (x > -kAsymptoticFrom) {
    // log1p keeps the digits of a probability close to 1.
    return x > 0 ? std::log1p(-NormalCdf(-x)) : std::log(NormalCdf(x));
  }
  return std::log(MillsRatio(x)) - x * x / 2 - kLogSqrtTwoPi;
}

double LogFactorial(int64_t n) {
  constexpr int64_t kTable = 8192;
  static const std::vector<double>& table = *[] {
    auto* logs = new std::vector<double>(kTable);
    long double sum = 0;
    for (int64_t i = 1; i < kTable; ++i) {
      sum += std::log(static_cast<long double>(i));
      (*logs)[i] = static_cast<double>(sum);
    }
    return logs;
  }();
  if (n < kTable) return table[n];
  // Stirling's series; its first left-out term is below 1e-30.
  const double x = static_cast<double>(n) + 1;
  const double s = 1 / (x * x);
  return (x - 0.5) * std::log(x) - x + kLogSqrtTwoPi +
         (1.0 / 12 - s * (1.0 / 360 - s / 1260)) / x;
}

double LogBinomial(int64_t n, int64_t k) {
  return LogFactorial(n) - LogFactorial(k) - LogFactorial(n - k);
}

double LogSumExp(std::span<const double> values) {
  double most = -kInfinity;
  for (double value : values) most = std::max(most, value);
  if (std::isinf(most)) return most;
  double sum = 0;
  for (double value : values) sum += std::exp(value - most);
  return most + std::log(sum);
}

double LogAdd(double a, double b) {
  if (a < b) std::swap(a, b);
  if (b == -kInfinity) return a;
  return a + std::log1p(std::exp(b - a));
}

double Log1mExp(double x) {
  return x > -0.6931 ? std::log(-std::expm1(x)) : std::log1p(-std::exp(x));
}

}  // namespace mledge::accounting_internal
