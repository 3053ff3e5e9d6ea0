#ifndef MLEDGE_AGGREGATION_INTERNAL_FOLD_KERNEL_H_
#define MLEDGE_AGGREGATION_INTERNAL_FOLD_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <span>

// The loops that touch every value of every update. Each is compiled for
// several vector units and chosen once by what the CPU can do; all give the
// same bits (fixed_point.h says why). Thread-safe for different accumulators.

namespace mledge::aggregation_internal {

struct WeightedValues {
  const float* values;
  int64_t weight;  // 1 … 2^31 − 1
};

// accumulator[i] += Σ weight · round(values[i] · scale) for every update, in
// arithmetic modulo 2^64. `size` values each.
void FoldValues(std::span<const WeightedValues> updates, double scale,
                int64_t* accumulator, size_t size);

// Whether every |values[i]| ≤ bound; false if one is a NaN.
bool AllWithin(const float* values, size_t size, float bound);

// The vector unit in use: "avx512", "avx2" or "baseline". For manifests and
// tests.
const char* VectorUnit();

}  // namespace mledge::aggregation_internal

#endif  // MLEDGE_AGGREGATION_INTERNAL_FOLD_KERNEL_H_
