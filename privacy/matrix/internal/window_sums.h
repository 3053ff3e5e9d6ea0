#ifndef MLEDGE_PRIVACY_MATRIX_INTERNAL_WINDOW_SUMS_H_
#define MLEDGE_PRIVACY_MATRIX_INTERNAL_WINDOW_SUMS_H_

#include <cstdint>
#include <span>
#include <vector>

namespace mledge::matrix_internal {

// sums[t] = values[t] + values[t − stride] + … , `window` terms at most. The
// sum of columns 0, stride, 2·stride, … of a Toeplitz matrix is that of its
// first column. In time and memory of the size of `values`, without
// subtractions: a window of any length is the end of one block and the
// beginning of the next, so values that are not negative keep a relative error
// of at most `window` roundings. Preconditions: stride, window ≥ 1.
std::vector<double> WindowSums(std::span<const double> values, int64_t stride,
                               int64_t window);

}  // namespace mledge::matrix_internal

#endif  // MLEDGE_PRIVACY_MATRIX_INTERNAL_WINDOW_SUMS_H_
