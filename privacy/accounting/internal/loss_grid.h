#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_GRID_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_GRID_H_

#include <cstdint>
#include <vector>

#include "mledge/privacy/accounting/internal/loss_source.h"

// A privacy loss on a grid, from above or from below. Thread-safe.

namespace mledge::accounting_internal {

enum class Rounding { kPessimistic, kOptimistic };

// P(L = (first + i) · step) = mass[i]; with probability `infinite_mass` the
// loss is infinite. What is missing to 1 has a loss of minus infinity.
struct LossPmf {
  double step = 0;
  int64_t first = 0;
  std::vector<double> mass;
  double infinite_mass = 0;
};

// `source` at multiples of `step`.
//
// Pessimistic: "connect the dots" (Doroshenko, Ghazi, Kamath, Kumar,
// Manurangsi, "Connect the dots: tighter discrete approximations of privacy
// loss distributions", PETS 2022, 2207.04380, theorem 3.2): in each interval of
// the grid all probability moves to its two ends such that both P's and Q's are
// kept, which is the least that dominates among curves equal to the true one at
// grid points; the error is of second order in the step. P's tails, e^log_tail
// at most on each side, go to infinity above and to the lowest grid point
// below.
//
// Optimistic: intervals are garbled into grid points (each interval's outcomes
// are relabelled, at random, as one of its ends, such that what meets at a grid
// point has exactly its loss, or more, which is rounded down), the upper tail
// moves to the highest grid point and the lower one to minus infinity. By data
// processing this lies below the truth, under composition too.
//
// Grids of one rounding may be composed, never mixed.
LossPmf Discretize(const LossSource& source, double step, double log_tail,
                   Rounding rounding);

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_GRID_H_
