#ifndef MLEDGE_PRIVACY_MATRIX_SENSITIVITY_H_
#define MLEDGE_PRIVACY_MATRIX_SENSITIVITY_H_

#include <span>

#include "absl/status/statusor.h"
#include "mledge/privacy/matrix/participation.h"

// How far one device can move C·G, the quantity that the independent noise of
// the matrix mechanism hides. Pure functions.

namespace mledge {

// L2 sensitivity of C·G to one device whose every contribution has norm at most
// 1, under the limits: the norm of the sum of columns 0, b, 2b, … of C (the
// first k of them, b the separation, cut at the last round). Exact for
// coefficients that are neither negative nor increasing (Kalinin and Lampert,
// "Banded Square Root Matrix Factorization", NeurIPS 2024, arXiv 2405.13763,
// theorem 2; contributions all in one direction are worst because C has no
// negative entries: Choquette-Choo et al., "Multi-Epoch Matrix Factorization
// Mechanisms", ICML 2023, arXiv 2211.06530, corollary 2.1); for general C it is
// NP-hard, so other shapes are refused, never sampled. Rounds up, by less than
// 1e-9 of the value.
// `coefficients`: the first column of C; zero after the last one given.
// INVALID_ARGUMENT: invalid limits; coefficients of another shape
// (ValidateCoefficients).
absl::StatusOr<double> ToeplitzSensitivity(std::span<const double> coefficients,
                                           const ParticipationLimits& limits);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_SENSITIVITY_H_
