#include "mledge/aggregation/secagg/internal/lane_kernel.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Plain loops that the compiler vectorizes, in always-inline functions that are
// instantiated once for each instruction set, and one loop by hand. Not
// target_clones: its resolvers run before a sanitizer's library is ready.
#define MLEDGE_ALWAYS_INLINE inline __attribute__((always_inline))

namespace mledge::secagg::secagg_internal {
namespace {

static_assert(std::endian::native == std::endian::little,
              "lanes are read from the keystream as they lie in memory");

// Coordinates that together are a whole number of bytes, whatever b is.
constexpr size_t kGroup = 8;
constexpr int kFewestBits = 8;
constexpr int kMostBits = 32;

template <typename Lane>
MLEDGE_ALWAYS_INLINE Lane LoadLane(const uint8_t* bytes, size_t i) {
  Lane lane;
  std::memcpy(&lane, bytes + i * sizeof(Lane), sizeof(Lane));
  return lane;
}

template <typename Lane, size_t kCount, bool kSubtract>
MLEDGE_ALWAYS_INLINE void AddSome(Lane* accumulator,
                                  const uint8_t* const* streams, size_t lanes) {
  std::array<const uint8_t*, kCount> stream;
  std::copy_n(streams, kCount, stream.begin());
  for (size_t i = 0; i < lanes; ++i) {
    Lane sum = 0;
    for (size_t k = 0; k < kCount; ++k) {
      sum = static_cast<Lane>(sum + LoadLane<Lane>(stream[k], i));
    }
    accumulator[i] = static_cast<Lane>(kSubtract ? accumulator[i] - sum
                                                 : accumulator[i] + sum);
  }
}

template <typename Lane>
MLEDGE_ALWAYS_INLINE void AddAny(Lane* accumulator,
                                 const uint8_t* const* streams, size_t count,
                                 size_t lanes, bool subtract) {
  // The last streams may be fewer than one pass takes.
  const auto add = [&]<size_t kCount>() __attribute__((always_inline)) {
    if ((count & kCount) == 0) return;
    subtract ? AddSome<Lane, kCount, true>(accumulator, streams, lanes)
             : AddSome<Lane, kCount, false>(accumulator, streams, lanes);
    streams += kCount;
  };
  static_assert(kMostStreams == 8);
  add.template operator()<8>();
  add.template operator()<4>();
  add.template operator()<2>();
  add.template operator()<1>();
}

template <typename Lane>
void AddScalar(Lane* accumulator, const uint8_t* const* streams, size_t count,
               size_t lanes, bool subtract) {
  AddAny(accumulator, streams, count, lanes, subtract);
}

// One coordinate at a time, for the ends of vectors.
MLEDGE_ALWAYS_INLINE uint32_t ReadBits(const uint8_t* packed, size_t bit,
                                       int bits) {
  uint64_t window = 0;
  const size_t first = bit / 8;
  const size_t last = (bit + static_cast<size_t>(bits) - 1) / 8;
  for (size_t i = first; i <= last; ++i) {
    window |= uint64_t{packed[i]} << (8 * (i - first));
  }
  return static_cast<uint32_t>(window >> (bit % 8) &
                               ((uint64_t{1} << bits) - 1));
}

template <typename Lane, int kBits>
void UnpackGroups(const uint8_t* packed, size_t count, Lane* accumulator) {
  constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
  size_t i = 0;
  // Each read takes eight bytes, so the last groups are left to the slow way.
  for (; i + 2 * kGroup <= count; i += kGroup) {
    const uint8_t* const group = packed + i / kGroup * kBits;
#pragma GCC unroll 8
    for (size_t j = 0; j < kGroup; ++j) {
      uint64_t window;
      std::memcpy(&window, group + j * kBits / 8, 8);
      accumulator[i + j] = static_cast<Lane>(
          accumulator[i + j] + (window >> (j * kBits % 8) & kMask));
    }
  }
  for (; i < count; ++i) {
    accumulator[i] =
        static_cast<Lane>(accumulator[i] + ReadBits(packed, i * kBits, kBits));
  }
}

template <typename Lane, int kBits>
void PackGroups(const Lane* lanes, size_t count, uint8_t* out) {
  constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
  size_t i = 0;
  // A group is written as two halves of sixteen bytes, which overlap what
  // follows; the last groups are left to the slow way.
  for (; i + 4 * kGroup <= count; i += kGroup) {
    std::array<uint64_t, 4> pairs;
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) {
      pairs[j] = (lanes[i + 2 * j] & kMask) | (lanes[i + 2 * j + 1] & kMask)
                                                  << kBits;
    }
    using Wide = unsigned __int128;
    const Wide low = pairs[0] | Wide{pairs[1]} << (2 * kBits);
    const Wide high = pairs[2] | Wide{pairs[3]} << (2 * kBits);
    uint8_t* const group = out + i / kGroup * kBits;
    std::memcpy(group, &low, 16);
    if constexpr (kBits % 2 == 0) {
      std::memcpy(group + kBits / 2, &high, 16);
    } else {
      const Wide joined = low >> (4 * kBits - 4) | high << 4;
      std::memcpy(group + kBits / 2, &joined, 16);
    }
  }
  uint64_t window = 0;
  int held = 0;
  uint8_t* next = out + i / kGroup * kBits;
  for (; i < count; ++i) {
    window |= (lanes[i] & kMask) << held;
    for (held += kBits; held >= 8; held -= 8) {
      *next++ = static_cast<uint8_t>(window);
      window >>= 8;
    }
  }
  if (held > 0) *next = static_cast<uint8_t>(window);
}

// Calls `body.operator()<bits>()`.
template <typename Body, int... kOffsets>
MLEDGE_ALWAYS_INLINE void WithBits(int bits, const Body& body,
                                   std::integer_sequence<int, kOffsets...>) {
  static_cast<void>(
      ((bits == kFewestBits + kOffsets &&
        (body.template operator()<kFewestBits + kOffsets>(), true)) ||
       ...));
}

template <typename Lane>
constexpr auto BitsOf() {
  return std::make_integer_sequence<int, (sizeof(Lane) == 2 ? 16 : kMostBits) -
                                             kFewestBits + 1>();
}

#if defined(__x86_64__)
#define MLEDGE_AVX2 __attribute__((target("avx2")))

template <typename Lane>
MLEDGE_AVX2 void AddAvx2(Lane* accumulator, const uint8_t* const* streams,
                         size_t count, size_t lanes, bool subtract) {
  AddAny(accumulator, streams, count, lanes, subtract);
}

#define MLEDGE_AVX512 __attribute__((target("avx512bw")))

template <typename Lane>
MLEDGE_AVX512 MLEDGE_ALWAYS_INLINE __m512i AddLanes(__m512i a, __m512i b) {
  return sizeof(Lane) == 2 ? _mm512_add_epi16(a, b) : _mm512_add_epi32(a, b);
}
template <typename Lane>
MLEDGE_AVX512 MLEDGE_ALWAYS_INLINE __m512i SubtractLanes(__m512i a, __m512i b) {
  return sizeof(Lane) == 2 ? _mm512_sub_epi16(a, b) : _mm512_sub_epi32(a, b);
}

// As many streams as there may be. They lie in the second cache, which whole
// lines leave fastest.
template <typename Lane>
MLEDGE_AVX512 void AddAllAvx512(Lane* accumulator,
                                const uint8_t* const* streams, size_t lanes,
                                bool subtract) {
  constexpr size_t kStep = 64 / sizeof(Lane);
  size_t i = 0;
  for (; i + kStep <= lanes; i += kStep) {
    __m512i sum = _mm512_loadu_si512(streams[0] + i * sizeof(Lane));
#pragma GCC unroll 8
    for (size_t k = 1; k < kMostStreams; ++k) {
      sum = AddLanes<Lane>(sum,
                           _mm512_loadu_si512(streams[k] + i * sizeof(Lane)));
    }
    const __m512i before = _mm512_loadu_si512(accumulator + i);
    _mm512_storeu_si512(accumulator + i, subtract
                                             ? SubtractLanes<Lane>(before, sum)
                                             : AddLanes<Lane>(before, sum));
  }
  if (i == lanes) return;
  std::array<const uint8_t*, kMostStreams> rest;
  for (size_t k = 0; k < kMostStreams; ++k) {
    rest[k] = streams[k] + i * sizeof(Lane);
  }
  AddAny(accumulator + i, rest.data(), kMostStreams, lanes - i, subtract);
}

// The most bits of which any coordinate lies within four bytes.
constexpr int kMostShuffledBits = 25;

// Each half of a 256-bit register gets the bytes of four coordinates; a byte
// shuffle moves each into a 32-bit lane of its own, a shift and a mask cut it
// out. Returns how many coordinates were done; reads no byte past the packed
// ones.
template <typename Lane>
MLEDGE_AVX2 size_t UnpackAvx2(int bits, const uint8_t* packed, size_t count,
                              Lane* accumulator) {
  const size_t total = (count * static_cast<size_t>(bits) + 7) / 8;
  const size_t half = static_cast<size_t>(bits) / 2;
  alignas(32) std::array<uint8_t, 32> shuffle_bytes;
  alignas(32) std::array<uint32_t, 8> shift_counts;
  for (size_t j = 0; j < kGroup; ++j) {
    const size_t bit = j * static_cast<size_t>(bits) - (j < 4 ? 0 : 8 * half);
    for (size_t byte = 0; byte < 4; ++byte) {
      shuffle_bytes[4 * j + byte] = static_cast<uint8_t>(bit / 8 + byte);
    }
    shift_counts[j] = bit % 8;
  }
  const __m256i shuffle =
      _mm256_load_si256(reinterpret_cast<const __m256i*>(shuffle_bytes.data()));
  const __m256i shifts =
      _mm256_load_si256(reinterpret_cast<const __m256i*>(shift_counts.data()));
  const __m256i mask = _mm256_set1_epi32((1 << bits) - 1);
  size_t i = 0;
  for (size_t at = 0; i + kGroup <= count && at + half + 16 <= total;
       i += kGroup, at += static_cast<size_t>(bits)) {
    const __m256i bytes = _mm256_inserti128_si256(
        _mm256_castsi128_si256(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + at))),
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + at + half)),
        1);
    const __m256i values = _mm256_and_si256(
        _mm256_srlv_epi32(_mm256_shuffle_epi8(bytes, shuffle), shifts), mask);
    if constexpr (sizeof(Lane) == 4) {
      auto* const to = reinterpret_cast<__m256i*>(accumulator + i);
      _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), values));
    } else {
      auto* const to = reinterpret_cast<__m128i*>(accumulator + i);
      const __m128i narrow = _mm_packus_epi32(
          _mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
      _mm_storeu_si128(to, _mm_add_epi16(_mm_loadu_si128(to), narrow));
    }
  }
  return i;
}

