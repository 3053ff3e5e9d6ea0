#include "mledge/privacy/plan/internal/sum_size.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mledge/core/strings.h"

namespace mledge::plan_internal {
namespace {

// Corrupt devices among the `group` that are drawn from the cohort, at most but
// for a probability of 2^-60: γ·group and what Hoeffding's bound leaves, which
// holds without replacement ("Probability inequalities for sums of bounded
// random variables", JASA 1963, theorem 1 and section 6).
int64_t CorruptInGroup(double fraction, int64_t group, int64_t cohort) {
  const auto size = static_cast<double>(group);
  const double excess = std::sqrt(size * 60 * std::numbers::ln2 / 2);
  return std::min(
      static_cast<int64_t>(std::ceil(fraction * size + excess)),
      static_cast<int64_t>(std::floor(fraction * static_cast<double>(cohort))));
}

}  // namespace

absl::StatusOr<SumSize> SizeOfSums(const v1::Task& task) {
  const v1::SecureAggregation& secure = task.secure_aggregation();
  const int64_t cohort = task.cohort().size();
  const int64_t minimum = task.cohort().minimum();
  const int64_t group = secure.group_size();
  const bool groups = group > 0 && group < cohort;
  const int64_t most = groups ? group : cohort;
  const int64_t fewest =
      std::max<int64_t>(1, groups ? std::min(minimum, group / 2) : minimum);
  // As sessions count them (aggregation/secagg/parameters.h).
  const auto share = [](double fraction, int64_t n) {
    return static_cast<int64_t>(
        std::floor(fraction * static_cast<double>(n) + 1e-6));
  };
  SumSize size = {.most = most,
                  .honest = most,
                  .corrupt_fraction = secure.corrupt_fraction()};
  if (groups) {
    // Largest for the smallest group.
    size.corrupt_fraction = static_cast<double>(CorruptInGroup(
                                secure.corrupt_fraction(), fewest, cohort)) /
                            static_cast<double>(fewest);
  }
  for (int64_t n = fewest; n <= most; ++n) {
    const int64_t alive =
        std::max(secure.least_alive(), n - share(secure.dropout_fraction(), n));
    size.honest = std::min(
        size.honest, std::min(alive, n) - share(size.corrupt_fraction, n));
  }
  if (size.honest < 1) {
    return absl::FailedPreconditionError(StrCat(
        "privacy.mechanism is distributed, and of ", fewest, " to ", most,
        " devices no honest one need be left at the end to add noise: "
        "raise cohort.minimum or secure_aggregation.least_alive, or "
        "lower dropout_fraction"));
  }
  return size;
}

}  // namespace mledge::plan_internal
