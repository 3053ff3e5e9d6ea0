#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_SPECIAL_FUNCTIONS_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_SPECIAL_FUNCTIONS_H_

#include <cstdint>
#include <limits>
#include <span>

// Functions of probability that the standard library lacks. Relative accuracy
// about 1e-13 over the whole range, tails included. Thread-safe.

namespace mledge::accounting_internal {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// P(Z <= x) of a standard normal Z; small for very negative x, without
// cancellation.
double NormalCdf(double x);
// Its logarithm, finite also where it underflows.
double LogNormalCdf(double x);
// NormalCdf(x) / normal density at x, for x <= 0.
double MillsRatio(double x);

// log(n!), n >= 0.
double LogFactorial(int64_t n);
// log(n choose k), 0 <= k <= n.
double LogBinomial(int64_t n, int64_t k);

// log(Σ exp(x)); -infinity for none.
double LogSumExp(std::span<const double> values);
// log(e^a + e^b).
double LogAdd(double a, double b);
// log(1 - e^x) for x < 0.
double Log1mExp(double x);

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_SPECIAL_FUNCTIONS_H_
