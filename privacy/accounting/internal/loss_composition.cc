#include "mledge/privacy/accounting/internal/loss_composition.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "mledge/privacy/accounting/internal/loss_planner.h"
#include "mledge/privacy/accounting/internal/real_fft.h"
#include "mledge/privacy/accounting/internal/special_functions.h"

namespace mledge::accounting_internal {
namespace {

// The upper part of the distribution of the sum: weight[i] e^log_scale is the
// probability of the loss (first + i) step, tilting undone at the plan's
// centre.
struct ComposedLoss {
  double step = 0;
  int64_t first = 0;
  std::vector<double> tilted;
  double tilt = 0;
  double log_scale = 0;  // of e^(-λ (loss - centre)) tilted
  double centre = 0;
  double extra = 0;  // infinite mass and what the window left out
};

ComposedLoss Compose(const std::vector<CountedSource>& sources,
                     const Plan& plan, Rounding rounding) {
  const bool pessimistic = rounding == Rounding::kPessimistic;
  const double step = plan.step;
  const size_t length = std::bit_ceil(static_cast<size_t>(
      std::max(16.0, std::ceil((plan.high - plan.low) / step) + 4)));
  RealFft fft(length);
  // log|F| and arg F of the product of all spectra.
  std::vector<double> log_magnitude(length / 2 + 1, 0);
  std::vector<double> angle(length / 2 + 1, 0);
  double log_moment = 0;        // K(λ) on the grid
  double log_moment_above = 0;  // K(λ + above)
  double infinite_mass = 0;
  double uses = 0;
  std::vector<double> folded(length);
  for (const CountedSource& counted : sources) {
    const LossPmf pmf =
        Discretize(*counted.source, step, plan.log_tail, rounding);
    const double count = static_cast<double>(counted.count);
    std::vector<double> logs(pmf.mass.size());
    double most = -kInfinity;
    for (size_t i = 0; i < logs.size(); ++i) {
      const double loss =
          step * static_cast<double>(pmf.first + static_cast<int64_t>(i));
      logs[i] = pmf.mass[i] > 0 ? std::log(pmf.mass[i]) + plan.tilt * loss
                                : -kInfinity;
      most = std::max(most, logs[i]);
    }
    std::ranges::fill(folded, 0);
    double total = 0;
    for (size_t i = 0; i < logs.size(); ++i) {
      if (logs[i] - most < -700) continue;
      const double tilted = std::exp(logs[i] - most);
      total += tilted;
      const int64_t index = pmf.first + static_cast<int64_t>(i);
      folded[static_cast<size_t>(index) & (length - 1)] += tilted;
    }
    for (double& value : folded) value /= total;
    log_moment += count * (most + std::log(total));
    for (size_t i = 0; i < logs.size(); ++i) {
      logs[i] += plan.above * step *
                 static_cast<double>(pmf.first + static_cast<int64_t>(i));
    }
    log_moment_above += count * LogSumExp(logs);
    infinite_mass += count * pmf.infinite_mass;
    uses += count;
    const std::vector<Complex> spectrum = fft.Forward(folded);
    for (size_t k = 0; k < spectrum.size(); ++k) {
      const double squared =
          spectrum[k].re * spectrum[k].re + spectrum[k].im * spectrum[k].im;
      // |F|^count below e^-80 is nothing; its logarithm need not be exact.
      log_magnitude[k] += count * 0.5 * std::log(std::max(squared, 1e-300));
      if (count * std::log(std::max(squared, 1e-300)) > -160) {
        angle[k] += count * std::atan2(spectrum[k].im, spectrum[k].re);
      }
    }
  }
  std::vector<Complex> product(length / 2 + 1);
  double magnitudes = 0;
  for (size_t k = 0; k < product.size(); ++k) {
    if (log_magnitude[k] < -80) continue;
    const double magnitude = std::exp(log_magnitude[k]);
    magnitudes += magnitude;
    product[k] = {magnitude * std::cos(angle[k]),
                  magnitude * std::sin(angle[k])};
  }
  const std::vector<double> sum = fft.Inverse(product);
  // Each value of a spectrum errs by at most so much, and its power by `uses`
  // times as much relative to itself.
  const double error = 0x1p-50 *
                       (uses + std::log2(static_cast<double>(length))) * 2 *
                       magnitudes / static_cast<double>(length);

  ComposedLoss composed{.step = step,
                        .tilt = plan.tilt,
                        .log_scale = log_moment - plan.tilt * plan.centre,
                        .centre = plan.centre};
  composed.first = static_cast<int64_t>(std::floor(plan.low / step)) - 1;
  composed.tilted.resize(length);
  for (size_t i = 0; i < length; ++i) {
    const size_t index =
        static_cast<size_t>(composed.first + static_cast<int64_t>(i)) &
        (length - 1);
    composed.tilted[i] =
        std::max(0.0, sum[index] + (pessimistic ? error : -error));
  }
  if (pessimistic) {
    // Chernoff: E[e^(λL)] P'(L > top) e^(-λ top), which bounds the
    // probability above the window.
    const double top =
        step *
        static_cast<double>(composed.first + static_cast<int64_t>(length) - 1);
    composed.extra =
        std::min(1.0, infinite_mass) +
        std::exp(log_moment_above - (plan.tilt + plan.above) * top);
  }
  return composed;
}

// log of Σ_{loss >= at} of both sums of
//   δ(ε) = extra + Σ P(loss) - e^ε Σ P(loss) e^(-loss),
// scaled by e^(-log_scale), added up from the top.
class UpperSums {
 public:
  explicit UpperSums(const ComposedLoss& composed)
      : composed_(composed), next_(composed.tilted.size()) {}

