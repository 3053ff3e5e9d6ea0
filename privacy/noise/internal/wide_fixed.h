#ifndef MLEDGE_PRIVACY_NOISE_INTERNAL_WIDE_FIXED_H_
#define MLEDGE_PRIVACY_NOISE_INTERNAL_WIDE_FIXED_H_

#include <array>
#include <compare>
#include <cstdint>

// Numbers of 256 bits for the tables of the samplers: non-negative integers, or
// fixed point with 240 fraction bits (so below 65,536) where Multiply and the
// constants say so. No floating point: a table is the same on every machine,
// and its error is a count of roundings by 2^-240. Overflow is our own broken
// invariant; nothing here sees a secret or runs in a hurry.

namespace mledge::noise_internal {

class WideFixed {
 public:
  static constexpr int kFractionBits = 240;

  constexpr WideFixed() = default;
  explicit constexpr WideFixed(uint64_t integer) : limbs_{integer, 0, 0, 0} {}
  // 1 in fixed point.
  static WideFixed One() { return WideFixed(1).ShiftedLeft(kFractionBits); }
  // ⌊numerator · 2^shift / denominator⌋, for numerator < denominator < 2^255
  // and a quotient below 2^256; `remainder`, where wanted, is numerator ·
  // 2^shift − quotient · denominator.
  static WideFixed Quotient(WideFixed numerator, int shift,
                            const WideFixed& denominator,
                            WideFixed* remainder = nullptr);

  WideFixed ShiftedLeft(int bits) const;
  WideFixed ShiftedRight(int bits) const;
  WideFixed operator+(const WideFixed& other) const;
  // Precondition: other ≤ *this.
  WideFixed operator-(const WideFixed& other) const;
  // The product of two fixed-point numbers, rounded down.
  WideFixed Multiply(const WideFixed& other) const;
  // Rounded down.
  WideFixed DividedBy(uint64_t divisor) const;

  bool IsZero() const { return *this == WideFixed(); }
  bool operator==(const WideFixed&) const = default;
  std::strong_ordering operator<=>(const WideFixed& other) const;

  // The lower 64 and 128 bits.
  uint64_t Low64() const { return limbs_[0]; }
  unsigned __int128 Low128() const {
    return static_cast<unsigned __int128>(limbs_[1]) << 64 | limbs_[0];
  }

 private:
  std::array<uint64_t, 4> limbs_{};  // the lowest first
};

// 1 / value in fixed point, rounded down: a double is a fraction whose
// denominator is a power of two, so the only error is that rounding.
// Precondition: 2^-12 ≤ value < 2^100.
WideFixed Reciprocal(double value);

// e^-x for a fixed-point x, to within 2^-220.
WideFixed ExpOfMinus(const WideFixed& x);

}  // namespace mledge::noise_internal

#endif  // MLEDGE_PRIVACY_NOISE_INTERNAL_WIDE_FIXED_H_