bool HasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512bw") != 0;
  return has;
}

bool HasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}
#endif

}  // namespace

template <typename Lane>
void AddStreams(Lane* accumulator, const uint8_t* const* streams, size_t count,
                size_t lanes, bool subtract) {
#if defined(__x86_64__)
  if (count == kMostStreams && HasAvx512()) {
    AddAllAvx512(accumulator, streams, lanes, subtract);
    return;
  }
  if (HasAvx2()) {
    AddAvx2(accumulator, streams, count, lanes, subtract);
    return;
  }
#endif
  AddScalar(accumulator, streams, count, lanes, subtract);
}

template <typename Lane>
void AddStreamsPortable(Lane* accumulator, const uint8_t* const* streams,
                        size_t count, size_t lanes, bool subtract) {
  AddScalar(accumulator, streams, count, lanes, subtract);
}

template <typename Lane>
void Pack(int bits, const Lane* lanes, size_t count, uint8_t* out) {
  if (count == 0) return;  // memcpy takes no null pointers
  if (static_cast<size_t>(bits) == 8 * sizeof(Lane)) {
    std::memcpy(out, lanes, count * sizeof(Lane));
    return;
  }
  WithBits(
      bits, [&]<int kBits>() { PackGroups<Lane, kBits>(lanes, count, out); },
      BitsOf<Lane>());
}

