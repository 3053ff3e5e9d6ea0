#include "mledge/privacy/accounting/rdp_accountant.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/privacy/accounting/internal/gaussian_fold.h"
#include "mledge/privacy/accounting/internal/special_functions.h"

namespace mledge {
namespace {

using accounting_internal::kInfinity;
constexpr double kLargestOrder = 1e6;
// More than the arithmetic of a divergence can lose.
constexpr double kRoundUp = 1 + 1e-11;

double EpsilonAt(double order, double rdp, double delta,
                 RdpConversion conversion) {
  if (rdp == kInfinity) return kInfinity;
  if (conversion == RdpConversion::kClassic) {
    return rdp - std::log(delta) / (order - 1);
  }
  if (delta * delta + std::expm1(-rdp) > 0) return 0;
  return std::max(0.0, rdp + std::log1p(-1 / order) -
                           (std::log(delta) + std::log(order)) / (order - 1));
}

double LogDeltaAt(double order, double rdp, double epsilon,
                  RdpConversion conversion) {
  if (rdp == kInfinity) return 0;
  if (conversion == RdpConversion::kClassic) {
    return std::min(0.0, (order - 1) * (rdp - epsilon));
  }
  const double by_total_variation = 0.5 * std::log(-std::expm1(-rdp));
  return std::min({0.0, by_total_variation,
                   (order - 1) * (rdp - epsilon + std::log1p(-1 / order)) -
                       std::log(order)});
}

// The index of the least of `values`.
size_t Best(const std::vector<double>& values) {
  return static_cast<size_t>(std::ranges::min_element(values) - values.begin());
}

absl::Status CheckOrders(const std::vector<double>& orders) {
  for (double order : orders) {
    if (!(order > 1 && order <= kLargestOrder)) {
      return absl::InvalidArgumentError(
          StrCat("order ", order,
                 " of Rényi divergence: it must be greater "
                 "than 1 and at most ",
                 kLargestOrder));
    }
  }
  return absl::OkStatus();
}

}  // namespace

RdpEpsilonResult RdpToEpsilon(std::span<const double> orders,
                              std::span<const double> rdp, double delta,
                              RdpConversion conversion) {
  RdpEpsilonResult best{.epsilon = kInfinity};
  for (size_t i = 0; i < orders.size(); ++i) {
    const double epsilon = EpsilonAt(orders[i], rdp[i], delta, conversion);
    if (epsilon < best.epsilon) best = {epsilon, orders[i]};
  }
  best.epsilon *= kRoundUp;
  return best;
}

double RdpToDelta(std::span<const double> orders, std::span<const double> rdp,
                  double epsilon, RdpConversion conversion) {
  double least = 0;
  for (size_t i = 0; i < orders.size(); ++i) {
    least = std::min(least, LogDeltaAt(orders[i], rdp[i], epsilon, conversion));
  }
  return std::min(1.0, std::exp(least) * kRoundUp);
}

const std::vector<double>& DefaultRdpOrders() {
  static const std::vector<double>& orders = *[] {
    auto* all = new std::vector<double>{1.02, 1.05};
    for (int tenth = 1; tenth < 100; ++tenth) {
      all->push_back(1 + tenth / 10.0);
    }
    for (int order = 11; order <= 64; ++order) all->push_back(order);
    // Eight to each doubling.
    for (int base = 64; base < 4096; base *= 2) {
      const int eighth = base / 8;
      for (int i = 1; i <= 8; ++i) all->push_back(base + i * eighth);
    }
    return all;
  }();
  return orders;
}

absl::StatusOr<std::vector<double>> ParseOrders(std::string_view text) {
  constexpr double kLongestRange = 1e5;
  std::vector<double> orders;
  for (absl::string_view part : absl::StrSplit(ToAbslView(text), ',')) {
    const std::vector<absl::string_view> ends =
        absl::StrSplit(part, absl::MaxSplits("..", 1));
    double first = 0;
    double last = 0;
    if (!absl::SimpleAtod(ends.front(), &first) ||
        !absl::SimpleAtod(ends.back(), &last) || !std::isfinite(first) ||
        !std::isfinite(last) ||
        (ends.size() > 1 &&
         (first != std::floor(first) || last != std::floor(last)))) {
      return absl::InvalidArgumentError(
          StrCat("orders \"", text, "\": \"", ToStdView(part),
                 "\" is neither a number nor a range of integers like 2..33"));
    }
    if (last < first || last - first > kLongestRange) {
      return absl::InvalidArgumentError(
          StrCat("orders \"", text, "\": the range \"", ToStdView(part),
                 "\" must hold from 1 to ", kLongestRange, " integers"));
    }
    for (double order = first; order <= last; ++order) orders.push_back(order);
  }
  MLEDGE_RETURN_IF_ERROR(CheckOrders(orders));
  return orders;
}

absl::StatusOr<RdpAccountant> RdpAccountant::Create(Options options) {
  MLEDGE_RETURN_IF_ERROR(CheckOrders(options.orders));
  return RdpAccountant(std::move(options));
}

RdpAccountant::RdpAccountant(Options options)
    : options_(std::move(options)),
      orders_(options_.orders.empty() ? DefaultRdpOrders() : options_.orders) {
  std::ranges::sort(orders_);
  divergences_.assign(orders_.size(), 0);
}

absl::Status RdpAccountant::Compose(const PrivacyEvent& event, int64_t count) {
  std::vector<accounting_internal::CountedEvent> added;
  MLEDGE_RETURN_IF_ERROR(accounting_internal::AddFlattened(
      event, count, options_.adjacency, &added));
  for (const auto& [leaf, uses] : added) {
    MLEDGE_ASSIGN_OR_RETURN(
        const std::vector<double> rdp,
        RenyiDivergences(leaf, options_.adjacency, orders_, fractional()));
    for (size_t i = 0; i < orders_.size(); ++i) {
      divergences_[i] += static_cast<double>(uses) * rdp[i];
    }
  }
  return accounting_internal::AddFlattened(event, count, options_.adjacency,
                                           &events_);
}

FractionalOrders RdpAccountant::fractional() const {
  return options_.orders.empty() ? FractionalOrders::kExact
                                 : FractionalOrders::kSeriesOfMagnitudes;
}

double RdpAccountant::DivergenceAt(double order) const {
  double sum = 0;
  for (const auto& [leaf, uses] : events_) {
    const auto rdp = RenyiDivergences(leaf, options_.adjacency, {&order, 1});
    sum += rdp.ok() ? static_cast<double>(uses) * rdp->front() : kInfinity;
  }
  return sum;
}

template <typename Objective>
double RdpAccountant::Refine(const Objective& objective) const {
  std::vector<double> values;
  for (size_t i = 0; i < orders_.size(); ++i) {
    values.push_back(objective(orders_[i], divergences_[i]));
  }
  const size_t best = Best(values);
  double least = values[best];
  if (!options_.orders.empty() || !std::isfinite(least)) return least;
  const auto at = [&](double order) {
    const double value = objective(order, DivergenceAt(order));
    least = std::min(least, value);
    return value;
  };
  double low = best > 0 ? orders_[best - 1] : 1 + (orders_[0] - 1) / 16;
  double high = orders_[std::min(best + 1, orders_.size() - 1)];
  if (best + 1 == orders_.size()) {
    // Beyond the grid, as long as that helps.
    double before = values[best];
    for (high *= 2; high <= kLargestOrder; high *= 2) {
      const double value = at(high);
      if (value >= before) break;
      before = value;
      low = high / 2;
    }
    high = std::min(high, kLargestOrder);
  }
  // Golden sections of log(order - 1). Where only integer orders count, the
  // nearest ones are looked at.
  const bool integers_only =
      DivergenceAt(low + (high - low) * 0.6180339887) == kInfinity;
  const auto probe = [&](double t) {
    double order = 1 + std::exp(t);
    if (integers_only) order = std::max(2.0, std::round(order));
    return at(order);
  };
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double a = std::log(low - 1);
  double b = std::log(high - 1);
  double x = b - golden * (b - a);
  double y = a + golden * (b - a);
  double at_x = probe(x);
  double at_y = probe(y);
  while (b - a > 1e-5) {
    if (at_x <= at_y) {
      b = y;
      y = x;
      at_y = at_x;
      x = b - golden * (b - a);
      at_x = probe(x);
    } else {
      a = x;
      x = y;
      at_x = at_y;
      y = a + golden * (b - a);
      at_y = probe(y);
    }
  }
  return least;
}

bool RdpAccountant::IsOneGaussian(double* multiplier) const {
  if (!options_.orders.empty() || events_.empty() ||
      options_.conversion == RdpConversion::kClassic) {
    return false;
  }
  double squared_mu = 0;
  for (const auto& counted : events_) {
    const std::optional<double> part =
        accounting_internal::GaussianSquaredMu(counted, options_.adjacency);
    if (!part.has_value()) return false;
    squared_mu += *part;
  }
  *multiplier = 1 / std::sqrt(squared_mu);
  return true;
}

absl::StatusOr<double> RdpAccountant::Epsilon(double delta) const {
  MLEDGE_RETURN_IF_ERROR(ValidateDelta(delta));
  if (events_.empty()) return 0.0;
  if (double multiplier; IsOneGaussian(&multiplier)) {
    return GaussianEpsilon(multiplier, delta);
  }
  return kRoundUp * Refine([&](double order, double rdp) {
           return EpsilonAt(order, rdp, delta, options_.conversion);
         });
}

absl::StatusOr<double> RdpAccountant::Delta(double epsilon) const {
  MLEDGE_RETURN_IF_ERROR(ValidateEpsilon(epsilon));
  if (events_.empty()) return 0.0;
  if (double multiplier; IsOneGaussian(&multiplier)) {
    return GaussianDelta(multiplier, epsilon);
  }
  const double log_delta = Refine([&](double order, double rdp) {
    return LogDeltaAt(order, rdp, epsilon, options_.conversion);
  });
  return std::min(1.0, std::exp(log_delta) * kRoundUp);
}

}  // namespace mledge
