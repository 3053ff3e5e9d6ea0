#include "mledge/privacy/accounting/internal/loss_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mledge::accounting_internal {
namespace {

// P's and Q's probability in the intervals ((first + i) step, (first + i + 1)
// step] of a grid.
struct Intervals {
  double step = 0;
  int64_t first = 0;
  std::vector<double> p;
  std::vector<double> q;
  double p_below = 0;  // the first grid point
  double p_above = 0;  // the last one

  double LowerEnd(size_t i) const {
    return static_cast<double>(first + static_cast<int64_t>(i)) * step;
  }
};

// From the side on which the numbers are small, and their digits more.
double Between(Probability low, Probability high) {
  const double difference =
      high.below <= low.above ? high.below - low.below : low.above - high.above;
  return std::max(0.0, difference);
}

Intervals Fill(const LossSource& source, double step, double log_tail) {
  Intervals filled{.step = step};
  filled.first =
      static_cast<int64_t>(std::floor(source.Lowest(log_tail) / step)) - 1;
  const int64_t last =
      static_cast<int64_t>(std::ceil(source.Highest(log_tail) / step)) + 1;
  const size_t count = static_cast<size_t>(last - filled.first);
  filled.p.assign(count, 0);
  filled.q.assign(count, 0);
  if (source.HasDensity()) {
    LossTails low = source.TailsAt(filled.LowerEnd(0));
    filled.p_below = low.p.below;
    for (size_t i = 0; i < count; ++i) {
      const LossTails high = source.TailsAt(filled.LowerEnd(i + 1));
      filled.p[i] = Between(low.p, high.p);
      filled.q[i] = Between(low.q, high.q);
      low = high;
    }
    filled.p_above = low.p.above;
  }
  for (const LossAtom& atom : source.Atoms()) {
    const double position =
        std::ceil(atom.loss / step) - static_cast<double>(filled.first) - 1;
    const size_t i = static_cast<size_t>(
        std::clamp(position, 0.0, static_cast<double>(count - 1)));
    filled.p[i] += atom.probability;
    filled.q[i] += atom.probability * std::exp(-atom.loss);
  }
  return filled;
}

// e^loss q, also where the exponential alone overflows (q is 0 then).
double Tilted(double q, double loss) {
  return q * std::exp(std::min(loss, 700.0));
}

LossPmf ConnectDots(const Intervals& filled) {
  LossPmf pmf{.step = filled.step, .first = filled.first};
  pmf.mass.assign(filled.p.size() + 1, 0);
  pmf.mass[0] = filled.p_below;
  pmf.infinite_mass = filled.p_above;
  const double width = -std::expm1(-filled.step);
  for (size_t i = 0; i < filled.p.size(); ++i) {
    // u + l = p and u e^-(a + step) + l e^-a = q, where a is the lower end.
    const double up = std::clamp(
        (filled.p[i] - Tilted(filled.q[i], filled.LowerEnd(i))) / width, 0.0,
        filled.p[i]);
    pmf.mass[i + 1] += up;
    pmf.mass[i] += filled.p[i] - up;
  }
  return pmf;
}

LossPmf Garble(const Intervals& filled) {
  const size_t count = filled.p.size();
  // How much P exceeds e^(lower end) Q, and falls short of e^(upper end) Q.
  std::vector<double> excess(count);
  std::vector<double> deficit(count);
  for (size_t i = 0; i < count; ++i) {
    const double low = Tilted(filled.q[i], filled.LowerEnd(i));
    const double high = Tilted(filled.q[i], filled.LowerEnd(i + 1));
    excess[i] = std::max(0.0, filled.p[i] - low);
    deficit[i] = std::max(0.0, high - filled.p[i]);
    if (filled.q[i] == 0) {
      // Q has underflowed, and with it what could be known of the loss.
      excess[i] = 0;
      deficit[i] = std::numeric_limits<double>::infinity();
    }
  }
  // up[i]: the share of interval i that is labelled with its upper end. At each
  // grid point up[i] deficit[i] <= (1 - up[i+1]) excess[i+1] must hold. The
  // recursions are stable towards the fullest interval.
  const size_t fullest = static_cast<size_t>(
      std::ranges::max_element(filled.p) - filled.p.begin());
  std::vector<double> up(count, 0);
  for (size_t i = count - 1; i-- > fullest;) {
    if (i + 1 >= count) continue;
    const double room = (1 - up[i + 1]) * excess[i + 1];
    up[i] = deficit[i] <= room ? 1 : room / deficit[i];
  }
  if (fullest > 0) up[0] = 0.5;
  for (size_t i = 0; i + 1 < fullest; ++i) {
    const double needed = up[i] * deficit[i];
    if (needed <= excess[i + 1]) {
      up[i + 1] = excess[i + 1] > 0 ? 1 - needed / excess[i + 1] : 0;
    } else {
      up[i] = excess[i + 1] / deficit[i];
      up[i + 1] = 0;
    }
  }
  if (fullest > 0) {
    const double room = (1 - up[fullest]) * excess[fullest];
    double& last = up[fullest - 1];
    if (last * deficit[fullest - 1] > room) last = room / deficit[fullest - 1];
  }
  LossPmf pmf{.step = filled.step, .first = filled.first};
  pmf.mass.assign(count + 1, 0);
  pmf.mass[count] = filled.p_above;
  for (size_t i = 0; i < count; ++i) {
    pmf.mass[i + 1] += up[i] * filled.p[i];
    pmf.mass[i] += (1 - up[i]) * filled.p[i];
  }
  return pmf;
}

}  // namespace

LossPmf Discretize(const LossSource& source, double step, double log_tail,
                   Rounding rounding) {
  const Intervals filled = Fill(source, step, log_tail);
  return rounding == Rounding::kPessimistic ? ConnectDots(filled)
                                            : Garble(filled);
}

}  // namespace mledge::accounting_internal
