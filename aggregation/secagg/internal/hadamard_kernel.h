#ifndef MLEDGE_AGGREGATION_SECAGG_INTERNAL_HADAMARD_KERNEL_H_
#define MLEDGE_AGGREGATION_SECAGG_INTERNAL_HADAMARD_KERNEL_H_

#include <cstddef>
#include <cstdint>

// The Walsh–Hadamard transform in pieces that fit the first cache, so that a
// chunk passes through memory twice: once for the steps between its far apart
// values (TransformColumns), once for those within blocks (TransformBlock).
// Steps go from far to near in either, as in the textbook's loop, so the bits
// are the same. Vector instructions are used where the processor has them,
// found at run time; results are the same.

namespace mledge::secagg::secagg_internal {

// The values of a block, at most. A power of two.
inline constexpr size_t kHadamardBlock = 4096;

// Values on their way in or out: bit i of `signs`, the lowest of each byte
// first, negates value i; no signs where it is null.
struct HadamardSource {
  const float* values = nullptr;
  size_t size = 0;  // values beyond are zero
  const uint8_t* signs = nullptr;
};
struct HadamardSink {
  float* values = nullptr;
  size_t size = 0;  // values beyond are dropped
  const uint8_t* signs = nullptr;
};

// The first log2(rows) steps of a transform of rows · kHadamardBlock values,
// from `source` to `out`, which may be the same memory. Precondition: rows a
// power of two, at most 256.
void TransformColumns(const HadamardSource& source, size_t rows, float* out);

// All steps of a transform of `size` values, times `factor`. Source and sink
// may be the same memory. Precondition: size a power of two, at most
// kHadamardBlock.
void TransformBlock(const HadamardSource& source, size_t size, float factor,
                    const HadamardSink& sink);

// The names of the ways that this processor has, the last one being in use, and
// that way by name, for tests. Not thread-safe.
const char* const* HadamardKernelNames(size_t* count);
bool UseHadamardKernel(const char* name);

}  // namespace mledge::secagg::secagg_internal

#endif  // MLEDGE_AGGREGATION_SECAGG_INTERNAL_HADAMARD_KERNEL_H_
