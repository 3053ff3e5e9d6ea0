#ifndef MLEDGE_PRIVACY_ACCOUNTING_CALIBRATION_H_
#define MLEDGE_PRIVACY_ACCOUNTING_CALIBRATION_H_

#include <functional>

#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/accountant.h"
#include "mledge/privacy/accounting/privacy_event.h"

// How much noise a budget asks for. Thread-safe.

namespace mledge {

// A schedule as a function of its noise multiplier (standard deviation over
// clip norm); ε must not rise with it.
using EventOfNoise = std::function<PrivacyEvent(double noise_multiplier)>;

struct Calibration {
  double noise_multiplier = 0;
  // What the schedule costs at that noise: at most the target.
  double epsilon = 0;
};

// The noise multiplier at which `event_of` costs `target_epsilon` at `delta`:
// the result's ε, as the accountant computes it, is never above the target, and
// within 0.1 % of it (0.02 % as a rule) unless the least multiplier of all,
// 1e-3, already suffices.
// INVALID_ARGUMENT: target or delta outside their domains, an event that the
// accountant refuses. FAILED_PRECONDITION: no multiplier up to 1e9 suffices.
absl::StatusOr<Calibration> CalibrateNoise(const EventOfNoise& event_of,
                                           double target_epsilon, double delta,
                                           const AccountantOptions& options);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_CALIBRATION_H_
