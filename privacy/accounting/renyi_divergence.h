#ifndef MLEDGE_PRIVACY_ACCOUNTING_RENYI_DIVERGENCE_H_
#define MLEDGE_PRIVACY_ACCOUNTING_RENYI_DIVERGENCE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/privacy_event.h"

// Rényi differential privacy (Mironov, "Rényi differential privacy", CSF 2017)
// of single mechanisms: for each order a > 1 a bound on the Rényi divergence
//   D_a(P‖Q) = log E_Q[(P/Q)^a] / (a - 1)
// between the outputs on two neighbouring data sets, in both directions.
// Infinity where a theorem says nothing about an order. `multiplier` is the
// noise's standard deviation (Laplace: scale) over the sensitivity of the
// adjacency in question. Values are exact to about 1e-12, relative, or above
// the truth. Preconditions, unchecked: orders > 1 and finite, parameters inside
// the domains of `ValidateEvent`. Thread-safe.

namespace mledge {

// How orders between integers of the Poisson-sampled Gaussian are found.
enum class FractionalOrders {
  kExact,
  // By the published series with every term counted as positive, as Google's
  // dp_accounting 0.6.0 adds it up: above the truth, by up to several times
  // below order 3, and infinite where it does not converge. For comparison.
  kSeriesOfMagnitudes,
};

// Of `event`, which is no composition, under an adjacency that it supports
// (replace-one doubles sensitivities). INVALID_ARGUMENT otherwise.
absl::StatusOr<std::vector<double>> RenyiDivergences(
    const PrivacyEvent& event, Adjacency adjacency,
    std::span<const double> orders,
    FractionalOrders fractional = FractionalOrders::kExact);

// a / (2 multiplier²), exact (Mironov 2017, proposition 7).
double GaussianRenyi(double multiplier, double order);

// Exact (Mironov 2017, proposition 6).
double LaplaceRenyi(double multiplier, double order);

// Exact, for two different true categories.
double RandomizedResponseRenyi(double epsilon, int64_t categories,
                               double order);

// The Poisson-sampled Gaussian, exact in both directions (Mironov, Talwar,
// Zhang, "Rényi differential privacy of the sampled Gaussian mechanism",
// 1908.10530, section 3). Integer orders: the binomial sum of section 3.3, less
// its first two terms, which add up to 1: what remains is positive and keeps
// its digits. Other orders: E_Q[(P/Q)^a - 1 - a(P/Q - 1)] by the trapezoidal
// rule, whose error falls exponentially in the number of nodes; its integrand
// is positive. (Section 3.3's two series say the same, but their terms change
// sign from the ceil(a)-th on and cancel; for multipliers below 0.1, the bound
// that is linear in (a - 1) D_a between integer orders, by convexity.)
std::vector<double> PoissonSampledGaussianRenyi(
    double sampling_probability, double multiplier,
    std::span<const double> orders,
    FractionalOrders fractional = FractionalOrders::kExact);

// A Gaussian over a uniform sample of exactly a share `sampled` of the
// population, neighbours by replacement: upper bound (Wang, Balle,
// Kasiviswanathan, "Subsampled Rényi differential privacy and analytical
// moments accountant", AISTATS 2019, 1808.00087, theorem 27). Orders between
// integers by their corollary 10 (convexity).
std::vector<double> SampledWithoutReplacementGaussianRenyi(
    double sampled, double multiplier, std::span<const double> orders);

// The sum of `honest_clients` discrete Gaussians (Kairouz, Liu, Steinke, "The
// distributed discrete Gaussian mechanism for federated learning with secure
// aggregation", 2102.06387, proposition 14): upper bound. Sensitivities as in
// the event.
double DistributedDiscreteGaussianRenyi(
    const DistributedDiscreteGaussianEvent& event, double order);

// The Skellam mechanism (Agarwal, Kairouz, Liu, "The Skellam mechanism for
// differentially private federated learning", 2110.04995, corollary 3.6): upper
// bound at integer orders, infinity at others.
double SkellamRenyi(const SkellamEvent& event, double order);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_RENYI_DIVERGENCE_H_
