#ifndef MLEDGE_TESTS_BENCHMARKS_QUARTILES_H_
#define MLEDGE_TESTS_BENCHMARKS_QUARTILES_H_

#include <algorithm>
#include <vector>

namespace mledge {

// The values below which a quarter, half and three quarters of them lie; there
// must be one.
struct Quartiles {
  explicit Quartiles(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    first = values[values.size() / 4];
    median = values[values.size() / 2];
    third = values[values.size() * 3 / 4];
  }
  double first, median, third;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_BENCHMARKS_QUARTILES_H_
