#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_GAUSSIAN_FOLD_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_GAUSSIAN_FOLD_H_

#include <optional>

#include "mledge/privacy/accounting/internal/flatten.h"

// Which events are Gaussian mechanisms, and how many uses are one. Thread-safe.

namespace mledge::accounting_internal {

// (sensitivity / standard deviation)² of all uses of `counted` together, where
// the event is exactly a Gaussian mechanism: squares add up over compositions.
// Nothing for other kinds.
std::optional<double> GaussianSquaredMu(const CountedEvent& counted,
                                        Adjacency adjacency);

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_GAUSSIAN_FOLD_H_
