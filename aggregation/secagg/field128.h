#ifndef MLEDGE_AGGREGATION_SECAGG_FIELD128_H_
#define MLEDGE_AGGREGATION_SECAGG_FIELD128_H_

#include <cstdint>
#include <span>

// GF(2^128) with the polynomial x^128 + x^7 + x^2 + x + 1; bit i of a number is
// the coefficient of x^i (not GHASH's reflected order). Bytes are
// little-endian. Every function takes the same time whatever the field
// elements are; only indices, which are public, may steer a branch. Carry-less
// multiplication is used where the processor has it, found at run time; the
// portable way gives the same results.

namespace mledge::secagg {

struct Field128 {
  uint64_t low = 0;
  uint64_t high = 0;

  bool operator==(const Field128&) const = default;
  friend Field128 operator^(Field128 a, Field128 b) {
    return {a.low ^ b.low, a.high ^ b.high};
  }
  Field128& operator^=(Field128 b) { return *this = *this ^ b; }

  static Field128 FromBytes(std::span<const uint8_t, 16> bytes);
  void ToBytes(std::span<uint8_t, 16> bytes) const;
};

Field128 Multiply(Field128 a, Field128 b);
// `b` is public and small: cheaper than Multiply.
Field128 MultiplyBySmall(Field128 a, uint32_t b);
// 1 / a; zero for zero.
Field128 Invert(Field128 a);

// values[i] = values[i] · points[i] ^ addend: one step of Horner's rule for
// many points at once. Precondition: equal sizes. `points` are public.
void MultiplyBySmallAndAdd(std::span<Field128> values,
                           std::span<const uint32_t> points, Field128 addend);

namespace field128_internal {
// The two ways, for tests and for the benchmark; the first only where
// HasCarrylessMultiply().
bool HasCarrylessMultiply();
Field128 MultiplyCarryless(Field128 a, Field128 b);
Field128 MultiplyPortable(Field128 a, Field128 b);
Field128 MultiplyBySmallPortable(Field128 a, uint32_t b);
void MultiplyBySmallAndAddPortable(std::span<Field128> values,
                                   std::span<const uint32_t> points,
                                   Field128 addend);
}  // namespace field128_internal

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_FIELD128_H_
