#ifndef MLEDGE_PRIVACY_MATRIX_OPTIMIZE_H_
#define MLEDGE_PRIVACY_MATRIX_OPTIMIZE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "mledge/privacy/matrix/participation.h"
#include "mledge/privacy/matrix/toeplitz.h"

// Finds strategies with little error at equal privacy: minimises
// ErrorPerUnitNoise under the limits, by L-BFGS over parameters for which every
// value is a valid matrix. The same limits give the same bits on every machine,
// so devices and coordinator find the same matrix in the same task. No privacy
// claim rests on how near to the optimum it comes. Pure functions.

namespace mledge {

enum class ErrorMeasure { kMaximum, kRootMeanSquare };

// The best band there is, nearly, that neither grows nor changes sign
// (Choquette-Choo et al., "(Amplified) Banded Matrix Factorization", NeurIPS
// 2023, arXiv 2306.08153; Toeplitz only). Starts from the square root.
// `bands`: 1 … rounds.
// INVALID_ARGUMENT: invalid limits or bands; bands × rounds above 2²³.
absl::StatusOr<BandedToeplitz> OptimizeBands(const ParticipationLimits& limits,
                                             int64_t bands,
                                             ErrorMeasure measure);

// A BLT with `buffers` buffers, or fewer where more would not help (McMahan,
// Xu, Zhang, "A Hassle-free Algorithm for Strong Differential Privacy in
// Federated Learning Systems", EMNLP 2024, arXiv 2408.08868: several
// participations). Buffers are added one at a time, so that more are never
// worse.
// `buffers`: 1 … kMaximumBuffers.
// INVALID_ARGUMENT: invalid limits or buffers; buffers × rounds above 2²⁰.
absl::StatusOr<BufferedToeplitz> OptimizeBuffers(
    const ParticipationLimits& limits, int64_t buffers, ErrorMeasure measure);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_OPTIMIZE_H_
