#ifndef MLEDGE_PRIVACY_MATRIX_PREFIX_SUM_ERROR_H_
#define MLEDGE_PRIVACY_MATRIX_PREFIX_SUM_ERROR_H_

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

// What correlated noise does to the sums of the first t rounds, which is what a
// model trained with a constant learning rate consists of. Pure functions, for
// choosing and comparing; no privacy claim rests on them.

namespace mledge {

// Standard deviation of the noise in prefix sums, one coordinate, over t = 1 …
// rounds, in units of the standard deviation of the independent noise z.
struct PrefixSumError {
  double maximum = 0;
  double root_mean_square = 0;
};

// Of B·z with B = A·C⁻¹ lower-triangular Toeplitz: the variance after t rounds
// is the sum of squares of the first t coefficients of B, which are prefix sums
// of those of C⁻¹ (Denisov et al., "Improved Differential Privacy for SGD via
// Optimal Private Linear Operators", NeurIPS 2022, arXiv 2202.08312: loss).
// `inverse`: the coefficients of C⁻¹, one a round.
// INVALID_ARGUMENT: none, or one that is not finite.
absl::StatusOr<PrefixSumError> ToeplitzPrefixSumError(
    std::span<const double> inverse);

// Of the tree: after t rounds as many nodes as t has binary digits of 1.
// INVALID_ARGUMENT: `rounds` not in 1 … kMaximumRounds.
absl::StatusOr<PrefixSumError> TreePrefixSumError(int64_t rounds);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_PREFIX_SUM_ERROR_H_
