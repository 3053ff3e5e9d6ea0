#ifndef MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_REAL_FFT_H_
#define MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_REAL_FFT_H_

#include <cstddef>
#include <span>
#include <vector>

// The discrete Fourier transform of real sequences whose length is a power of
// two, in double: all that composing privacy losses needs. Errors are of the
// order of 2⁻⁵³ log₂(length), relative to the root mean square.

namespace mledge::accounting_internal {

struct Complex {
  double re = 0;
  double im = 0;
};

class RealFft {
 public:
  // `length` is a power of two, at least 4.
  explicit RealFft(size_t length);

  size_t length() const { return 2 * half_; }

  // Σ_j x_j e^(-2πi jk/length) for k = 0, ..., length/2.
  std::vector<Complex> Forward(std::span<const double> x);
  // The inverse, of a spectrum as `Forward` returns it.
  std::vector<double> Inverse(std::span<const Complex> spectrum);

 private:
  // The complex transform of `work_`, in place (Stockham's order of the
  // radix-2 butterflies, which needs no bit reversal).
  void Transform();

  size_t half_;
  std::vector<Complex> twiddles_;  // e^(-2πi k/length), k < length/2
  std::vector<Complex> work_;
  std::vector<Complex> scratch_;
};

}  // namespace mledge::accounting_internal

#endif  // MLEDGE_PRIVACY_ACCOUNTING_INTERNAL_REAL_FFT_H_