template <typename Lane>
void UnpackAndAddPortable(int bits, const uint8_t* packed, size_t count,
                          Lane* accumulator) {
  WithBits(
      bits,
      [&]<int kBits>() {
        UnpackGroups<Lane, kBits>(packed, count, accumulator);
      },
      BitsOf<Lane>());
}

template <typename Lane>
void UnpackAndAdd(int bits, const uint8_t* packed, size_t count,
                  Lane* accumulator) {
  if (static_cast<size_t>(bits) == 8 * sizeof(Lane)) {
    AddStreams(accumulator, &packed, 1, count, /*subtract=*/false);
    return;
  }
#if defined(__x86_64__)
  if (bits <= kMostShuffledBits && HasAvx2()) {
    const size_t done = UnpackAvx2(bits, packed, count, accumulator);
    packed += done / kGroup * static_cast<size_t>(bits);
    accumulator += done;
    count -= done;
  }
#endif
  UnpackAndAddPortable(bits, packed, count, accumulator);
}

#define MLEDGE_INSTANTIATE(Lane)                                               \
  template void AddStreams<Lane>(Lane*, const uint8_t* const*, size_t, size_t, \
                                 bool);                                        \
  template void AddStreamsPortable<Lane>(Lane*, const uint8_t* const*, size_t, \
                                         size_t, bool);                        \
  template void Pack<Lane>(int, const Lane*, size_t, uint8_t*);                \
  template void UnpackAndAdd<Lane>(int, const uint8_t*, size_t, Lane*);        \
  template void UnpackAndAddPortable<Lane>(int, const uint8_t*, size_t, Lane*)
MLEDGE_INSTANTIATE(uint16_t);
MLEDGE_INSTANTIATE(uint32_t);
#undef MLEDGE_INSTANTIATE

}  // namespace mledge::secagg::secagg_internal
