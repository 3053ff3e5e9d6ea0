#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_DISCRETE_SMOOTHING_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_DISCRETE_SMOOTHING_H_

#include <cstdint>
#include <optional>

// Discrete Gaussian noise in many coordinates as a Gaussian mechanism, so that
// it can be composed tightly. Thread-safe.
//
// Let y ~ N(0, r²) and let x be y rounded at random to the integers with
// probabilities proportional to e^(-(x-y)²/2s²). Completing the square,
//   P(x) = N(x; 0, r²+s²) / S(y averaged),  S in (1 ± η),
//   η(s) = 2 Σ_j e^(-2π²s²j²)
// by Poisson's summation (Peikert, "An efficient and parallel Gaussian sampler
// for lattices", 2010, theorem 3.1), so that x has the probabilities of
// N_Z(0, r²+s²) up to a factor (1+η)/(1-η). Rounding commutes with integer
// shifts and is post-processing: N_Z(0, σ²) is as private as N(0, σ² - s²) up
// to that factor, in every coordinate and every use. For factors e^κ in all,
//   δ(ε) <= e^κ δ_Gaussian(ε - 2κ).
// The sum of n draws of N_Z(0, σ²) has the probabilities of N_Z(0, nσ²) up to
// the factors of s_k² = σ² k/(k+1), k < n, by the same completion of the square
// (Kairouz, Liu, Steinke, 2102.06387, theorem 9).

namespace mledge::accounting_internal {

struct SmoothedGaussian {
  // (sensitivity / standard deviation)² of all uses together.
  double squared_mu = 0;
  double log_factor = 0;  // κ, of all uses together
};

// `uses` times the sum of `draws` of N_Z(0, sigma²) in each of `dimension`
// coordinates, shifted by at most `l2_sensitivity`. Nothing where sigma is too
// small for the theorem to say anything. Both results are rounded up.
std::optional<SmoothedGaussian> SmoothDiscreteGaussian(double sigma,
                                                       int64_t draws,
                                                       int64_t dimension,
                                                       double l2_sensitivity,
                                                       int64_t uses);

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_DISCRETE_SMOOTHING_H_
