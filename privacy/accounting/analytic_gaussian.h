#ifndef MLEDGE_PRIVACY_ACCOUNTING_ANALYTIC_GAUSSIAN_H_
#define MLEDGE_PRIVACY_ACCOUNTING_ANALYTIC_GAUSSIAN_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// The exact privacy of one Gaussian mechanism (Balle and Wang, "Improving the
// Gaussian mechanism for differential privacy", ICML 2018, theorem 8):
//   δ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ),   μ = sensitivity / standard
// deviation. Here `multiplier` is 1/μ: the standard deviation over the L2
// sensitivity of the adjacency in question (over the clip norm for
// add-or-remove and zero-out, over twice that for replace-one). Any number of
// Gaussian releases is one of multiplier (Σ multiplier_i⁻²)^(-1/2), exactly.
// Each result is rounded towards more privacy by a relative 1e-12, more than
// the arithmetic can lose. Thread-safe.

namespace mledge {

// INVALID_ARGUMENT unless 1e-100 <= delta < 1.
absl::Status ValidateDelta(double delta);
// INVALID_ARGUMENT unless 0 <= epsilon, finite and at most 1e12.
absl::Status ValidateEpsilon(double epsilon);

// The least δ such that the mechanism is (epsilon, δ)-private, rounded up.
// INVALID_ARGUMENT: multiplier not positive and finite; epsilon as above.
absl::StatusOr<double> GaussianDelta(double multiplier, double epsilon);

// The least ε such that the mechanism is (ε, delta)-private, rounded up.
absl::StatusOr<double> GaussianEpsilon(double multiplier, double delta);

// The least multiplier for which the mechanism is (epsilon, delta)-private,
// rounded up. INVALID_ARGUMENT also for epsilon = 0.
absl::StatusOr<double> GaussianMultiplier(double epsilon, double delta);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_ANALYTIC_GAUSSIAN_H_
