#ifndef MLEDGE_PRIVACY_ACCOUNTING_RDP_FILTER_H_
#define MLEDGE_PRIVACY_ACCOUNTING_RDP_FILTER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/privacy_event.h"

// A budget for rounds that are chosen while running: each may depend on the
// results of those before, and so may the moment of stopping.
//
// Rényi filter of Feldman and Zrnic, "Individual privacy accounting via a Rényi
// filter" (2008.11193), theorem 4.3: as long as the divergences of one order a,
// fixed beforehand, add up to at most B, everything released is (a, B)-RDP,
// however adaptively it was chosen. B is the most that the conversion of
// Canonne, Kamath, Steinke (rdp_accountant.h) turns into (epsilon, delta).
// There is one order, because the best of several would itself depend on
// results; and no accounting by loss distributions, for which this is not true.
// For the same reason there is no "epsilon spent so far": the claim is the
// whole budget, and what is left is a share of it.
//
// Not thread-safe; copyable. A filter is restored by charging the events of its
// ledger again.

namespace mledge {

class RdpFilter {
 public:
  struct Options {
    Adjacency adjacency = Adjacency::kZeroOut;
    double epsilon = 0;
    double delta = 0;
    // What will mostly be charged: the order is chosen such that as much as
    // possible of it fits. Any event may be charged.
    PrivacyEvent typical = {GaussianEvent{.noise_multiplier = 1}};
  };

  // INVALID_ARGUMENT where epsilon or delta lie outside their domains (epsilon
  // > 0), or `typical` is not valid, not private or does not support the
  // adjacency. FAILED_PRECONDITION: no order leaves any budget.
  static absl::StatusOr<RdpFilter> Create(const Options& options);

  // Whether `event`, `count` times, would overspend: the question before a
  // round. INVALID_ARGUMENT as for `RdpAccountant::Compose`.
  absl::StatusOr<bool> WouldExceed(const PrivacyEvent& event,
                                   int64_t count = 1) const;
  // Spends. RESOURCE_EXHAUSTED where it would overspend, saying how often it
  // would still fit; nothing is spent then.
  absl::Status Charge(const PrivacyEvent& event, int64_t count = 1);
  // How many more times `event` fits, up to 1e12.
  absl::StatusOr<int64_t> RemainingUses(const PrivacyEvent& event) const;
  // From 1 down to 0.
  double RemainingShare() const;

  double order() const { return order_; }
  // In divergence of that order.
  double budget() const { return budget_; }
  double spent() const { return spent_; }

 private:
  RdpFilter(const Options& options, double order, double budget)
      : options_(options), order_(order), budget_(budget) {}
  absl::StatusOr<double> Cost(const PrivacyEvent& event, int64_t count) const;

  Options options_;
  double order_;
  double budget_;
  double spent_ = 0;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_RDP_FILTER_H_
