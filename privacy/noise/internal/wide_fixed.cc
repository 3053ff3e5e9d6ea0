#include "mledge/privacy/noise/internal/wide_fixed.h"

#include <cmath>
#include <cstddef>

#include "mledge/core/logging.h"

namespace mledge::noise_internal {
namespace {

using Double = unsigned __int128;

}  // namespace

WideFixed WideFixed::Quotient(WideFixed numerator, int shift,
                              const WideFixed& denominator,
                              WideFixed* remainder) {
  CHECK(numerator < denominator && denominator.limbs_[3] >> 63 == 0);
  WideFixed quotient;
  for (int i = 0; i < shift; ++i) {
    CHECK(quotient.limbs_[3] >> 63 == 0);
    quotient = quotient.ShiftedLeft(1);
    numerator = numerator.ShiftedLeft(1);
    if (numerator >= denominator) {
      numerator = numerator - denominator;
      quotient.limbs_[0] |= 1;
    }
  }
  if (remainder != nullptr) *remainder = numerator;
  return quotient;
}

WideFixed WideFixed::ShiftedLeft(int bits) const {
  WideFixed result;
  const auto whole = static_cast<size_t>(bits / 64);
  const int part = bits % 64;
  for (size_t i = whole; i < 4; ++i) {
    result.limbs_[i] = limbs_[i - whole] << part;
    if (part > 0 && i > whole) {
      result.limbs_[i] |= limbs_[i - whole - 1] >> (64 - part);
    }
  }
  return result;
}

WideFixed WideFixed::ShiftedRight(int bits) const {
  WideFixed result;
  const auto whole = static_cast<size_t>(bits / 64);
  const int part = bits % 64;
  for (size_t i = 0; i + whole < 4; ++i) {
    result.limbs_[i] = limbs_[i + whole] >> part;
    if (part > 0 && i + whole + 1 < 4) {
      result.limbs_[i] |= limbs_[i + whole + 1] << (64 - part);
    }
  }
  return result;
}

WideFixed WideFixed::operator+(const WideFixed& other) const {
  WideFixed result;
  Double carry = 0;
  for (size_t i = 0; i < 4; ++i) {
    carry += static_cast<Double>(limbs_[i]) + other.limbs_[i];
    result.limbs_[i] = static_cast<uint64_t>(carry);
    carry >>= 64;
  }
  CHECK(carry == 0);
  return result;
}

WideFixed WideFixed::operator-(const WideFixed& other) const {
  WideFixed result;
  uint64_t borrow = 0;
  for (size_t i = 0; i < 4; ++i) {
    const Double minuend = (Double{1} << 64) + limbs_[i];
    const Double difference = minuend - other.limbs_[i] - borrow;
    result.limbs_[i] = static_cast<uint64_t>(difference);
    borrow = difference >> 64 == 0 ? 1 : 0;
  }
  CHECK(borrow == 0);
  return result;
}

WideFixed WideFixed::Multiply(const WideFixed& other) const {
  std::array<uint64_t, 8> product{};
  for (size_t i = 0; i < 4; ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < 4; ++j) {
      const Double term = static_cast<Double>(limbs_[i]) * other.limbs_[j] +
                          product[i + j] + carry;
      product[i + j] = static_cast<uint64_t>(term);
      carry = static_cast<uint64_t>(term >> 64);
    }
    product[i + 4] = carry;
  }
  // Bits 240 … 495.
  constexpr size_t kWhole = kFractionBits / 64;
  constexpr int kPart = kFractionBits % 64;
  CHECK(product[kWhole + 4] >> kPart == 0);
  WideFixed result;
  for (size_t i = 0; i < 4; ++i) {
    result.limbs_[i] = product[i + kWhole] >> kPart | product[i + kWhole + 1]
                                                          << (64 - kPart);
  }
  return result;
}

WideFixed WideFixed::DividedBy(uint64_t divisor) const {
  WideFixed result;
  Double rest = 0;
  for (size_t i = 4; i-- > 0;) {
    rest = rest << 64 | limbs_[i];
    result.limbs_[i] = static_cast<uint64_t>(rest / divisor);
    rest %= divisor;
  }
  return result;
}

std::strong_ordering WideFixed::operator<=>(const WideFixed& other) const {
  for (size_t i = 4; i-- > 0;) {
    if (limbs_[i] != other.limbs_[i]) return limbs_[i] <=> other.limbs_[i];
  }
  return std::strong_ordering::equal;
}

WideFixed Reciprocal(double value) {
  constexpr int kMantissaBits = 53;
  int exponent = 0;
  const auto mantissa = static_cast<uint64_t>(
      std::ldexp(std::frexp(value, &exponent), kMantissaBits));
  exponent -= kMantissaBits;
  // value = mantissa · 2^exponent.
  return WideFixed::Quotient(WideFixed(1), WideFixed::kFractionBits - exponent,
                             WideFixed(mantissa));
}

WideFixed ExpOfMinus(const WideFixed& x) {
  // Halved until below 1/2, then squared as often: each squaring doubles the
  // error, 17 of them at most.
  int halvings = 0;
  WideFixed reduced = x;
  while (reduced >= WideFixed::One().ShiftedRight(1)) {
    reduced = reduced.ShiftedRight(1);
    ++halvings;
  }
  // Terms with a plus and terms with a minus apart.
  WideFixed plus = WideFixed::One();
  WideFixed minus;
  WideFixed term = WideFixed::One();
  for (uint64_t n = 1; !term.IsZero(); ++n) {
    term = term.Multiply(reduced).DividedBy(n);
    (n % 2 == 0 ? plus : minus) = (n % 2 == 0 ? plus : minus) + term;
  }
  WideFixed result = plus - minus;
  for (; halvings > 0; --halvings) result = result.Multiply(result);
  return result;
}

}  // namespace mledge::noise_internal
