#include "mledge/privacy/plan/internal/noise_search.h"

#include <cmath>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::plan_internal {
namespace {

constexpr double kLeast = 1.0 / 64;
constexpr double kMost = 0x1p17;
constexpr double kPrecision = 1e-4;

}  // namespace

absl::Status FindNoiseMultiplier(
    double target,
    const std::function<absl::StatusOr<double>(double)>& epsilon_of) {
  // Too little and too much noise may have no grid at all.
  absl::StatusOr<double> least = absl::UnknownError("");
  const auto suffices = [&](double multiplier) {
    absl::StatusOr<double> epsilon = epsilon_of(multiplier);
    const bool enough = epsilon.ok() && *epsilon <= target;
    if (!least.ok() || (epsilon.ok() && *epsilon < *least)) {
      least = std::move(epsilon);
    }
    return enough;
  };
  double high = 1;
  while (high < kMost && !suffices(high)) high *= 2;
  if (high >= kMost) {
    MLEDGE_RETURN_IF_ERROR(
        Annotate(least.status(), "no noise for privacy.target_epsilon"));
    return absl::InvalidArgumentError(StrCat(
        "privacy.target_epsilon is ", target,
        ", and the most noise that there is a grid for still costs ", *least,
        ": write a larger target, fewer participations, or, with "
        "adaptive clipping, a larger count_noise"));
  }
  double low = high / 2;
  while (low > kLeast && suffices(low)) {
    high = low;
    low /= 2;
  }
  while (high > low * (1 + kPrecision)) {
    const double middle = std::sqrt(low * high);
    (suffices(middle) ? high : low) = middle;
  }
  MLEDGE_ASSIGN_OR_RETURN(const double epsilon, epsilon_of(high));
  if (epsilon <= target) return absl::OkStatus();
  return absl::InternalError(
      StrCat("noise that cost ", target, " costs ", epsilon, " now"));
}

}  // namespace mledge::plan_internal
