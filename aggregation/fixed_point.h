#ifndef MLEDGE_AGGREGATION_FIXED_POINT_H_
#define MLEDGE_AGGREGATION_FIXED_POINT_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"

// The integers in which updates are added up, so that a sum does not depend on
// the order of its terms: q = w · round(x · s), s = 2^f, in int64.
//
// Which f: with |x| ≤ V, 1 ≤ w ≤ W and at most N updates, every partial sum of
// any subset is at most N · W · round(V · s) in magnitude. Let v, w, n be the
// least exponents with V ≤ 2^v, W ≤ 2^w, N ≤ 2^n. Then
//
//   f = min(62 − v − w − n, 51 − v, 60)
//
// makes every partial sum at most 2^62, so nothing overflows, and every |x · s|
// at most 2^51, so that rounding is one addition (below). The task's defaults
// (V = 16, W = 2^20) and ten updates give f = 34: steps of 6e-11.
//
// Why no bit depends on the CPU: x is a float32 and s a power of two, so x · s
// is exact in double; adding 1.5 · 2^52 rounds it to an integer, to the nearest
// and ties to even, and leaves that integer in the low bits of the double; the
// rest is integer arithmetic. Every step is exact or correctly rounded by IEEE
// 754, whatever the width of the vector unit. Needs the default rounding mode.

namespace mledge {

// Below this many fraction bits the bounds are refused as too wide to be
// precise.
inline constexpr int kMinimumFractionBits = 16;

// Scalars (sums over a device's examples: examples, loss, metric) have weight 1
// and this many fraction bits.
inline constexpr int kScalarFractionBits = 20;

struct FixedPointBounds {
  double value_bound = 0;       // > 0, finite; largest |x|
  int64_t weight_bound = 0;     // 1 … 2^31 − 1; largest weight
  int64_t maximum_updates = 0;  // ≥ 1; most updates in one sum
};

// The f of above.
// INVALID_ARGUMENT: a bound out of its range, or so wide that f would be less
// than kMinimumFractionBits.
absl::StatusOr<int> FractionBits(const FixedPointBounds& bounds);

// Largest magnitude of a scalar so that sums of `maximum_updates` stay within
// 2^62: 2^(42 − n), n as above. Precondition: maximum_updates ≥ 1.
double ScalarBound(int64_t maximum_updates);

// Adding this rounds a double of magnitude at most 2^51 to an integer, which
// then is the difference of the bits of sum and shift.
inline constexpr double kRoundingShift = 0x1.8p52;

// round(x · 2^f), to the nearest, ties to even. Precondition: |x| within the
// bound that f was made for. `scale` is 2^f.
inline int64_t RoundToFixedPoint(float value, double scale) {
  return static_cast<int64_t>(
      std::bit_cast<uint64_t>(static_cast<double>(value) * scale +
                              kRoundingShift) -
      std::bit_cast<uint64_t>(kRoundingShift));
}

// round(value · 2^kScalarFractionBits), to the nearest, ties to even; none for
// a NaN, an infinity or a magnitude above `bound`, a ScalarBound.
std::optional<int64_t> ScalarToFixedPoint(double value, double bound);

// Position of the first value that is a NaN or larger in magnitude than
// `bound`, if there is one. One read pass.
std::optional<size_t> FindOutside(std::span<const float> values, double bound);

}  // namespace mledge

#endif  // MLEDGE_AGGREGATION_FIXED_POINT_H_
