#include "mledge/privacy/matrix/internal/window_sums.h"

#include <cstddef>

#include "mledge/core/logging.h"

namespace mledge::matrix_internal {

std::vector<double> WindowSums(std::span<const double> values, int64_t stride,
                               int64_t window) {
  CHECK(stride >= 1 && window >= 1);
  const size_t size = values.size();
  const auto step = static_cast<size_t>(stride);
  const auto block = static_cast<size_t>(window);
  // Sums from the beginning of the block to here, and from here to its end.
  std::vector<double> heads(values.begin(), values.end());
  std::vector<double> tails(values.begin(), values.end());
  for (size_t t = step; t < size; ++t) {
    if ((t / step) % block != 0) heads[t] += heads[t - step];
  }
  for (size_t t = size; t-- > step;) {
    if ((t / step) % block != 0) tails[t - step] += tails[t];
  }
  for (size_t t = 0; t < size; ++t) {
    const size_t index = t / step;
    if (index >= block && (index + 1) % block != 0) {
      heads[t] += tails[t - (block - 1) * step];
    }
  }
  return heads;
}

}  // namespace mledge::matrix_internal
