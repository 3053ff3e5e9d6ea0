#include "mledge/aggregation/internal/fold_kernel.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "mledge/aggregation/fixed_point.h"

// Plain loops that the compiler vectorizes, in always-inline functions that are
// instantiated once for each instruction set. Not target_clones: its resolvers
// run before a sanitizer's run-time library is ready.
#define MLEDGE_ALWAYS_INLINE inline __attribute__((always_inline))

namespace mledge::aggregation_internal {
namespace {

// Values of the accumulator that stay in the cache while all updates pass by.
constexpr size_t kCached = 16384;
// Values between two rounds of prefetching, in a cache line, and by which
// prefetching runs ahead: processors stop their own at each page's end, and
// this is what hides the arithmetic behind the memory.
constexpr size_t kStrip = 64;
constexpr size_t kLine = 16;
constexpr size_t kAhead = 512;

// kUpdates at a time over one stretch of the accumulator. The bits of
// RoundToFixedPoint's shift, which it subtracts from each rounded value, are
// subtracted once for all updates, times their weights: modulo 2^64 the same.
template <int kUpdates>
MLEDGE_ALWAYS_INLINE void FoldSome(const float* const* values,
                                   const uint64_t* weights, double scale,
                                   uint64_t* accumulator, size_t size) {
  const float* x[kUpdates];
  uint64_t w[kUpdates];
  uint64_t shifts = 0;
  for (int k = 0; k < kUpdates; ++k) {
    x[k] = values[k];
    w[k] = weights[k];
    shifts += w[k] * std::bit_cast<uint64_t>(kRoundingShift);
  }
  const auto fold_one = [&](size_t i) __attribute__((always_inline)) {
    uint64_t sum = accumulator[i] - shifts;
    for (int k = 0; k < kUpdates; ++k) {
      const double shifted =
          static_cast<double>(x[k][i]) * scale + kRoundingShift;
      sum += w[k] * std::bit_cast<uint64_t>(shifted);
    }
    accumulator[i] = sum;
  };
  size_t i = 0;
  for (; i + kStrip <= size; i += kStrip) {
    for (int k = 0; k < kUpdates; ++k) {
      for (size_t line = 0; line < kStrip; line += kLine) {
        __builtin_prefetch(x[k] + i + kAhead + line);
      }
    }
    for (size_t j = i; j < i + kStrip; ++j) fold_one(j);
  }
  for (; i < size; ++i) fold_one(i);
}

MLEDGE_ALWAYS_INLINE void FoldAll(std::span<const WeightedValues> updates,
                                  double scale, int64_t* accumulator,
                                  size_t size) {
  constexpr size_t kGroup = 4;
  for (size_t begin = 0; begin < size; begin += kCached) {
    const size_t count = std::min(kCached, size - begin);
    auto* sums = reinterpret_cast<uint64_t*>(accumulator) + begin;
    for (size_t first = 0; first < updates.size(); first += kGroup) {
      const size_t group = std::min(kGroup, updates.size() - first);
      const float* values[kGroup];
      uint64_t weights[kGroup];
      for (size_t k = 0; k < group; ++k) {
        values[k] = updates[first + k].values + begin;
        weights[k] = static_cast<uint64_t>(updates[first + k].weight);
      }
      if (group == kGroup) {
        FoldSome<kGroup>(values, weights, scale, sums, count);
      } else {
        for (size_t k = 0; k < group; ++k) {
          FoldSome<1>(values + k, weights + k, scale, sums, count);
        }
      }
    }
  }
}

MLEDGE_ALWAYS_INLINE bool AllWithinLoop(const float* values, size_t size,
                                        float bound) {
  // Counted in blocks without a branch inside, which would keep the loop from
  // being vectorized.
  for (size_t begin = 0; begin < size; begin += kCached) {
    const size_t end = std::min(size, begin + kCached);
    uint32_t outside = 0;
    for (size_t i = begin; i < end; ++i) {
      outside += std::fabs(values[i]) <= bound ? 0 : 1;
    }
    if (outside != 0) return false;
  }
  return true;
}

using FoldFunction = void (*)(std::span<const WeightedValues>, double, int64_t*,
                              size_t);
using WithinFunction = bool (*)(const float*, size_t, float);

struct Kernels {
  const char* name;
  FoldFunction fold;
  WithinFunction within;
};

void FoldBaseline(std::span<const WeightedValues> updates, double scale,
                  int64_t* accumulator, size_t size) {
  FoldAll(updates, scale, accumulator, size);
}
bool WithinBaseline(const float* values, size_t size, float bound) {
  return AllWithinLoop(values, size, bound);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void FoldAvx2(
    std::span<const WeightedValues> updates, double scale, int64_t* accumulator,
    size_t size) {
  FoldAll(updates, scale, accumulator, size);
}
__attribute__((target("avx2"))) bool WithinAvx2(const float* values,
                                                size_t size, float bound) {
  return AllWithinLoop(values, size, bound);
}
// g++ would use half of the unit; clang knows no such wish and needs none.
#if defined(__clang__)
#define MLEDGE_AVX512 target("avx512f,avx512dq,avx512vl,avx512bw")
#else
#define MLEDGE_AVX512 \
  target("avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512")
#endif
__attribute__((MLEDGE_AVX512)) void FoldAvx512(
    std::span<const WeightedValues> updates, double scale, int64_t* accumulator,
    size_t size) {
  FoldAll(updates, scale, accumulator, size);
}
__attribute__((MLEDGE_AVX512)) bool WithinAvx512(const float* values,
                                                 size_t size, float bound) {
  return AllWithinLoop(values, size, bound);
}
#endif

Kernels Choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw")) {
    return {"avx512", FoldAvx512, WithinAvx512};
  }
  if (__builtin_cpu_supports("avx2")) return {"avx2", FoldAvx2, WithinAvx2};
#endif
  return {"baseline", FoldBaseline, WithinBaseline};
}

const Kernels& Chosen() {
  static const Kernels kernels = Choose();
  return kernels;
}

}  // namespace

void FoldValues(std::span<const WeightedValues> updates, double scale,
                int64_t* accumulator, size_t size) {
  Chosen().fold(updates, scale, accumulator, size);
}

bool AllWithin(const float* values, size_t size, float bound) {
  return Chosen().within(values, size, bound);
}

const char* VectorUnit() { return Chosen().name; }

}  // namespace mledge::aggregation_internal
