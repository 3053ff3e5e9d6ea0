#include "mledge/privacy/accounting/internal/discrete_smoothing.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mledge::accounting_internal {
namespace {

constexpr double kTwoPiSquared = 2 * std::numbers::pi * std::numbers::pi;
// What all the rounding of coordinates may cost in κ.
constexpr double kLogFactorOfRounding = 1e-7;

// log((1 + η)/(1 - η)), given s²; infinite where η reaches 1.
double LogFactor(double s_squared) {
  const double first = std::exp(-kTwoPiSquared * s_squared);
  // The later terms of η fall faster than a geometric series of ratio first³.
  const double eta = 2 * first / (1 - first * first * first);
  return std::log1p(eta) - std::log1p(-eta);
}

// Σ_{k=1}^{n-1} LogFactor(σ² k/(k+1)): each falls in k, so that those from the
// thousandth on are at most the thousandth.
double LogFactorOfSum(double sigma, int64_t draws) {
  constexpr int64_t kTermByTerm = 1000;
  const auto term = [&](int64_t k) {
    return LogFactor(sigma * sigma * static_cast<double>(k) /
                     static_cast<double>(k + 1));
  };
  double sum = 0;
  for (int64_t k = 1; k < std::min(draws, kTermByTerm); ++k) sum += term(k);
  if (draws > kTermByTerm) {
    sum += static_cast<double>(draws - kTermByTerm) * term(kTermByTerm);
  }
  return sum;
}

}  // namespace

std::optional<SmoothedGaussian> SmoothDiscreteGaussian(double sigma,
                                                       int64_t draws,
                                                       int64_t dimension,
                                                       double l2_sensitivity,
                                                       int64_t uses) {
  const double coordinates =
      static_cast<double>(dimension) * static_cast<double>(uses);
  const double variance = sigma * sigma * static_cast<double>(draws);
  // LogFactor(s²) is about 4 e^(-2π²s²).
  const double s_squared =
      std::log(std::max(2.0, 5 * coordinates / kLogFactorOfRounding)) /
      kTwoPiSquared;
  if (!(s_squared < variance)) return std::nullopt;
  const double log_factor =
      coordinates * (LogFactor(s_squared) + LogFactorOfSum(sigma, draws));
  if (!std::isfinite(log_factor)) return std::nullopt;
  return SmoothedGaussian{.squared_mu = static_cast<double>(uses) *
                                        l2_sensitivity * l2_sensitivity /
                                        (variance - s_squared) * (1 + 1e-12),
                          .log_factor = log_factor * (1 + 1e-12)};
}

}  // namespace mledge::accounting_internal
