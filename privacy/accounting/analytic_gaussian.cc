#include "mledge/privacy/accounting/analytic_gaussian.h"

#include <algorithm>
#include <cmath>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/internal/special_functions.h"

namespace mledge {
namespace {

using accounting_internal::LogNormalCdf;
using accounting_internal::MillsRatio;
using accounting_internal::NormalCdf;

constexpr double kGaussianRoundUp = 1 + 1e-12;

// log δ(ε), by two forms of the same theorem: below zero both terms are the
// normal density at a (e^ε φ(b) = φ(a)) times Mills' ratio, which keeps every
// digit where the terms themselves nearly cancel or underflow.
double LogDelta(double mu, double epsilon) {
  const double a = mu / 2 - epsilon / mu;
  const double b = -mu / 2 - epsilon / mu;
  if (a <= 0) {
    // log of the density's constant, 1/sqrt(2π).
    constexpr double kLogInvSqrtTwoPi = -0.918938533204672741780;
    return kLogInvSqrtTwoPi - a * a / 2 +
           std::log(MillsRatio(a) - MillsRatio(b));
  }
  return std::log(NormalCdf(a) - std::exp(epsilon + LogNormalCdf(b)));
}

absl::Status ValidateMultiplier(double multiplier) {
  if (multiplier > 0 && multiplier <= 1e15) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("noise multiplier ", multiplier,
             ": it must be greater than 0 and at most 1e15"));
}

// The least x in [low, high] at which `enough`, which is false below some point
// and true above it, holds; errs upwards.
template <typename Enough>
double LeastEnough(double low, double high, const Enough& enough) {
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) break;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace

absl::Status ValidateDelta(double delta) {
  if (delta >= 1e-100 && delta < 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("delta is ", delta,
             "; it must be at least 1e-100 and less than 1, and should be "
             "below 1/population"));
}

absl::Status ValidateEpsilon(double epsilon) {
  if (epsilon >= 0 && epsilon <= 1e12) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("epsilon is ", epsilon, "; it must be from 0 to 1e12"));
}

absl::StatusOr<double> GaussianDelta(double multiplier, double epsilon) {
  MLEDGE_RETURN_IF_ERROR(ValidateMultiplier(multiplier));
  MLEDGE_RETURN_IF_ERROR(ValidateEpsilon(epsilon));
  return std::min(
      1.0, std::exp(LogDelta(1 / multiplier, epsilon)) * kGaussianRoundUp);
}

absl::StatusOr<double> GaussianEpsilon(double multiplier, double delta) {
  MLEDGE_RETURN_IF_ERROR(ValidateMultiplier(multiplier));
  MLEDGE_RETURN_IF_ERROR(ValidateDelta(delta));
  const double mu = 1 / multiplier;
  const double log_delta = std::log(delta);
  const auto enough = [&](double epsilon) {
    return LogDelta(mu, epsilon) <= log_delta;
  };
  if (enough(0)) return 0.0;
  double high = mu * mu / 2 + mu;
  while (!enough(high)) high *= 2;
  return LeastEnough(0, high, enough) * kGaussianRoundUp;
}

absl::StatusOr<double> GaussianMultiplier(double epsilon, double delta) {
  MLEDGE_RETURN_IF_ERROR(ValidateEpsilon(epsilon));
  MLEDGE_RETURN_IF_ERROR(ValidateDelta(delta));
  if (epsilon == 0) {
    return absl::InvalidArgumentError(
        "epsilon is 0; it must be greater than 0: no finite noise gives 0");
  }
  const double log_delta = std::log(delta);
  const auto enough = [&](double multiplier) {
    return LogDelta(1 / multiplier, epsilon) <= log_delta;
  };
  double high = 1;
  while (!enough(high)) high *= 2;
  while (enough(high / 2)) high /= 2;
  return LeastEnough(high / 2, high, enough) * kGaussianRoundUp;
}

}  // namespace mledge
