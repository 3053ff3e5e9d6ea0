#ifndef MLEDGE_PRIVACY_MATRIX_INTERNAL_NOISE_FILTER_H_
#define MLEDGE_PRIVACY_MATRIX_INTERNAL_NOISE_FILTER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/privacy/matrix/strategy_matrix.h"

namespace mledge::matrix_internal {

// Bits behind the point: of buffers' weights and decays, and of what buffers
// hold beyond z's grid.
inline constexpr int kBufferCoefficientBits = 30;
inline constexpr int kBufferStateBits = 10;

// ⌊value / 2^bits⌉, halves up: commutes with adding integers, which is what the
// privacy of the integer pipeline rests on (correlated_grid.h).
template <typename Integer>
constexpr Integer RoundHalfUp(Integer value, int bits) {
  if (bits == 0) return value;
  return (value + (Integer{1} << (bits - 1))) >> bits;
}

// Σ weight · min(rounds, 1/(1 − decay)): what an error of one unit a round in
// all buffers grows to in the sum of products.
double RoundsHeld(const BufferedToeplitz& matrix, int64_t rounds);

// C⁻¹·z in integers, one round at a time, for any range of coordinates. The
// state is a few vectors, the same for all rounds: the last rounds' results
// (bands), buffers, or open nodes of the tree. Immutable; ranges that do not
// overlap may be worked on at the same time.
class NoiseFilter {
 public:
  // `strategy` must be on the grid (RoundStrategyToGrid). No |z| may exceed
  // `largest_z`. INVALID_ARGUMENT: a strategy that is not; numbers that might
  // not fit into 64 bits.
  static absl::StatusOr<NoiseFilter> Create(const StrategyMatrix& strategy,
                                            int64_t rounds, int fraction_bits,
                                            int64_t largest_z);

  // Vectors of state.
  int64_t vectors() const { return vectors_; }

  // Replaces z of `round` by its row of C⁻¹z, both in units of z's grid, and
  // takes the state (zero before round 0) to the next round. `state[v]`: this
  // range of vector v, as long as `values`.
  void Apply(int64_t round, std::span<int64_t* const> state,
             std::span<int64_t> values) const;

 private:
  enum class Kind { kTree, kBands, kBuffers };

  void ApplyTree(int64_t round, std::span<int64_t* const> state,
                 std::span<int64_t> values) const;
  void ApplyBands(int64_t round, std::span<int64_t* const> state,
                  std::span<int64_t> values) const;
  void ApplyBuffers(std::span<int64_t* const> state,
                    std::span<int64_t> values) const;

  Kind kind_ = Kind::kBands;
  int64_t vectors_ = 0;
  int fraction_bits_ = 0;
  std::vector<int64_t> coefficients_;  // bands: c[1] …, times 2^fraction_bits
  std::vector<int64_t> decays_;        // times 2^kBufferCoefficientBits
  std::vector<int64_t> weights_;       // the same
};

}  // namespace mledge::matrix_internal

#endif  // MLEDGE_PRIVACY_MATRIX_INTERNAL_NOISE_FILTER_H_
