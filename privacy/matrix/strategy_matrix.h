#ifndef MLEDGE_PRIVACY_MATRIX_STRATEGY_MATRIX_H_
#define MLEDGE_PRIVACY_MATRIX_STRATEGY_MATRIX_H_

#include <cstdint>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/privacy/matrix/participation.h"
#include "mledge/privacy/matrix/prefix_sum_error.h"
#include "mledge/privacy/matrix/toeplitz.h"

// The choice of C in the matrix mechanism ("strategy matrix"), and what any
// choice comes to: one Gaussian mechanism, error, memory. Values and pure
// functions. optimize.h finds good ones, correlated_noise.h streams their
// noise.

namespace mledge {

struct TreeAggregation {
  bool operator==(const TreeAggregation&) const = default;
};

using StrategyMatrix =
    std::variant<TreeAggregation, BandedToeplitz, BufferedToeplitz>;

// C = identity: as much noise in every round, independent of the others.
StrategyMatrix IndependentNoise();

// INVALID_ARGUMENT: as ValidateCoefficients and Validate.
absl::Status ValidateStrategy(const StrategyMatrix& strategy);

// "tree aggregation", "8 bands", "4 buffers": for people.
std::string DescribeStrategy(const StrategyMatrix& strategy);

// L2 sensitivity of what the independent noise hides to one device whose every
// contribution has norm at most 1 (ToeplitzSensitivity, TreeSensitivity).
// Rounds up. INVALID_ARGUMENT: invalid strategy or limits.
absl::StatusOr<double> Sensitivity(const StrategyMatrix& strategy,
                                   const ParticipationLimits& limits);

// All rounds together are one Gaussian mechanism, whose input is C·G and whose
// output is then only processed, also where what is summed depends on what was
// published before (Denisov et al., "Improved Differential Privacy for SGD via
// Optimal Private Linear Operators", NeurIPS 2022, arXiv 2202.08312, theorem
// 2.1; several participations: Choquette-Choo et al. 2023, arXiv 2211.06530).
// Returns its noise multiplier, `noise_multiplier` / sensitivity; rounds down.
// `noise_multiplier`: standard deviation of z over the norm that a contribution
// is clipped to.
// INVALID_ARGUMENT: as Sensitivity; a noise multiplier that is not positive,
// not finite or above 1e9.
absl::StatusOr<double> EquivalentNoiseMultiplier(
    const StrategyMatrix& strategy, const ParticipationLimits& limits,
    double noise_multiplier);

// Standard deviation of the noise in prefix sums, in units of clip norm, when
// EquivalentNoiseMultiplier is 1: PrefixSumError times Sensitivity. What to
// compare strategies by. INVALID_ARGUMENT: as Sensitivity.
absl::StatusOr<PrefixSumError> ErrorPerUnitNoise(
    const StrategyMatrix& strategy, const ParticipationLimits& limits);

// Vectors of 64-bit integers, each as long as the sum, that streaming the noise
// of `rounds` rounds keeps between rounds: bands − 1, buffers, or the tree's
// height − 1. INVALID_ARGUMENT: invalid strategy or rounds.
absl::StatusOr<int64_t> VectorsOfMemory(const StrategyMatrix& strategy,
                                        int64_t rounds);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_STRATEGY_MATRIX_H_
