#ifndef MLEDGE_PRIVACY_MATRIX_INTERNAL_LBFGS_H_
#define MLEDGE_PRIVACY_MATRIX_INTERNAL_LBFGS_H_

#include <functional>
#include <span>
#include <vector>

namespace mledge::matrix_internal {

// A smooth function of several variables: returns its value at `x` and writes
// its gradient. May return infinity where it is not defined.
using SmoothFunction = std::function<double(std::span<const double> x,
                                            std::span<double> gradient)>;

struct Minimum {
  std::vector<double> x;
  double value = 0;
};

// A local minimum near `start`, where the function must be finite (Nocedal and
// Wright, "Numerical Optimization", algorithm 7.5; step lengths by bisection
// to the weak Wolfe conditions). Never returns a larger value than that at
// `start`.
Minimum Minimize(const SmoothFunction& function, std::vector<double> start);

}  // namespace mledge::matrix_internal

#endif  // MLEDGE_PRIVACY_MATRIX_INTERNAL_LBFGS_H_
