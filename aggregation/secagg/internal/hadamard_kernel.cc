#include "mledge/aggregation/secagg/internal/hadamard_kernel.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

// Loops over vectors of 4, 8 or 16 floats, in always-inline functions that are
// instantiated once for each instruction set. Not target_clones: its resolvers
// run before a sanitizer's library is ready.
#define MLEDGE_ALWAYS_INLINE inline __attribute__((always_inline))
// Vectors wider than the baseline's never cross a call.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace mledge::secagg::secagg_internal {
namespace {

// Columns that are transformed at once: two cache lines of each row, so that
// 256 rows of them fit the first cache.
constexpr size_t kColumns = 32;
constexpr size_t kMostRows = 256;
constexpr size_t kSignWord = 32;

template <size_t kLanes>
struct VectorOf {
  using Type __attribute__((vector_size(kLanes * sizeof(float)))) = float;
};
template <size_t kLanes>
using Vector = typename VectorOf<kLanes>::Type;

template <size_t kLanes>
MLEDGE_ALWAYS_INLINE void Load(const float* from, Vector<kLanes>& to) {
  std::memcpy(&to, from, sizeof(to));
}
template <size_t kLanes>
MLEDGE_ALWAYS_INLINE void Store(const Vector<kLanes>& from, float* to) {
  std::memcpy(to, &from, sizeof(from));
}

// log2(kRadix) steps, between values half, half/2, … apart: kRadix values at a
// time, `near` = 2 · half / kRadix apart.
template <size_t kLanes, size_t kRadix>
MLEDGE_ALWAYS_INLINE void Steps(float* values, size_t size, size_t near) {
  for (size_t group = 0; group < size; group += kRadix * near) {
    for (size_t i = group; i < group + near; i += kLanes) {
      Vector<kLanes> v[kRadix];
      for (size_t k = 0; k < kRadix; ++k) {
        Load<kLanes>(values + i + k * near, v[k]);
      }
#pragma GCC unroll 3
      for (size_t half = kRadix / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
        for (size_t k = 0; k < kRadix; ++k) {
          if ((k & half) != 0) continue;
          const Vector<kLanes> a = v[k];
          const Vector<kLanes> b = v[k + half];
          v[k] = a + b;
          v[k + half] = a - b;
        }
      }
      for (size_t k = 0; k < kRadix; ++k) {
        Store<kLanes>(v[k], values + i + k * near);
      }
    }
  }
}

// The steps from size/2 apart down to `last` apart; last ≥ kLanes.
template <size_t kLanes>
MLEDGE_ALWAYS_INLINE void FarSteps(float* values, size_t size, size_t last) {
  size_t half = size / 2;
  while (half >= last) {
    if (half / 4 >= last) {
      Steps<kLanes, 8>(values, size, half / 4);
      half /= 8;
    } else if (half / 2 >= last) {
      Steps<kLanes, 4>(values, size, half / 2);
      half /= 4;
    } else {
      Steps<kLanes, 2>(values, size, half);
      half /= 2;
    }
  }
}

// One step within a vector: a + b in the lower place, a − b in the upper.
template <size_t kLanes, size_t kHalf, size_t... kLane>
MLEDGE_ALWAYS_INLINE void NearStep(Vector<kLanes>& v,
                                   std::index_sequence<kLane...>) {
  constexpr Vector<kLanes> kSigns = {((kLane & kHalf) == 0 ? 1.0F : -1.0F)...};
  v = __builtin_shufflevector(v, v, (kLane ^ kHalf)...) + v * kSigns;
}

template <size_t kLanes>
MLEDGE_ALWAYS_INLINE void NearSteps(float* values, size_t size) {
  constexpr auto kAll = std::make_index_sequence<kLanes>();
  for (size_t i = 0; i < size; i += kLanes) {
    Vector<kLanes> v;
    Load<kLanes>(values + i, v);
    if constexpr (kLanes >= 16) NearStep<kLanes, 8>(v, kAll);
    if constexpr (kLanes >= 8) NearStep<kLanes, 4>(v, kAll);
    NearStep<kLanes, 2>(v, kAll);
    NearStep<kLanes, 1>(v, kAll);
    Store<kLanes>(v, values + i);
  }
}

// to[k] = ±from[k] · factor, 32 values.
MLEDGE_ALWAYS_INLINE void FlipWord(const float* from, const uint8_t* signs,
                                   float factor, float* to) {
  uint32_t word;
  std::memcpy(&word, signs, sizeof(word));
  if constexpr (std::endian::native == std::endian::big) {
    word = __builtin_bswap32(word);
  }
  for (uint32_t k = 0; k < kSignWord; ++k) {
    const uint32_t sign = (word & (uint32_t{1} << k)) == 0 ? 0 : 0x80000000U;
    to[k] =
        std::bit_cast<float>(std::bit_cast<uint32_t>(from[k] * factor) ^ sign);
  }
}

// `count` values that begin at `begin`, a multiple of 8.
MLEDGE_ALWAYS_INLINE void Flip(const float* from, const uint8_t* signs,
                               size_t begin, size_t count, float factor,
                               float* to) {
  size_t i = 0;
  if (signs == nullptr) {
    for (; i < count; ++i) to[i] = from[i] * factor;
    return;
  }
  for (; i + kSignWord <= count; i += kSignWord) {
    FlipWord(from + i, signs + (begin + i) / 8, factor, to + i);
  }
  for (; i < count; ++i) {
    const uint32_t sign = uint32_t{signs[(begin + i) / 8]} >> ((begin + i) % 8)
                                                                  << 31;
    to[i] =
        std::bit_cast<float>(std::bit_cast<uint32_t>(from[i] * factor) ^ sign);
  }
}

// Values begin … begin + count − 1 of the source.
MLEDGE_ALWAYS_INLINE void Read(const HadamardSource& source, size_t begin,
                               size_t count, float* to) {
  const size_t present =
      begin < source.size ? std::min(count, source.size - begin) : 0;
  if (present > 0) {
    Flip(source.values + begin, source.signs, begin, present, 1.0F, to);
  }
  for (size_t i = present; i < count; ++i) to[i] = 0;
}

template <size_t kLanes>
MLEDGE_ALWAYS_INLINE void Columns(const HadamardSource& source, size_t rows,
                                  float* out) {
  alignas(64) std::array<float, kMostRows * kColumns> buffer;
  for (size_t column = 0; column < kHadamardBlock; column += kColumns) {
    for (size_t row = 0; row < rows; ++row) {
      const size_t begin = row * kHadamardBlock + column;
      // The next columns: a stride that processors do not foresee.
      __builtin_prefetch(source.values + begin + kColumns);
      __builtin_prefetch(source.values + begin + kColumns + kColumns / 2);
      Read(source, begin, kColumns, buffer.data() + row * kColumns);
    }
    FarSteps<kLanes>(buffer.data(), rows * kColumns, kColumns);
    for (size_t row = 0; row < rows; ++row) {
      std::memcpy(out + row * kHadamardBlock + column,
                  buffer.data() + row * kColumns, kColumns * sizeof(float));
    }
  }
}

template <size_t kLanes>
MLEDGE_ALWAYS_INLINE void Block(const HadamardSource& source, size_t size,
                                float factor, const HadamardSink& sink) {
  alignas(64) std::array<float, kHadamardBlock> buffer;
  Read(source, 0, size, buffer.data());
  if (size >= kLanes) {
    FarSteps<kLanes>(buffer.data(), size, kLanes);
    NearSteps<kLanes>(buffer.data(), size);
  } else {
    for (size_t half = size / 2; half > 0; half /= 2) {
      for (size_t i = 0; i < size; ++i) {
        if ((i & half) != 0) continue;
        const float a = buffer[i];
        const float b = buffer[i + half];
        buffer[i] = a + b;
        buffer[i + half] = a - b;
      }
    }
  }
  Flip(buffer.data(), sink.signs, 0, std::min(size, sink.size), factor,
       sink.values);
}

struct Kernel {
  const char* name;
  void (*columns)(const HadamardSource&, size_t, float*);
  void (*block)(const HadamardSource&, size_t, float, const HadamardSink&);
};

void ColumnsBaseline(const HadamardSource& source, size_t rows, float* out) {
  Columns<4>(source, rows, out);
}
void BlockBaseline(const HadamardSource& source, size_t size, float factor,
                   const HadamardSink& sink) {
  Block<4>(source, size, factor, sink);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void ColumnsAvx2(const HadamardSource& source,
                                                 size_t rows, float* out) {
  Columns<8>(source, rows, out);
}
__attribute__((target("avx2"))) void BlockAvx2(const HadamardSource& source,
                                               size_t size, float factor,
                                               const HadamardSink& sink) {
  Block<8>(source, size, factor, sink);
}
// g++ would use half of the unit; clang knows no such wish and needs none.
#if defined(__clang__)
#define MLEDGE_AVX512 target("avx512f,avx512dq,avx512vl,avx512bw")
#else
#define MLEDGE_AVX512 \
  target("avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512")
#endif
__attribute__((MLEDGE_AVX512)) void ColumnsAvx512(const HadamardSource& source,
                                                  size_t rows, float* out) {
  Columns<16>(source, rows, out);
}
__attribute__((MLEDGE_AVX512)) void BlockAvx512(const HadamardSource& source,
                                                size_t size, float factor,
                                                const HadamardSink& sink) {
  Block<16>(source, size, factor, sink);
}
#endif

struct Kernels {
  std::array<Kernel, 3> kernels;
  std::array<const char*, 3> names;
  size_t count = 0;
  size_t chosen = 0;
};

Kernels Find() {
  Kernels found;
  const auto add = [&](const Kernel& kernel) {
    found.kernels[found.count] = kernel;
    found.names[found.count] = kernel.name;
    found.chosen = found.count++;
  };
  add({"baseline", ColumnsBaseline, BlockBaseline});
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) add({"avx2", ColumnsAvx2, BlockAvx2});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw")) {
    add({"avx512", ColumnsAvx512, BlockAvx512});
  }
#endif
  return found;
}

Kernels& Found() {
  static Kernels kernels = Find();
  return kernels;
}

}  // namespace

void TransformColumns(const HadamardSource& source, size_t rows, float* out) {
  const Kernels& found = Found();
  found.kernels[found.chosen].columns(source, rows, out);
}

void TransformBlock(const HadamardSource& source, size_t size, float factor,
                    const HadamardSink& sink) {
  const Kernels& found = Found();
  found.kernels[found.chosen].block(source, size, factor, sink);
}

const char* const* HadamardKernelNames(size_t* count) {
  *count = Found().count;
  return Found().names.data();
}

bool UseHadamardKernel(const char* name) {
  Kernels& found = Found();
  for (size_t i = 0; i < found.count; ++i) {
    if (std::strcmp(found.names[i], name) != 0) continue;
    found.chosen = i;
    return true;
  }
  return false;
}

}  // namespace mledge::secagg::secagg_internal
