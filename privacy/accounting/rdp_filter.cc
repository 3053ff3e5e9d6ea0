#include "mledge/privacy/accounting/rdp_filter.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/privacy/accounting/internal/flatten.h"
#include "mledge/privacy/accounting/rdp_accountant.h"
#include "mledge/privacy/accounting/renyi_divergence.h"

namespace mledge {
namespace {

// More than summing divergences can lose.
constexpr double kSumRoundUp = 1 + 1e-11;
constexpr double kMostUses = 1e12;

// The largest divergence of an order that still is (epsilon, delta), by the
// improved conversion solved for rdp.
double BudgetAt(double order, double epsilon, double delta) {
  return epsilon - std::log1p(-1 / order) +
         (std::log(delta) + std::log(order)) / (order - 1);
}

// Divergence of `event`, `count` times, at each of `orders`.
absl::StatusOr<std::vector<double>> Divergences(
    const PrivacyEvent& event, int64_t count, Adjacency adjacency,
    const std::vector<double>& orders) {
  std::vector<accounting_internal::CountedEvent> events;
  MLEDGE_RETURN_IF_ERROR(
      accounting_internal::AddFlattened(event, count, adjacency, &events));
  std::vector<double> sum(orders.size(), 0);
  for (const auto& [leaf, uses] : events) {
    MLEDGE_ASSIGN_OR_RETURN(const std::vector<double> rdp,
                            RenyiDivergences(leaf, adjacency, orders));
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += static_cast<double>(uses) * rdp[i] * kSumRoundUp;
    }
  }
  return sum;
}

}  // namespace

absl::StatusOr<RdpFilter> RdpFilter::Create(const Options& options) {
  MLEDGE_RETURN_IF_ERROR(ValidateDelta(options.delta));
  MLEDGE_RETURN_IF_ERROR(ValidateEpsilon(options.epsilon));
  if (options.epsilon == 0) {
    return absl::InvalidArgumentError(
        "the budget's epsilon is 0; it must be greater than 0");
  }
  const std::vector<double>& orders = DefaultRdpOrders();
  MLEDGE_ASSIGN_OR_RETURN(
      const std::vector<double> typical,
      Divergences(options.typical, 1, options.adjacency, orders));
  double most_uses = 0;
  size_t best = 0;
  for (size_t i = 0; i < orders.size(); ++i) {
    const double uses =
        BudgetAt(orders[i], options.epsilon, options.delta) / typical[i];
    if (uses > most_uses) {
      most_uses = uses;
      best = i;
    }
  }
  if (most_uses == 0) {
    return absl::FailedPreconditionError(StrCat(
        "a budget of epsilon ", options.epsilon, " at delta ", options.delta,
        " leaves nothing for ", EventName(options.typical), " at any order"));
  }
  return RdpFilter(options, orders[best],
                   BudgetAt(orders[best], options.epsilon, options.delta));
}

absl::StatusOr<double> RdpFilter::Cost(const PrivacyEvent& event,
                                       int64_t count) const {
  MLEDGE_ASSIGN_OR_RETURN(
      const std::vector<double> cost,
      Divergences(event, count, options_.adjacency, {order_}));
  return cost.front();
}

absl::StatusOr<bool> RdpFilter::WouldExceed(const PrivacyEvent& event,
                                            int64_t count) const {
  MLEDGE_ASSIGN_OR_RETURN(const double cost, Cost(event, count));
  return !((spent_ + cost) * kSumRoundUp <= budget_);
}

absl::Status RdpFilter::Charge(const PrivacyEvent& event, int64_t count) {
  MLEDGE_ASSIGN_OR_RETURN(const bool exceeds, WouldExceed(event, count));
  if (exceeds) {
    MLEDGE_ASSIGN_OR_RETURN(const int64_t uses, RemainingUses(event));
    return absl::ResourceExhaustedError(
        StrCat(EventName(event), ", ", count, " times: beyond the budget of ",
               "epsilon ", options_.epsilon, " at delta ", options_.delta, "; ",
               uses, " times would fit, ", 100 * RemainingShare(),
               " % of the budget is left"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const double cost, Cost(event, count));
  spent_ += cost;
  return absl::OkStatus();
}

absl::StatusOr<int64_t> RdpFilter::RemainingUses(
    const PrivacyEvent& event) const {
  MLEDGE_ASSIGN_OR_RETURN(const double cost, Cost(event, 1));
  if (cost == 0) return static_cast<int64_t>(kMostUses);
  const double uses =
      std::floor((budget_ / kSumRoundUp - spent_) / cost * (1 - 1e-14));
  int64_t count = static_cast<int64_t>(std::clamp(uses, 0.0, kMostUses));
  // The quotient's rounding must not promise one more than `Charge` takes.
  while (count > 0) {
    MLEDGE_ASSIGN_OR_RETURN(const bool exceeds, WouldExceed(event, count));
    if (!exceeds) break;
    --count;
  }
  return count;
}

double RdpFilter::RemainingShare() const {
  return std::max(0.0, 1 - spent_ / budget_);
}

}  // namespace mledge
