#include "mledge/privacy/accounting/internal/loss_planner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "mledge/privacy/accounting/internal/special_functions.h"

namespace mledge::accounting_internal {
namespace {

// Points of the coarse grid on which tilt and window are planned.
constexpr double kPlanningPoints = 1024;
// Points of the finest grid, and of the longest transform.
constexpr double kMostPoints = 1 << 20;
// A grid without rounding is taken where it is no longer than this.
constexpr double kPointsWithoutRounding = 1 << 16;
// Of the tilted probability, what may lie on either side of the window.
const double kLogOutside = std::log(1e-12);
// How much larger than δ the tilted bound on it may be: as many digits fewer
// has the result.
const double kLogDigitsLost = std::log(1e4);
// Of δ, what the tails of a single use's grid may add up to.
constexpr double kTailShare = 1e-9;

// The t > 0 with the least `value`, by golden sections of log t; a rough one
// will do.
template <typename Value>
double Minimize(double low, double high, const Value& value) {
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double a = std::log(low);
  double b = std::log(high);
  double x = b - golden * (b - a);
  double y = a + golden * (b - a);
  double at_x = value(std::exp(x));
  double at_y = value(std::exp(y));
  while (b - a > 0.02) {
    if (at_x <= at_y) {
      b = std::exchange(y, x);
      at_y = at_x;
      x = b - golden * (b - a);
      at_x = value(std::exp(x));
    } else {
      a = std::exchange(x, y);
      at_x = at_y;
      y = a + golden * (b - a);
      at_y = value(std::exp(y));
    }
  }
  return std::exp((a + b) / 2);
}

// log of the factor by which E[e^(tL)] e^(-tε) may be multiplied and still
// bound δ(ε): the largest max(0, 1 - e^-x) e^(-tx), t^t / (1 + t)^(1 + t).
double LogChernoffFactor(double t) {
  return -t * std::log1p(1 / t) - std::log1p(t);
}

// At most `step`, and such that the source's hint is a multiple of it.
double Aligned(const CountedSource& counted, double step) {
  const double hint = counted.source->GridHint();
  return hint > 0 ? hint / std::ceil(hint / step * (1 - 1e-9)) : step;
}

}  // namespace

void Cumulants::Add(const LossPmf& pmf, int64_t count) {
  Part part{.count = static_cast<double>(count)};
  for (size_t i = 0; i < pmf.mass.size(); ++i) {
    if (pmf.mass[i] <= 0) continue;
    part.losses.push_back(
        pmf.step * static_cast<double>(pmf.first + static_cast<int64_t>(i)));
    part.log_mass.push_back(std::log(pmf.mass[i]));
  }
  parts_.push_back(std::move(part));
}

double Cumulants::operator()(double t) const {
  double sum = 0;
  for (const Part& part : parts_) {
    double most = -kInfinity;
    for (size_t i = 0; i < part.losses.size(); ++i) {
      most = std::max(most, part.log_mass[i] + t * part.losses[i]);
    }
    double total = 0;
    for (size_t i = 0; i < part.losses.size(); ++i) {
      const double term = part.log_mass[i] + t * part.losses[i] - most;
      if (term > -50) total += std::exp(term);
    }
    sum += part.count * (most + std::log(total));
  }
  return sum;
}

Plan Planner::ForDelta(double delta) {
  Coarsen(LogTail(std::log(delta)));
  const double log_delta = std::log(delta);
  const auto epsilon = [&](double t) {
    return (cumulants_(t) - log_delta + LogChernoffFactor(t)) / t;
  };
  plan_.slope = Minimize(1e-7, MostTilt(), epsilon);
  plan_.centre = epsilon(plan_.slope);
  Finish(log_delta);
  return plan_;
}

Plan Planner::ForEpsilon(double epsilon) {
  // First to learn about how small δ is, then with tails to match.
  for (double log_delta : {-230.0, 0.0}) {
    Coarsen(LogTail(log_delta < 0 ? log_delta : LogDelta(epsilon)));
    plan_.slope = Minimize(1e-7, MostTilt(), [&](double t) {
      return cumulants_(t) - t * epsilon + LogChernoffFactor(t);
    });
  }
  plan_.centre = epsilon;
  Finish(LogDelta(epsilon));
  return plan_;
}

Plan Planner::Untilted() {
  plan_.tilt = 0;
  ChooseWindow();
  ChooseStep();
  return plan_;
}

double Planner::LogTail(double log_delta) const {
  double uses = 0;
  for (const CountedSource& counted : sources_) {
    uses += static_cast<double>(counted.count);
  }
  return std::max(-600.0, log_delta + std::log(kTailShare / uses));
}

double Planner::LogDelta(double epsilon) const {
  return std::max(
      -230.0, std::min(0.0, cumulants_(plan_.slope) - plan_.slope * epsilon));
}

void Planner::Coarsen(double log_tail) {
  plan_.log_tail = log_tail;
  cumulants_ = Cumulants();
  widest_ = 0;
  for (const CountedSource& counted : sources_) {
    const double highest = counted.source->Highest(log_tail);
    // Beside others, one that loses the same always needs a grid as well.
    const double width = std::max(highest - counted.source->Lowest(log_tail),
                                  1e-9 * (1 + std::abs(highest)));
    widest_ = std::max(widest_, width);
    cumulants_.Add(
        Discretize(*counted.source, Aligned(counted, width / kPlanningPoints),
                   log_tail, Rounding::kPessimistic),
        counted.count);
  }
}

double Planner::MostTilt() const { return std::max(10.0, 1e5 / widest_); }

// The tilt, the least that leaves enough digits for δ: a large one spreads
// the window over losses that are too rare to matter.
void Planner::Finish(double log_delta) {
  const auto digits_lost = [&](double t) {
    return cumulants_(t) - t * plan_.centre - log_delta;
  };
  plan_.tilt = 0;
  if (digits_lost(0) > kLogDigitsLost) {
    double low = 0;
    plan_.tilt = plan_.slope;
    while (plan_.tilt - low > 0.02 * plan_.slope) {
      const double middle = (low + plan_.tilt) / 2;
      (digits_lost(middle) > kLogDigitsLost ? low : plan_.tilt) = middle;
    }
  }
  ChooseWindow();
  ChooseStep();
}

void Planner::ChooseWindow() {
  const double at_tilt = cumulants_(plan_.tilt);
  const auto reach = [&](double s) {
    return (cumulants_(plan_.tilt + s) - at_tilt - kLogOutside) / std::abs(s);
  };
  plan_.above = Minimize(plan_.slope * 1e-3, plan_.slope * 1e3 + 10, reach);
  plan_.high = std::max(plan_.centre, reach(plan_.above));
  const double below = Minimize(plan_.slope * 1e-3, plan_.slope * 1e3 + 10,
                                [&](double s) { return reach(-s); });
  plan_.low = std::min(plan_.centre, -reach(-below));
  plan_.least_step = std::max(plan_.high - plan_.low, widest_) / kMostPoints;
}

// Moving a loss inside an interval of length h to its ends raises
// E[e^(λL)] by λ(λ+1)h²/12, relative, where the loss is spread evenly over
// it; ε, about (K(λ) - log δ)/λ, rises by a λ-th of all uses' together.
void Planner::ChooseStep() {
  plan_.step = options_.step;
  if (plan_.step == 0) {
    double uses = 0;
    double hint = 0;
    bool has_density = false;
    for (const CountedSource& counted : sources_) {
      uses += static_cast<double>(counted.count);
      hint = std::max(hint, counted.source->GridHint());
      has_density |= counted.source->HasDensity();
    }
    if (sources_.size() == 1 && !has_density && hint > 0 &&
        plan_.high - plan_.low < hint * kPointsWithoutRounding) {
      // Every loss is on the grid; nothing moves.
      plan_.step = hint;
      plan_.exact_grid = true;
    } else {
      const double scale = std::max(plan_.centre, 1e-6 * widest_);
      plan_.step = std::sqrt(12 * options_.accuracy * scale /
                             (uses * (plan_.slope + 1)));
      if (hint > 0 && plan_.step < hint) {
        plan_.step = hint / std::ceil(hint / plan_.step);
      }
    }
  }
  plan_.step = std::max(plan_.step, plan_.least_step);
}

}  // namespace mledge::accounting_internal
