#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_PLANNER_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_PLANNER_H_

#include <cstdint>
#include <vector>

#include "mledge/privacy/accounting/internal/loss_composition.h"

// Where and how finely a sum of losses is computed: tilt, window and grid, from
// Chernoff's bound on a coarse grid. Nothing here decides whether a result is
// on the safe side; loss_composition.cc counts what window and grid leave out.

namespace mledge::accounting_internal {

// The cumulant generating function of a sum of losses on grids:
// K(t) = Σ count · log E[e^(tL); L finite].
class Cumulants {
 public:
  void Add(const LossPmf& pmf, int64_t count);

  double operator()(double t) const;

 private:
  struct Part {
    double count;
    std::vector<double> losses;
    std::vector<double> log_mass;
  };
  std::vector<Part> parts_;
};

// Where and how finely the sum of losses is computed.
struct Plan {
  double slope = 0;     // -d log δ / dε, about
  double tilt = 0;      // λ
  double log_tail = 0;  // of each use's grid, on each side
  double step = 0;
  double centre = 0;  // about ε
  double low = 0;     // ends of the window
  double high = 0;
  double above = 0;       // s > 0 for which Chernoff's bound at `high` is good
  double least_step = 0;  // that memory allows
  bool exact_grid = false;  // all losses are multiples of the step
};

class Planner {
 public:
  Planner(const std::vector<CountedSource>& sources,
          const CompositionOptions& options)
      : sources_(sources), options_(options) {}

  Plan ForDelta(double delta);
  Plan ForEpsilon(double epsilon);
  // The last plan, over all but the rarest losses.
  Plan Untilted();

 private:
  // log of what each use's grid may cut off on each side.
  double LogTail(double log_delta) const;
  // Chernoff's bound on log δ.
  double LogDelta(double epsilon) const;
  void Coarsen(double log_tail);
  // Beyond this a tilt only finds the highest of the losses, and products with
  // losses lose their digits.
  double MostTilt() const;
  void Finish(double log_delta);
  void ChooseWindow();
  void ChooseStep();

  const std::vector<CountedSource>& sources_;
  const CompositionOptions& options_;
  Cumulants cumulants_;
  double widest_ = 0;
  Plan plan_;
};

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_PLANNER_H_
