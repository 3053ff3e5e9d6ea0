#ifndef MLEDGE_AGGREGATION_SECAGG_INTERNAL_LANE_KERNEL_H_
#define MLEDGE_AGGREGATION_SECAGG_INTERNAL_LANE_KERNEL_H_

#include <cstddef>
#include <cstdint>

// The loops that touch every coordinate of a vector modulo 2^b. Lanes are
// uint16_t for b ≤ 16, else uint32_t, and wrap freely. Vector instructions are
// used where the processor has them, found at run time; results are the same.

namespace mledge::secagg::secagg_internal {

// The most keystreams that AddStreams takes at once: adding several in one pass
// reads and writes the accumulator once instead of once for each.
inline constexpr size_t kMostStreams = 8;

// accumulator[i] += streams[0][i] + … + streams[count − 1][i], or −= that sum.
// Streams are bytes of little-endian lanes. Precondition: 1 ≤ count ≤
// kMostStreams.
template <typename Lane>
void AddStreams(Lane* accumulator, const uint8_t* const* streams, size_t count,
                size_t lanes, bool subtract);

// The low b bits of `lanes` lanes into ⌈lanes · b / 8⌉ bytes.
template <typename Lane>
void Pack(int bits, const Lane* lanes, size_t count, uint8_t* out);

// accumulator[i] += the packed coordinate i. The bits that fill the last byte
// are ignored.
template <typename Lane>
void UnpackAndAdd(int bits, const uint8_t* packed, size_t count,
                  Lane* accumulator);

// The ways without vector instructions, for tests.
template <typename Lane>
void AddStreamsPortable(Lane* accumulator, const uint8_t* const* streams,
                        size_t count, size_t lanes, bool subtract);
template <typename Lane>
void UnpackAndAddPortable(int bits, const uint8_t* packed, size_t count,
                          Lane* accumulator);

}  // namespace mledge::secagg::secagg_internal

#endif  // MLEDGE_AGGREGATION_SECAGG_INTERNAL_LANE_KERNEL_H_
