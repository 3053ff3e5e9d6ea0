#include "mledge/privacy/accounting/calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/analytic_gaussian.h"

namespace mledge {
namespace {

constexpr double kLeastMultiplier = 1e-3;
constexpr double kMostMultiplier = 1e9;
// A result between these shares of the target is taken.
constexpr double kAccepted = 1 - 2e-4;
constexpr double kAim = 1 - 1e-4;
constexpr int kMostSteps = 80;

// A point of the curve, in logarithms: nearly straight over wide ranges.
struct Point {
  double log_noise = 0;
  double log_epsilon = 0;
};

// Narrows [too little noise, enough noise] until enough is nearly the least.
// `starts_at` is where to look first.
absl::StatusOr<Calibration> Search(
    const std::function<absl::StatusOr<double>(double)>& epsilon_of,
    double target, double starts_at) {
  const double aim = std::log(target * kAim);
  // ε may be 0 or infinite; its logarithm is kept finite.
  const auto clamped_log = [](double epsilon) {
    return std::log(std::clamp(epsilon, 1e-300, 1e300));
  };
  Point little{-std::numeric_limits<double>::infinity(), 0};
  Point enough{std::numeric_limits<double>::infinity(), 0};
  Calibration best{.noise_multiplier = 0};
  double next = std::log(starts_at);
  double stride = 0.05;
  bool halve = false;
  for (int step = 0; step < kMostSteps; ++step) {
    const double noise = std::exp(next);
    MLEDGE_ASSIGN_OR_RETURN(const double epsilon, epsilon_of(noise));
    const Point here{next, clamped_log(epsilon)};
    if (epsilon <= target) {
      best = {noise, epsilon};
      if (epsilon >= target * kAccepted) return best;
      if (noise <= kLeastMultiplier) return best;
      enough = here;
    } else {
      if (noise >= kMostMultiplier) break;
      little = here;
    }
    if (std::isinf(enough.log_noise) || std::isinf(little.log_noise)) {
      // ε falls at least as fast as the noise rises where it is small, twice as
      // fast where it is large; further away at each attempt.
      const double direction = epsilon > target ? 1 : -1;
      const double away =
          std::min(std::abs(here.log_epsilon - aim), 5.0) + stride;
      next = std::clamp(next + direction * away, std::log(kLeastMultiplier),
                        std::log(kMostMultiplier));
      stride *= 2;
      continue;
    }
    if (enough.log_noise - little.log_noise < 1e-12) break;
    // False position, every other step if it gets stuck at one end.
    const double share =
        (little.log_epsilon - aim) / (little.log_epsilon - enough.log_epsilon);
    const bool usable = share > 1e-3 && share < 1 - 1e-3;
    const double width = enough.log_noise - little.log_noise;
    next = little.log_noise + width * (usable && !halve ? share : 0.5);
    halve = usable && !halve && step > 6 && step % 2 == 0;
  }
  if (best.noise_multiplier > 0) return best;
  return absl::FailedPreconditionError(StrCat(
      "no noise multiplier up to ", kMostMultiplier, " reaches epsilon ",
      target, ": the schedule holds something that more noise does not hide"));
}

}  // namespace

absl::StatusOr<Calibration> CalibrateNoise(const EventOfNoise& event_of,
                                           double target_epsilon, double delta,
                                           const AccountantOptions& options) {
  if (!(target_epsilon >= 1e-6 && target_epsilon <= 1e6)) {
    return absl::InvalidArgumentError(StrCat(
        "target epsilon is ", target_epsilon, "; it must be from 1e-6 to 1e6"));
  }
  MLEDGE_RETURN_IF_ERROR(ValidateDelta(delta));
  const auto by = [&](const AccountantOptions& accountant) {
    return [&event_of, &accountant, delta](double noise) {
      return EpsilonOf(event_of(noise), delta, accountant);
    };
  };
  if (options.kind == AccountantKind::kRdp) {
    return Search(by(options), target_epsilon, 1);
  }
  // RDP is a hundred times quicker and somewhat above: it tells where to begin.
  const AccountantOptions quick = {.kind = AccountantKind::kRdp,
                                   .adjacency = options.adjacency};
  const absl::StatusOr<Calibration> start =
      Search(by(quick), target_epsilon, 1);
  return Search(by(options), target_epsilon,
                start.ok() ? start->noise_multiplier : 1);
}

}  // namespace mledge
