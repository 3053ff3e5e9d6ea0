#include "mledge/privacy/matrix/internal/lbfgs.h"

#include <cmath>
#include <cstddef>
#include <deque>
#include <limits>
#include <utility>

namespace mledge::matrix_internal {
namespace {

constexpr size_t kMemory = 30;
constexpr int kMostIterations = 1000;
constexpr int kMostTrials = 60;
constexpr double kDecrease = 1e-4;
constexpr double kCurvature = 0.9;
constexpr double kSmallGradient = 1e-9;
constexpr double kSmallProgress = 1e-13;
constexpr int kPatience = 5;

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// a + factor·b
std::vector<double> Along(const std::vector<double>& a, double factor,
                          const std::vector<double>& b) {
  std::vector<double> sum(a.size());
  for (size_t i = 0; i < a.size(); ++i) sum[i] = a[i] + factor * b[i];
  return sum;
}

struct Point {
  std::vector<double> x;
  std::vector<double> gradient;
  double value = std::numeric_limits<double>::infinity();
};

Point Evaluate(const SmoothFunction& function, std::vector<double> x) {
  Point point{std::move(x), {}, 0};
  point.gradient.resize(point.x.size());
  point.value = function(point.x, point.gradient);
  return point;
}

struct Pair {
  std::vector<double> step;
  std::vector<double> gradient_change;
  double product = 0;  // of the two, positive
};

// The two-loop recursion: minus the inverse Hessian, as far as the pairs tell,
// times the gradient.
std::vector<double> Direction(const std::deque<Pair>& pairs,
                              const std::vector<double>& gradient) {
  std::vector<double> direction = gradient;
  std::vector<double> factors(pairs.size());
  for (size_t i = pairs.size(); i-- > 0;) {
    factors[i] = Dot(pairs[i].step, direction) / pairs[i].product;
    direction = Along(direction, -factors[i], pairs[i].gradient_change);
  }
  double scale = 1 / std::fmax(1, std::sqrt(Dot(gradient, gradient)));
  if (!pairs.empty()) {
    const Pair& last = pairs.back();
    scale = last.product / Dot(last.gradient_change, last.gradient_change);
  }
  for (double& value : direction) value *= scale;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const double back =
        Dot(pairs[i].gradient_change, direction) / pairs[i].product;
    direction = Along(direction, factors[i] - back, pairs[i].step);
  }
  for (double& value : direction) value = -value;
  return direction;
}

// The next point along `direction`; the same point where none is lower.
Point Search(const SmoothFunction& function, const Point& from,
             const std::vector<double>& direction, double slope) {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  double length = 1;
  Point best = from;
  for (int trial = 0; trial < kMostTrials; ++trial) {
    Point point = Evaluate(function, Along(from.x, length, direction));
    // Written so that a NaN fails it.
    if (!(point.value <= from.value + kDecrease * length * slope)) {
      high = length;
    } else {
      const bool flat = Dot(point.gradient, direction) >= kCurvature * slope;
      if (point.value < best.value) best = std::move(point);
      if (flat) break;
      low = length;
    }
    length = std::isinf(high) ? 2 * length : (low + high) / 2;
  }
  return best;
}

}  // namespace

Minimum Minimize(const SmoothFunction& function, std::vector<double> start) {
  Point current = Evaluate(function, std::move(start));
  std::deque<Pair> pairs;
  int stalled = 0;
  for (int iteration = 0; iteration < kMostIterations && stalled < kPatience;
       ++iteration) {
    if (std::sqrt(Dot(current.gradient, current.gradient)) < kSmallGradient) {
      break;
    }
    std::vector<double> direction = Direction(pairs, current.gradient);
    double slope = Dot(direction, current.gradient);
    if (!(slope < 0)) {
      pairs.clear();
      direction = Direction(pairs, current.gradient);
      slope = Dot(direction, current.gradient);
    }
    Point next = Search(function, current, direction, slope);
    const double progress = current.value - next.value;
    stalled = progress > kSmallProgress * std::fmax(1, std::abs(next.value))
                  ? 0
                  : stalled + 1;
    Pair pair{Along(next.x, -1, current.x),
              Along(next.gradient, -1, current.gradient), 0};
    pair.product = Dot(pair.step, pair.gradient_change);
    if (pair.product > 0) {
      pairs.push_back(std::move(pair));
      if (pairs.size() > kMemory) pairs.pop_front();
    } else {
      pairs.clear();
    }
    current = std::move(next);
  }
  return {std::move(current.x), current.value};
}

}  // namespace mledge::matrix_internal
