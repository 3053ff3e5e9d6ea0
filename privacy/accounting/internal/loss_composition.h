#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_COMPOSITION_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_COMPOSITION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "mledge/privacy/accounting/internal/loss_grid.h"
#include "mledge/privacy/accounting/internal/loss_source.h"

// The privacy loss of many mechanisms together: the sum of independent losses.
// Thread-safe.

namespace mledge::accounting_internal {

struct CountedSource {
  std::unique_ptr<LossSource> source;
  int64_t count = 0;
};

struct CompositionOptions {
  Rounding rounding = Rounding::kPessimistic;
  // What the grid may add to ε, relative.
  double accuracy = 2e-5;
  // Where positive, the distance of grid points; else chosen from the scale of
  // the losses and `accuracy`.
  double step = 0;
};

// ε(δ) and δ(ε) of the composition of `sources` (at least one, each count at
// least 1), where
//   δ(ε) = P(L = ∞) + E[max(0, 1 - e^(ε - L))]
// (Sommer, Meiser, Mohammadi, "Privacy loss classes", PETS 2019).
//
// Sums of losses are convolutions of their probabilities, computed by one
// Fourier transform each way on probabilities that were tilted first,
//   p'(x) = p(x) e^(λx) / E[e^(λL)],   λ > 0 chosen for the wanted δ,
// which puts the losses that decide δ in the middle: rounding errors are then
// relative to δ, however small it is, where those of an untilted transform
// leave some 1e-16 a use in δ itself. What lies outside the window of the
// transform is bounded by Chernoff's inequality and, like the bound on the
// transform's own rounding errors, counted against privacy; so is what the grid
// cut off, as infinite loss. With optimistic rounding all of it is left out.
double ComposedEpsilon(const std::vector<CountedSource>& sources, double delta,
                       const CompositionOptions& options);
double ComposedDelta(const std::vector<CountedSource>& sources, double epsilon,
                     const CompositionOptions& options);

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_LOSS_COMPOSITION_H_
