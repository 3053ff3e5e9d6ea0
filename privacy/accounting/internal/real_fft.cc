#include "mledge/privacy/accounting/internal/real_fft.h"

#include <cmath>
#include <numbers>
#include <utility>

namespace mledge::accounting_internal {
namespace {

// std::complex's product looks for infinities, which costs more than it does.
inline Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
inline Complex operator+(Complex a, Complex b) {
  return {a.re + b.re, a.im + b.im};
}
inline Complex operator-(Complex a, Complex b) {
  return {a.re - b.re, a.im - b.im};
}
inline Complex Conjugate(Complex a) { return {a.re, -a.im}; }

}  // namespace

RealFft::RealFft(size_t length)
    : half_(length / 2), twiddles_(half_), work_(half_), scratch_(half_) {
  for (size_t k = 0; k < half_; ++k) {
    const double angle = -2 * std::numbers::pi * static_cast<double>(k) /
                         static_cast<double>(length);
    twiddles_[k] = {std::cos(angle), std::sin(angle)};
  }
}

void RealFft::Transform() {
  size_t stride = 1;
  for (size_t size = half_; size > 1; size /= 2, stride *= 2) {
    const size_t middle = size / 2;
    const Complex* in = work_.data();
    Complex* out = scratch_.data();
    for (size_t p = 0; p < middle; ++p) {
      const Complex twiddle = twiddles_[2 * p * stride];
      const Complex* a = in + stride * p;
      const Complex* b = in + stride * (p + middle);
      Complex* sum = out + stride * 2 * p;
      Complex* difference = sum + stride;
      for (size_t q = 0; q < stride; ++q) {
        sum[q] = a[q] + b[q];
        difference[q] = (a[q] - b[q]) * twiddle;
      }
    }
    std::swap(work_, scratch_);
  }
}

std::vector<Complex> RealFft::Forward(std::span<const double> x) {
  // Even and odd elements as real and imaginary parts of half as many.
  for (size_t j = 0; j < half_; ++j) work_[j] = {x[2 * j], x[2 * j + 1]};
  Transform();
  std::vector<Complex> spectrum(half_ + 1);
  spectrum[0] = {work_[0].re + work_[0].im, 0};
  spectrum[half_] = {work_[0].re - work_[0].im, 0};
  for (size_t k = 1; k < half_; ++k) {
    const Complex here = work_[k];
    const Complex mirrored = Conjugate(work_[half_ - k]);
    const Complex even = here + mirrored;
    const Complex odd = here - mirrored;
    // -i·odd·twiddle
    const Complex turned = Complex{odd.im, -odd.re} * twiddles_[k];
    spectrum[k] = {0.5 * (even.re + turned.re), 0.5 * (even.im + turned.im)};
  }
  return spectrum;
}

std::vector<double> RealFft::Inverse(std::span<const Complex> spectrum) {
  // Undoes `Forward` step by step; the inverse complex transform is the
  // conjugate of the transform of the conjugate.
  work_[0] = {0.5 * (spectrum[0].re + spectrum[half_].re),
              -0.5 * (spectrum[0].re - spectrum[half_].re)};
  for (size_t k = 1; k < half_; ++k) {
    const Complex here = spectrum[k];
    const Complex mirrored = Conjugate(spectrum[half_ - k]);
    const Complex even = here + mirrored;
    const Complex odd = (here - mirrored) * Conjugate(twiddles_[k]);
    // even + i·odd, conjugated
    work_[k] = {0.5 * (even.re - odd.im), -0.5 * (even.im + odd.re)};
  }
  Transform();
  std::vector<double> x(2 * half_);
  const double scale = 1 / static_cast<double>(half_);
  for (size_t j = 0; j < half_; ++j) {
    x[2 * j] = work_[j].re * scale;
    x[2 * j + 1] = -work_[j].im * scale;
  }
  return x;
}

}  // namespace mledge::accounting_internal
