#ifndef MLEDGE_PRIVACY_MATRIX_TOEPLITZ_H_
#define MLEDGE_PRIVACY_MATRIX_TOEPLITZ_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Lower-triangular Toeplitz matrices C, by the coefficients c of their first
// column: entry (i, j) is c[i − j]. In the matrix mechanism A = B·C, where A
// adds prefixes up, the sums of rounds are published as G + C⁻¹·z with
// independent Gaussian noise z; B·z is then the noise in a prefix sum. Which C
// to use, what it costs: strategy_matrix.h. Pure functions in double.

namespace mledge {

// C with `coefficients.size()` bands: c[i] = 0 from there on. One band is
// independent noise.
struct BandedToeplitz {
  std::vector<double> coefficients;  // 1 = c[0] ≥ c[1] ≥ … ≥ 0

  bool operator==(const BandedToeplitz&) const = default;
};

// Buffered linear Toeplitz matrix (BLT; Dvijotham et al., "Efficient and
// Near-Optimal Noise Generation for Streaming Differential Privacy", FOCS 2024,
// arXiv 2404.16706): c[0] = 1 and
// c[i] = Σ_j weights[j] · decays[j]^(i−1). One vector of memory per buffer
// multiplies by C⁻¹ as the rounds come.
struct BufferedToeplitz {
  std::vector<double> decays;   // θ, each between 0 and 1, exclusively
  std::vector<double> weights;  // ω, positive, of sum at most 1

  bool operator==(const BufferedToeplitz&) const = default;
};

inline constexpr int64_t kMaximumBuffers = 16;

// c[0] = 1, c[k] = c[k−1]·(2k−1)/(2k): the square root of A, the series of
// (1 − x)^(−1/2) (Fichtenberger, Henzinger, Upadhyay, "Constant matters", ICML
// 2023, arXiv 2202.11205). The first `count` of them; cut at fewer than the
// rounds, they are a band (Kalinin and Lampert, "Banded Square Root Matrix
// Factorization", NeurIPS 2024, arXiv 2405.13763).
// INVALID_ARGUMENT: `count` not in 1 … kMaximumRounds.
absl::StatusOr<std::vector<double>> SquareRootCoefficients(int64_t count);

// INVALID_ARGUMENT, naming position and value: no coefficient or too many, one
// that is negative or not finite, the first not 1, or one that is larger than
// the one before: for those shapes no sensitivity is known that is both tight
// and cheap.
absl::Status ValidateCoefficients(std::span<const double> coefficients);

// INVALID_ARGUMENT, naming buffer and value: see the fields above.
absl::Status Validate(const BufferedToeplitz& matrix);

// The first `rounds` coefficients of C. INVALID_ARGUMENT: an invalid matrix or
// count.
absl::StatusOr<std::vector<double>> Coefficients(const BandedToeplitz& matrix,
                                                 int64_t rounds);
absl::StatusOr<std::vector<double>> Coefficients(const BufferedToeplitz& matrix,
                                                 int64_t rounds);

// The first `rounds` coefficients of C⁻¹, by the recurrence that streams noise:
// d[0] = 1, d[t] = −Σ_{i≥1} c[i]·d[t−i]. A BLT does it with its buffers, in
// time rounds × buffers. INVALID_ARGUMENT: as Coefficients; more than 2³⁴
// products of bands and rounds.
absl::StatusOr<std::vector<double>> InverseCoefficients(
    const BandedToeplitz& matrix, int64_t rounds);
absl::StatusOr<std::vector<double>> InverseCoefficients(
    const BufferedToeplitz& matrix, int64_t rounds);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_TOEPLITZ_H_