  // Takes in the next lower loss; false when none is left.
  bool Descend() {
    if (next_ == 0) return false;
    --next_;
    const double offset = loss() - composed_.centre;
    const double weight = composed_.tilted[next_];
    if (weight > 0) {
      probability_ += weight * std::exp(-composed_.tilt * offset);
      weighted_ += weight * std::exp(-(composed_.tilt + 1) * offset);
    }
    return true;
  }
  double loss() const {
    return composed_.step *
           static_cast<double>(composed_.first + static_cast<int64_t>(next_));
  }
  double probability() const { return probability_; }
  // Σ P(loss) e^(centre - loss)
  double weighted() const { return weighted_; }

 private:
  const ComposedLoss& composed_;
  size_t next_;
  double probability_ = 0;
  double weighted_ = 0;
};

bool IsSingleUse(const std::vector<CountedSource>& sources) {
  return sources.size() == 1 && sources[0].count == 1;
}

// P(L > ε) - e^ε Q(L > ε): no grid at all.
double SingleUseDelta(const LossSource& source, double epsilon) {
  double delta = 0;
  if (source.HasDensity()) {
    const LossTails tails = source.TailsAt(epsilon);
    delta = tails.p.above - std::exp(epsilon) * tails.q.above;
  }
  for (const LossAtom& atom : source.Atoms()) {
    if (atom.loss > epsilon) {
      delta += atom.probability * -std::expm1(epsilon - atom.loss);
    }
  }
  return std::clamp(delta, 0.0, 1.0);
}

double SingleUseEpsilon(const LossSource& source, double delta) {
  double low = 0;
  if (SingleUseDelta(source, low) <= delta) return low;
  // Above this loss there is less than δ altogether.
  double high = std::max(0.0, source.Highest(std::log(delta) - 1));
  for (int i = 0; i < 200; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) break;
    (SingleUseDelta(source, middle) <= delta ? high : low) = middle;
  }
  return high;
}

struct Found {
  double value = 0;
  // The window ended above the ε that was looked for.
  bool window_too_high = false;
};

// ε at `delta` on one grid.
Found EpsilonOnGrid(const std::vector<CountedSource>& sources, double delta,
                    const Plan& plan, Rounding rounding) {
  const ComposedLoss composed = Compose(sources, plan, rounding);
  if (composed.extra >= delta) return {kInfinity};
  // In units of e^log_scale.
  const double target =
      std::exp(std::log(delta - composed.extra) - composed.log_scale);
  UpperSums sums(composed);
  // δ falls as ε rises: the first loss, from the top, below which it is above
  // the target has the wanted ε between it and the loss beneath.
  while (sums.Descend()) {
    const double beneath = sums.loss() - composed.step;
    const double delta_beneath =
        sums.probability() -
        std::exp(beneath - composed.centre) * sums.weighted();
    if (delta_beneath > target) {
      return {std::max(
          0.0, composed.centre +
                   std::log((sums.probability() - target) / sums.weighted()))};
    }
    if (beneath < 0) return {0};
  }
  return {rounding == Rounding::kPessimistic ? sums.loss() : 0, true};
}

Found DeltaOnGrid(const std::vector<CountedSource>& sources, double epsilon,
                  const Plan& plan, Rounding rounding) {
  const ComposedLoss composed = Compose(sources, plan, rounding);
  UpperSums sums(composed);
  double scaled = 0;
  while (sums.Descend() && sums.loss() > epsilon) {
    scaled = sums.probability() -
             std::exp(epsilon - composed.centre) * sums.weighted();
  }
  return {std::min(1.0, composed.extra + std::max(0.0, scaled) *
                                             std::exp(composed.log_scale))};
}

// Halves the step (or more, as the differences suggest) until one more halving
// would change the value by less than `tolerance`, relative, or the grid cannot
// be finer. `value` is that on `plan`'s grid.
template <typename OnGrid>
double Converge(Plan plan, double value, double tolerance, double least_step,
                Rounding rounding, const OnGrid& on_grid) {
  double factor = 0.5;
  constexpr int kMostRounds = 5;
  for (int round = 0; round < kMostRounds; ++round) {
    const double step = std::max(plan.step * factor, least_step);
    if (step >= plan.step) break;
    const double shrunk = step / plan.step;
    plan.step = step;
    const double finer = on_grid(plan);
    // Errors are of second order in the step; from below also of first.
    const bool second_order = rounding == Rounding::kPessimistic;
    const double share = second_order ? shrunk * shrunk : shrunk;
    const double error = std::abs(value - finer) * share / (1 - share);
    value = finer;
    if (!(error > tolerance * finer)) break;
    const double wanted = tolerance * finer / error;
    factor = std::clamp(0.7 * (second_order ? std::sqrt(wanted) : wanted),
                        1.0 / 16, 0.5);
  }
  return value;
}

// Beyond it e^loss and the probabilities that it weighs leave the range of
// doubles.
constexpr double kLargestLoss = 600;

// What all uses together lose at least and at most, but for `log_tail`.
struct Extremes {
  double lowest = 0;
  double highest = 0;
  // One use loses more than can be computed with.
  bool out_of_range = false;
  // No use loses anything but one number, as far as doubles can tell.
  bool constant = true;
};

Extremes ExtremesOf(const std::vector<CountedSource>& sources,
                    double log_delta) {
  double uses = 0;
  for (const CountedSource& counted : sources) {
    uses += static_cast<double>(counted.count);
  }
  const double log_tail = std::max(-600.0, log_delta - std::log(2 * uses));
  Extremes result;
  for (const CountedSource& counted : sources) {
    const double lowest = counted.source->Lowest(log_tail);
    const double highest = counted.source->Highest(log_tail);
    result.lowest += static_cast<double>(counted.count) * lowest;
    result.highest += static_cast<double>(counted.count) * highest;
    // Also where one of them is no number.
    result.out_of_range |= !(highest <= kLargestLoss);
    result.constant &= !(highest - lowest > 1e-9 * (1 + std::abs(highest)));
  }
  return result;
}

}  // namespace

