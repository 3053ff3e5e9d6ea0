#include "mledge/privacy/accounting/calibration.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

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
constexpr int kMostAttempts = 80;

// A point of the curve, in logarithms: nearly straight over wide ranges.
struct Point {
  double log_noise = 0;
  double log_epsilon = 0;
};

using EpsilonOfNoise = std::function<absl::StatusOr<double>(double)>;

// Where to look first, and about d log ε / d log noise there.
struct Start {
  double noise_multiplier = 1;
  double slope = -1.5;
};

// The secant through the last two points, kept between the largest noise that
// was too little and the least that was enough; halves that interval where the
// secant leaves it or is slow.
absl::StatusOr<Calibration> Search(const EpsilonOfNoise& epsilon_of,
                                   double target, Start start) {
  constexpr int kPatience = 12;
  constexpr double kLongestStep = 5;
  const double aim = std::log(target * kAim);
  const double least = std::log(kLeastMultiplier);
  const double most = std::log(kMostMultiplier);
  double little = least;
  double enough = most;
  std::optional<Point> last;
  Calibration best;
  double next = std::log(start.noise_multiplier);
  double slope = start.slope;
  for (int step = 0; step < kMostAttempts; ++step) {
    const double noise = std::exp(next);
    MLEDGE_ASSIGN_OR_RETURN(const double epsilon, epsilon_of(noise));
    // ε may be 0 or infinite; its logarithm is kept finite.
    const Point here{next, std::log(std::clamp(epsilon, 1e-300, 1e300))};
    if (epsilon <= target) {
      best = {noise, epsilon};
      if (epsilon >= target * kAccepted || next <= least) return best;
      enough = next;
    } else {
      if (next >= most) break;
      little = next;
    }
    if (enough - little < 1e-12) break;
    if (last.has_value() && last->log_noise != here.log_noise) {
      slope = (here.log_epsilon - last->log_epsilon) /
              (here.log_noise - last->log_noise);
    }
    last = here;
    next = here.log_noise +
           std::clamp((aim - here.log_epsilon) / std::min(slope, -0.05),
                      -kLongestStep, kLongestStep);
    const bool bounded = little > least && enough < most;
    if (next <= little || next >= enough) {
      next = bounded ? (little + enough) / 2 : std::clamp(next, least, most);
    } else if (bounded && step > kPatience) {
      next = (little + enough) / 2;
    }
  }
  if (best.noise_multiplier > 0) return best;
  return absl::FailedPreconditionError(StrCat(
      "no noise multiplier up to ", kMostMultiplier, " reaches epsilon ",
      target, ": the schedule holds something that more noise does not hide"));
}

// By RDP, which is a hundred times quicker and somewhat above.
Start QuickStart(const EpsilonOfNoise& epsilon_of, double target) {
  const absl::StatusOr<Calibration> found = Search(epsilon_of, target, {});
  if (!found.ok()) return {};
  Start start{.noise_multiplier = found->noise_multiplier};
  constexpr double kAside = 1.05;
  const absl::StatusOr<double> aside =
      epsilon_of(found->noise_multiplier * kAside);
  if (aside.ok() && *aside > 0 && found->epsilon > 0) {
    start.slope = std::log(*aside / found->epsilon) / std::log(kAside);
  }
  return start;
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
    return Search(by(options), target_epsilon, {});
  }
  const AccountantOptions quick = {.kind = AccountantKind::kRdp,
                                   .adjacency = options.adjacency};
  return Search(by(options), target_epsilon,
                QuickStart(by(quick), target_epsilon));
}

}  // namespace mledge
