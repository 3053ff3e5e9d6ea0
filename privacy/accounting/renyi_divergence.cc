#include "mledge/privacy/accounting/renyi_divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/internal/special_functions.h"

namespace mledge {
namespace {

using accounting_internal::LogAdd;

using accounting_internal::kInfinity;

std::vector<double> AtEach(std::span<const double> orders,
                           const auto& renyi_at) {
  std::vector<double> result;
  result.reserve(orders.size());
  for (double order : orders) result.push_back(renyi_at(order));
  return result;
}

// What sensitivities are multiplied by: 2 where a device is replaced.
double Distance(Adjacency adjacency) {
  return adjacency == Adjacency::kReplaceOne ? 2 : 1;
}

std::vector<double> Of(const NonPrivateEvent&, double,
                       std::span<const double> orders) {
  return std::vector<double>(orders.size(), kInfinity);
}
std::vector<double> Of(const GaussianEvent& event, double distance,
                       std::span<const double> orders) {
  return AtEach(orders, [&](double order) {
    return GaussianRenyi(event.noise_multiplier / distance, order);
  });
}
// Canonne, Kamath, Steinke (2020), theorem 4: exactly the Gaussian's bound.
std::vector<double> Of(const DiscreteGaussianEvent& event, double distance,
                       std::span<const double> orders) {
  return AtEach(orders, [&](double order) {
    return GaussianRenyi(event.sigma / (event.l2_sensitivity * distance),
                         order);
  });
}
std::vector<double> Of(const LaplaceEvent& event, double distance,
                       std::span<const double> orders) {
  return AtEach(orders, [&](double order) {
    return LaplaceRenyi(event.noise_multiplier / distance, order);
  });
}
std::vector<double> Of(const RandomizedResponseEvent& event, double,
                       std::span<const double> orders) {
  return AtEach(orders, [&](double order) {
    return RandomizedResponseRenyi(event.epsilon, event.categories, order);
  });
}
std::vector<double> Of(const SampledWithoutReplacementGaussianEvent& event,
                       double distance, std::span<const double> orders) {
  return SampledWithoutReplacementGaussianRenyi(
      static_cast<double>(event.cohort) / static_cast<double>(event.population),
      event.noise_multiplier / distance, orders);
}
// Bun and Steinke (2016), definition 1.1.
std::vector<double> Of(const ZcdpEvent& event, double,
                       std::span<const double> orders) {
  return AtEach(orders, [&](double order) { return event.rho * order; });
}
// One Gaussian of that sensitivity over the whole schedule (Denisov et al.,
// "Improved differential privacy for SGD via optimal private linear operators
// on adaptive streams", 2202.08312, theorem 2.1).
std::vector<double> Of(const MatrixMechanismEvent& event, double,
                       std::span<const double> orders) {
  return AtEach(orders, [&](double order) {
    return GaussianRenyi(event.noise_multiplier / event.sensitivity, order);
  });
}
std::vector<double> Of(const DistributedDiscreteGaussianEvent& event,
                       double distance, std::span<const double> orders) {
  DistributedDiscreteGaussianEvent scaled = event;
  scaled.l2_sensitivity *= distance;
  scaled.l1_sensitivity *= distance;
  return AtEach(orders, [&](double order) {
    return DistributedDiscreteGaussianRenyi(scaled, order);
  });
}
std::vector<double> Of(const SkellamEvent& event, double distance,
                       std::span<const double> orders) {
  SkellamEvent scaled = event;
  scaled.l2_sensitivity *= distance;
  scaled.l1_sensitivity *= distance;
  return AtEach(orders,
                [&](double order) { return SkellamRenyi(scaled, order); });
}
// Handled before.
std::vector<double> Of(const PoissonSampledGaussianEvent&, double,
                       std::span<const double>) {
  return {};
}
std::vector<double> Of(const ComposedEvent&, double, std::span<const double>) {
  return {};
}

// Σ_{k=1}^{n-1} exp(-2π²σ² k/(k+1)), rounded up: from the thousandth term on
// the exponent is taken as that of the thousandth.
double SmoothnessSum(double sigma, int64_t clients) {
  constexpr int64_t kTermByTerm = 1000;
  const double rate = 2 * std::numbers::pi * std::numbers::pi * sigma * sigma;
  double sum = 0;
  for (int64_t k = 1; k < std::min(clients, kTermByTerm); ++k) {
    sum +=
        std::exp(-rate * static_cast<double>(k) / static_cast<double>(k + 1));
  }
  if (clients > kTermByTerm) {
    sum += static_cast<double>(clients - kTermByTerm) *
           std::exp(-rate * kTermByTerm / (kTermByTerm + 1));
  }
  return sum;
}

}  // namespace

absl::StatusOr<std::vector<double>> RenyiDivergences(
    const PrivacyEvent& event, Adjacency adjacency,
    std::span<const double> orders, FractionalOrders fractional) {
  if (std::holds_alternative<ComposedEvent>(event.kind)) {
    return absl::InvalidArgumentError(
        "composition: Rényi divergences are those of its events, added up");
  }
  MLEDGE_RETURN_IF_ERROR(ValidateEvent(event));
  MLEDGE_RETURN_IF_ERROR(CheckAdjacency(event, adjacency));
  if (const auto* sampled =
          std::get_if<PoissonSampledGaussianEvent>(&event.kind)) {
    return PoissonSampledGaussianRenyi(sampled->sampling_probability,
                                       sampled->noise_multiplier, orders,
                                       fractional);
  }
  return std::visit(
      [&](const auto& kind) { return Of(kind, Distance(adjacency), orders); },
      event.kind);
}

double GaussianRenyi(double multiplier, double order) {
  return order / (2 * multiplier * multiplier);
}

double LaplaceRenyi(double multiplier, double order) {
  const double epsilon = 1 / multiplier;
  // The proposition's log(a/(2a-1) e^((a-1)ε) + (a-1)/(2a-1) e^(-aε)) / (a-1)
  // with e^((a-1)ε) taken out; what is left differs from 1 by a small number.
  return epsilon + std::log1p((order - 1) / (2 * order - 1) *
                              std::expm1((1 - 2 * order) * epsilon)) /
                       (order - 1);
}

double RandomizedResponseRenyi(double epsilon, int64_t categories,
                               double order) {
  // P and Q differ in the two categories whose probabilities are swapped:
  // E_Q[(P/Q)^a] = 1 + least · (e^(aε) + e^((1-a)ε) - e^ε - 1),
  // `least` being the probability of each untrue category. The bracket is
  // (e^(aε) - e^ε)(1 - e^(-aε)), a product that does not cancel.
  const double others = static_cast<double>(categories - 1);
  const double log_least = -LogAdd(epsilon, std::log(others));
  const double log_excess =
      log_least + epsilon +
      ((order - 1) * epsilon > 700
           ? (order - 1) * epsilon
           : std::log(std::expm1((order - 1) * epsilon))) +
      std::log(-std::expm1(-order * epsilon));
  return (log_excess > 700 ? log_excess : std::log1p(std::exp(log_excess))) /
         (order - 1);
}

double DistributedDiscreteGaussianRenyi(
    const DistributedDiscreteGaussianEvent& event, double order) {
  const double dimension = static_cast<double>(event.dimension);
  const double tau =
      10 * SmoothnessSum(event.local_sigma, event.honest_clients);
  const double scale =
      std::sqrt(static_cast<double>(event.honest_clients)) * event.local_sigma;
  const double l2 = event.l2_sensitivity / scale;
  const double l1 = event.l1_sensitivity / scale;
  const double largest = l2 + std::sqrt(dimension) * tau;
  return std::min({order / 2 * l2 * l2 + tau * dimension,
                   order / 2 * (l2 * l2 + 2 * l1 * tau + tau * tau * dimension),
                   order / 2 * largest * largest});
}

double SkellamRenyi(const SkellamEvent& event, double order) {
  if (order != std::floor(order)) return kInfinity;
  const double mu = event.total_variance;
  const double l2_squared = event.l2_sensitivity * event.l2_sensitivity;
  return order * l2_squared / (2 * mu) +
         std::min(((2 * order - 1) * l2_squared + 6 * event.l1_sensitivity) /
                      (4 * mu * mu),
                  3 * event.l1_sensitivity / (2 * mu));
}

}  // namespace mledge
