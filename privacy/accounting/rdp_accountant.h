#ifndef MLEDGE_PRIVACY_ACCOUNTING_RDP_ACCOUNTANT_H_
#define MLEDGE_PRIVACY_ACCOUNTING_RDP_ACCOUNTANT_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/internal/flatten.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/privacy/accounting/renyi_divergence.h"

// Accounting by Rényi differential privacy: quick, valid for every event, never
// tight (4 % to several times above the truth; pld_accountant.h is tight).
// Divergences of an order add up (Mironov 2017, proposition 1); the best order
// turns them into (ε, δ). Not thread-safe; copyable.

namespace mledge {

// How a divergence becomes (ε, δ).
enum class RdpConversion {
  // Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy"
  // (2004.00010), proposition 12: ε = rdp(a) + log(1 - 1/a) - log(δ a)/(a - 1),
  // and ε = 0 where δ² > 1 - e^(-rdp(a)) for some a (total variation by
  // Bretagnolle and Huber).
  kImproved,
  // Mironov (2017), proposition 3: ε = rdp(a) - log(δ)/(a - 1). For comparison
  // with older figures; always above the improved one.
  kClassic,
};

// ε of divergences `rdp` at `orders`; rounds up. Preconditions: equal sizes,
// orders > 1, 0 < delta < 1. Infinite divergences are passed over.
struct RdpEpsilonResult {
  double epsilon = 0;
  double order = 0;  // at which it was found
};
RdpEpsilonResult RdpToEpsilon(std::span<const double> orders,
                              std::span<const double> rdp, double delta,
                              RdpConversion conversion);
// δ for an ε, the same two ways; at most 1.
double RdpToDelta(std::span<const double> orders, std::span<const double> rdp,
                  double epsilon, RdpConversion conversion);

// A grid of orders from 1.02 to 4096, all integers to 64 among them, that holds
// every default order of Google's dp_accounting.
const std::vector<double>& DefaultRdpOrders();

// Orders as people write them: "2..33" (all integers of a range), "1.5,2,64",
// or both mixed. INVALID_ARGUMENT for what is neither, for a range that is
// empty or longer than 100,000, and for an order outside (1, 1e6].
absl::StatusOr<std::vector<double>> ParseOrders(std::string_view text);

class RdpAccountant {
 public:
  struct Options {
    Adjacency adjacency = Adjacency::kAddOrRemoveOne;
    // Empty: the default orders, and then those between the best one's
    // neighbours (or beyond the largest), so that ε is the infimum over all
    // orders to about 1e-9; a composition of Gaussians alone is then accounted
    // by its closed form (analytic_gaussian.h), which is exact.
    // Otherwise these and no other, each from 1 (exclusive) to 1e6, for
    // comparison with other programs: fractional orders of the Poisson-sampled
    // Gaussian by `FractionalOrders::kSeriesOfMagnitudes`.
    std::vector<double> orders;
    RdpConversion conversion = RdpConversion::kImproved;
  };

  // INVALID_ARGUMENT for an order outside its domain, naming it.
  static absl::StatusOr<RdpAccountant> Create(Options options);

  // Adds `event`, `count` times. INVALID_ARGUMENT where the event or the count
  // is not valid or the event does not support the adjacency; nothing is added
  // then.
  absl::Status Compose(const PrivacyEvent& event, int64_t count = 1);

  // ε at `delta`, rounded up; infinite after a non-private event.
  // INVALID_ARGUMENT for a delta outside its domain.
  absl::StatusOr<double> Epsilon(double delta) const;
  // δ at `epsilon`, rounded up; 1 where no order helps.
  absl::StatusOr<double> Delta(double epsilon) const;

  // Divergences at `orders()`, added up over all events.
  const std::vector<double>& orders() const { return orders_; }
  const std::vector<double>& divergences() const { return divergences_; }

 private:
  explicit RdpAccountant(Options options);

  FractionalOrders fractional() const;
  // The divergence at one order, whatever the grid.
  double DivergenceAt(double order) const;
  // The least value of `objective` (of order and divergence) over real orders
  // near the best of the grid.
  template <typename Objective>
  double Refine(const Objective& objective) const;
  // Whether orders may be added and everything so far is Gaussian; then the
  // multiplier of the one Gaussian that it amounts to.
  bool IsOneGaussian(double* multiplier) const;

  Options options_;
  std::vector<double> orders_;  // ascending
  std::vector<double> divergences_;
  std::vector<accounting_internal::CountedEvent> events_;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_RDP_ACCOUNTANT_H_
