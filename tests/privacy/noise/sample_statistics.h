#ifndef MLEDGE_TESTS_PRIVACY_NOISE_SAMPLE_STATISTICS_H_
#define MLEDGE_TESTS_PRIVACY_NOISE_SAMPLE_STATISTICS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <span>

// What the statistical tests of the samplers share.

namespace mledge {

// How often each integer was drawn.
std::map<int64_t, int64_t> Histogram(std::span<const int32_t> draws);

struct ChiSquare {
  double statistic = 0;
  int degrees_of_freedom = 0;
  // Of a statistic this large or larger where the pmf is right
  // (Wilson–Hilferty's approximation).
  double p_value = 0;
};

// Pearson's test of `histogram` against the probabilities of `pmf` on −largest
// … largest. Integers next to each other share a cell until 25 draws are
// expected in it.
ChiSquare ChiSquareTest(const std::map<int64_t, int64_t>& histogram,
                        const std::function<double(int64_t)>& pmf,
                        int64_t largest);

// The exact probability of x under N_Z(0, σ²), in long double, by the
// definition.
class DiscreteGaussianPmf {
 public:
  explicit DiscreteGaussianPmf(double variance);
  double operator()(int64_t x) const;

 private:
  double variance_;
  long double total_ = 0;
};

// The same for Skellam noise: e^-μ I_|x|(μ), as the convolution of two Poisson
// distributions of mean μ/2, term by term.
double SkellamPmf(double variance, int64_t x);

}  // namespace mledge

#endif  // MLEDGE_TESTS_PRIVACY_NOISE_SAMPLE_STATISTICS_H_
