#ifndef MLEDGE_AGGREGATION_SECAGG_INTERNAL_SHARE_DECODER_H_
#define MLEDGE_AGGREGATION_SECAGG_INTERNAL_SHARE_DECODER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "mledge/aggregation/secagg/field128.h"
#include "mledge/aggregation/secagg/shamir.h"

// Polynomials over GF(2^128), as far as shamir.cc needs them. The decoder takes
// time that depends on the values: it runs at the server, on shares that the
// server may open.

namespace mledge::secagg::secagg_internal {

// Field elements that are wiped when they go.
class WipedElements {
 public:
  explicit WipedElements(size_t size) : elements_(size) {}
  ~WipedElements() {
    WipeMemory({reinterpret_cast<uint8_t*>(elements_.data()),
                elements_.size() * sizeof(Field128)});
  }
  WipedElements(const WipedElements&) = delete;
  WipedElements& operator=(const WipedElements&) = delete;

  std::span<Field128> span() { return elements_; }

 private:
  std::vector<Field128> elements_;
};

std::array<Field128, 2> LimbsOf(std::span<const uint8_t, 32> bytes);
std::vector<uint32_t> PointsOf(std::span<const ShareIndex> holders);

// Replaces each element by its inverse, with one inversion for all.
// Precondition: none is zero.
void InvertAll(std::span<Field128> elements);

// The value at 0 of the one polynomial of degree below `threshold` that takes
// all but at most ⌊(points − threshold) / 2⌋ of the values; none when there is
// no such polynomial. Sets `is_wrong` where a value is not taken, and leaves it
// elsewhere. (Gao, "A new algorithm for decoding Reed–Solomon codes", 2003;
// square in the number of points.) Preconditions: distinct points, equal
// sizes, 1 ≤ threshold ≤ points.
std::optional<Field128> DecodeConstant(std::span<const uint32_t> points,
                                       std::span<const Field128> values,
                                       size_t threshold,
                                       std::vector<bool>& is_wrong);

}  // namespace mledge::secagg::secagg_internal

#endif  // MLEDGE_AGGREGATION_SECAGG_INTERNAL_SHARE_DECODER_H_