double ComposedEpsilon(const std::vector<CountedSource>& sources, double delta,
                       const CompositionOptions& options) {
  if (IsSingleUse(sources)) return SingleUseEpsilon(*sources[0].source, delta);
  const bool pessimistic = options.rounding == Rounding::kPessimistic;
  const Extremes extremes = ExtremesOf(sources, std::log(delta));
  if (extremes.out_of_range) return pessimistic ? kInfinity : 0;
  // The tails of all uses are less likely than delta.
  if (extremes.constant) {
    return std::max(0.0, pessimistic ? extremes.highest : extremes.lowest);
  }
  Planner planner(sources, options);
  Plan plan = planner.ForDelta(delta);
  Found found = EpsilonOnGrid(sources, delta, plan, options.rounding);
  if (found.window_too_high && plan.tilt > 0) {
    plan = planner.Untilted();
    found = EpsilonOnGrid(sources, delta, plan, options.rounding);
  }
  // The step was chosen for an ε near Chernoff's. Where sampling is so rare
  // that this is far off, and for brackets, convergence is observed instead.
  const bool as_planned =
      std::abs(found.value - plan.centre) < 0.12 * plan.centre;
  if (plan.exact_grid || options.step > 0 || !std::isfinite(found.value) ||
      (as_planned && options.rounding == Rounding::kPessimistic)) {
    return found.value;
  }
  return Converge(
      plan, found.value, options.accuracy, plan.least_step, options.rounding,
      [&](const Plan& finer) {
        return EpsilonOnGrid(sources, delta, finer, options.rounding).value;
      });
}

double ComposedDelta(const std::vector<CountedSource>& sources, double epsilon,
                     const CompositionOptions& options) {
  if (IsSingleUse(sources)) return SingleUseDelta(*sources[0].source, epsilon);
  constexpr double kLogLeastDelta = -230;
  const bool pessimistic = options.rounding == Rounding::kPessimistic;
  const Extremes extremes = ExtremesOf(sources, kLogLeastDelta);
  if (extremes.out_of_range) return pessimistic ? 1 : 0;
  if (extremes.constant) {
    if (!pessimistic) return 0;
    return epsilon >= extremes.highest ? std::exp(kLogLeastDelta) : 1;
  }
  const Plan plan = Planner(sources, options).ForEpsilon(epsilon);
  const double delta =
      DeltaOnGrid(sources, epsilon, plan, options.rounding).value;
  if (plan.exact_grid || options.step > 0) return delta;
  return Converge(
      plan, delta, options.accuracy * (1 + plan.slope * epsilon),
      plan.least_step, options.rounding, [&](const Plan& finer) {
        return DeltaOnGrid(sources, epsilon, finer, options.rounding).value;
      });
}

}  // namespace mledge::accounting_internal
