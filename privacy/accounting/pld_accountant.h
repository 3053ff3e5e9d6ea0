#ifndef MLEDGE_PRIVACY_ACCOUNTING_PLD_ACCOUNTANT_H_
#define MLEDGE_PRIVACY_ACCOUNTING_PLD_ACCOUNTANT_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/internal/flatten.h"
#include "mledge/privacy/accounting/internal/loss_composition.h"
#include "mledge/privacy/accounting/privacy_event.h"

// Accounting by privacy loss distributions: tight, for schedules that are fixed
// before the first round. What is chosen while running is guarded by an RDP
// filter (rdp_filter.h): composing curves is not valid under adaptive choice.
// Not thread-safe; copyable.
//
// Gaussian mechanisms of every kind are one, in closed form, however many
// (analytic_gaussian.h); the others are discretized (internal/loss_grid.h) and
// composed (internal/loss_composition.h), adding and removing a device each on
// its own, and the worse of the two counts. The grid is chosen from the scale
// of the losses, such that it adds about 2e-5 of ε.
//
// Covered: Gaussian, matrix mechanism, discrete and distributed discrete
// Gaussian (as Gaussians with a proven factor, internal/discrete_smoothing.h;
// one coordinate of a discrete Gaussian exactly), Laplace, randomized response,
// Poisson-sampled Gaussian, Gaussian sampled without replacement. zCDP and
// Skellam have no loss distribution here: account for them by RDP.

namespace mledge {

enum class PldEstimate {
  kPessimistic,  // never below the truth: the only kind that may be claimed
  kOptimistic,   // never above it: for brackets
};

class PldAccountant {
 public:
  struct Options {
    Adjacency adjacency = Adjacency::kAddOrRemoveOne;
    PldEstimate estimate = PldEstimate::kPessimistic;
    // What the grid may add to ε, relative; the time taken grows with its
    // inverse square root. From 1e-8 to 1.
    double accuracy = 2e-5;
    // Distance of grid points; 0: chosen from the scale of the losses.
    double grid_step = 0;
  };

  // INVALID_ARGUMENT for options outside their domains.
  static absl::StatusOr<PldAccountant> Create(Options options);

  // Adds `event`, `count` times. INVALID_ARGUMENT where event or count is not
  // valid, the event does not support the adjacency or has no loss
  // distribution; nothing is added then.
  absl::Status Compose(const PrivacyEvent& event, int64_t count = 1);

  // ε at `delta`; infinite after a non-private event. INVALID_ARGUMENT for a
  // delta outside its domain.
  absl::StatusOr<double> Epsilon(double delta) const;
  // δ at `epsilon`.
  absl::StatusOr<double> Delta(double epsilon) const;

 private:
  // Everything composed so far, for one of the two directions.
  struct Losses;

  explicit PldAccountant(Options options) : options_(options) {}
  // The two directions differ only where devices are sampled by coins.
  absl::StatusOr<std::vector<Losses>> Directions() const;

  Options options_;
  std::vector<accounting_internal::CountedEvent> events_;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_PLD_ACCOUNTANT_H_
