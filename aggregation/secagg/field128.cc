#include "mledge/aggregation/secagg/field128.h"

#include <array>
#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MLEDGE_ALWAYS_INLINE inline __attribute__((always_inline))

namespace mledge::secagg {
namespace {

// x^128 is this, modulo the polynomial.
constexpr uint64_t kPolynomial = 0x87;

MLEDGE_ALWAYS_INLINE Field128 TimesX(Field128 a) {
  const uint64_t carry = 0 - (a.high >> 63);
  return {a.low << 1 ^ (carry & kPolynomial), a.high << 1 | a.low >> 63};
}

#if defined(__x86_64__)
#define MLEDGE_CARRYLESS __attribute__((target("pclmul")))

MLEDGE_CARRYLESS MLEDGE_ALWAYS_INLINE Field128 Product64(uint64_t a,
                                                         uint64_t b) {
  const __m128i product =
      _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(a)),
                           _mm_cvtsi64_si128(static_cast<int64_t>(b)), 0);
  return {static_cast<uint64_t>(_mm_cvtsi128_si64(product)),
          static_cast<uint64_t>(
              _mm_cvtsi128_si64(_mm_unpackhi_epi64(product, product)))};
}

MLEDGE_CARRYLESS MLEDGE_ALWAYS_INLINE Field128 BySmall(Field128 a, uint32_t b) {
  const __m128i x =
      _mm_set_epi64x(static_cast<int64_t>(a.high), static_cast<int64_t>(a.low));
  const __m128i y = _mm_cvtsi32_si128(static_cast<int>(b));
  const __m128i low = _mm_clmulepi64_si128(x, y, 0x00);
  const __m128i high = _mm_clmulepi64_si128(x, y, 0x01);
  // What lies above x^128, 31 bits at most, is folded back.
  const __m128i excess = _mm_clmulepi64_si128(
      high, _mm_cvtsi32_si128(static_cast<int>(kPolynomial)), 0x01);
  const __m128i sum =
      _mm_xor_si128(_mm_xor_si128(low, excess), _mm_slli_si128(high, 8));
  return {
      static_cast<uint64_t>(_mm_cvtsi128_si64(sum)),
      static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum)))};
}

MLEDGE_CARRYLESS void HornerCarryless(Field128* values, const uint32_t* points,
                                      size_t size, Field128 addend) {
  for (size_t i = 0; i < size; ++i) {
    values[i] = BySmall(values[i], points[i]) ^ addend;
  }
}

MLEDGE_CARRYLESS Field128 SmallCarryless(Field128 a, uint32_t b) {
  return BySmall(a, b);
}
#endif

bool UseCarryless() {
  static const bool use = field128_internal::HasCarrylessMultiply();
  return use;
}

}  // namespace

namespace field128_internal {

#if defined(__x86_64__)
bool HasCarrylessMultiply() { return __builtin_cpu_supports("pclmul") != 0; }

MLEDGE_CARRYLESS Field128 MultiplyCarryless(Field128 a, Field128 b) {
  const Field128 low = Product64(a.low, b.low);
  const Field128 high = Product64(a.high, b.high);
  const Field128 middle =
      Product64(a.low ^ a.high, b.low ^ b.high) ^ low ^ high;
  Field128 result{low.low, low.high ^ middle.low};
  const uint64_t third = high.low ^ middle.high;
  const Field128 upper = Product64(high.high, kPolynomial);
  result.high ^= upper.low;
  return result ^ Product64(third ^ upper.high, kPolynomial);
}
#else
bool HasCarrylessMultiply() { return false; }

Field128 MultiplyCarryless(Field128 a, Field128 b) {
  return MultiplyPortable(a, b);
}
#endif

Field128 MultiplyPortable(Field128 a, Field128 b) {
  Field128 result;
  const std::array<uint64_t, 2> words = {b.low, b.high};
  for (const uint64_t word : words) {
    for (int bit = 0; bit < 64; ++bit) {
      const uint64_t take = 0 - (word >> bit & 1);
      result.low ^= a.low & take;
      result.high ^= a.high & take;
      a = TimesX(a);
    }
  }
  return result;
}

Field128 MultiplyBySmallPortable(Field128 a, uint32_t b) {
  Field128 result;
  for (int bit = 31; bit >= 0; --bit) {
    if (b >> bit == 0) continue;
    result = TimesX(result);
    if ((b >> bit & 1) != 0) result ^= a;
  }
  return result;
}

void MultiplyBySmallAndAddPortable(std::span<Field128> values,
                                   std::span<const uint32_t> points,
                                   Field128 addend) {
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = MultiplyBySmallPortable(values[i], points[i]) ^ addend;
  }
}

}  // namespace field128_internal

Field128 Field128::FromBytes(std::span<const uint8_t, 16> bytes) {
  Field128 element;
  for (size_t i = 0; i < 8; ++i) {
    element.low |= uint64_t{bytes[i]} << (8 * i);
    element.high |= uint64_t{bytes[8 + i]} << (8 * i);
  }
  return element;
}

void Field128::ToBytes(std::span<uint8_t, 16> bytes) const {
  for (size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<uint8_t>(low >> (8 * i));
    bytes[8 + i] = static_cast<uint8_t>(high >> (8 * i));
  }
}

Field128 Multiply(Field128 a, Field128 b) {
  return UseCarryless() ? field128_internal::MultiplyCarryless(a, b)
                        : field128_internal::MultiplyPortable(a, b);
}

Field128 MultiplyBySmall(Field128 a, uint32_t b) {
#if defined(__x86_64__)
  if (UseCarryless()) return SmallCarryless(a, b);
#endif
  return field128_internal::MultiplyBySmallPortable(a, b);
}

void MultiplyBySmallAndAdd(std::span<Field128> values,
                           std::span<const uint32_t> points, Field128 addend) {
#if defined(__x86_64__)
  if (UseCarryless()) {
    HornerCarryless(values.data(), points.data(), values.size(), addend);
    return;
  }
#endif
  field128_internal::MultiplyBySmallAndAddPortable(values, points, addend);
}

Field128 Invert(Field128 a) {
  // a^(2^128 − 2) = (a^(2^127 − 1))^2; by Fermat's little theorem.
  Field128 power = a;
  for (int i = 0; i < 126; ++i) power = Multiply(Multiply(power, power), a);
  return Multiply(power, power);
}

}  // namespace mledge::secagg
