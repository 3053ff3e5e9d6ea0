#include "mledge/privacy/noise/discrete_gaussian.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "mledge/core/logging.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/noise/internal/draw_table.h"
#include "mledge/privacy/noise/internal/wide_fixed.h"

namespace mledge {
namespace {

using noise_internal::DrawTable;
using noise_internal::WideFixed;

// x₀ + 4 y, x₀ ~ N_Z(0, 64): the least square of 4 a power of two for which the
// error bound of the header holds.
constexpr int kRadix = 4;
constexpr double kStepVariance = 64;
// From here on y's variance is 64 or more.
constexpr double kFirstConvolved = kStepVariance * (1 + kRadix * kRadix);

// Of magnitudes: 1, 2 g(1), 2 g(2), … with g(x) = exp(−x² / 2σ²), until what
// remains is below 2^-130 of the whole. g(x + 1) = g(x) · e^−(2x+1)/2σ².
DrawTable MagnitudeTable(double variance) {
  const WideFixed unit =
      noise_internal::ExpOfMinus(noise_internal::Reciprocal(2 * variance));
  const WideFixed unit_squared = unit.Multiply(unit);
  const WideFixed negligible = WideFixed::One().ShiftedRight(136);
  std::vector<WideFixed> weights = {WideFixed::One()};
  WideFixed factor = unit;
  WideFixed weight = unit;
  do {
    weights.push_back(weight.ShiftedLeft(1));
    factor = factor.Multiply(unit_squared);
    weight = weight.Multiply(factor);
  } while (weight > negligible);
  // DrawTable wants sums below 2^224.
  for (WideFixed& w : weights) w = w.ShiftedRight(24);
  return DrawTable(weights);
}

const DrawTable& StepTable() {
  static const DrawTable* const table =
      new DrawTable(MagnitudeTable(kStepVariance));
  return *table;
}

// sum[i] = kRadix · sum[i] + the signed outcome.
template <typename Integer>
void Accumulate(const DrawTable::Block& block, Integer* sum) {
  for (size_t i = 0; i < DrawTable::kBlock; ++i) {
    sum[i] = static_cast<Integer>(kRadix * sum[i] + block.Signed(i));
  }
}

}  // namespace

double VarianceOf(double standard_deviation) {
  const double square = standard_deviation * standard_deviation;
  // The exact rounding error, by one fused operation.
  const bool too_small =
      std::fma(standard_deviation, standard_deviation, -square) > 0;
  return too_small
             ? std::nextafter(square, std::numeric_limits<double>::infinity())
             : square;
}

DiscreteGaussian::DiscreteGaussian(double variance, int steps,
                                   double table_variance)
    : variance_(variance),
      steps_(steps),
      table_(
          std::make_shared<const DrawTable>(MagnitudeTable(table_variance))) {
  largest_magnitude_ = table_->largest();
  for (int step = 0; step < steps_; ++step) {
    largest_magnitude_ = kRadix * largest_magnitude_ + StepTable().largest();
  }
}

absl::StatusOr<DiscreteGaussian> DiscreteGaussian::Create(double variance) {
  if (!(variance >= kLeastVariance && variance <= kMostVariance)) {
    return absl::InvalidArgumentError(
        StrCat("discrete Gaussian noise of variance ", variance,
               " grid units squared: it must lie between ", kLeastVariance,
               " and ", kMostVariance));
  }
  int steps = 0;
  double rest = variance;
  while (rest >= kFirstConvolved) {
    rest = (rest - kStepVariance) / (kRadix * kRadix);
    ++steps;
  }
  return DiscreteGaussian(variance, steps, rest);
}

void DiscreteGaussian::Fill(SecretRandom& random,
                            std::span<int32_t> out) const {
  CHECK(largest_magnitude_ <= std::numeric_limits<int32_t>::max())
      << "noise of variance " << variance_ << " needs 64 bits";
  FillIntegers(random, out);
}

void DiscreteGaussian::Fill(SecretRandom& random,
                            std::span<int64_t> out) const {
  FillIntegers(random, out);
}

template <typename Integer>
void DiscreteGaussian::FillIntegers(SecretRandom& random,
                                    std::span<Integer> out) const {
  SecretStream stream(random);
  DrawTable::Block block;
  std::array<Integer, DrawTable::kBlock> sum;
  while (!out.empty()) {
    sum.fill(0);
    table_->Draw(stream, &block);
    Accumulate(block, sum.data());
    for (int step = 0; step < steps_; ++step) {
      StepTable().Draw(stream, &block);
      Accumulate(block, sum.data());
    }
    const size_t count = std::min(out.size(), sum.size());
    std::copy_n(sum.begin(), count, out.begin());
    out = out.subspan(count);
  }
  OPENSSL_cleanse(sum.data(), sizeof(sum));
}

}  // namespace mledge
