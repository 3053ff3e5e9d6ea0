#include "mledge/privacy/noise/skellam.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/privacy/noise/internal/draw_table.h"
#include "mledge/privacy/noise/internal/wide_fixed.h"

namespace mledge {
namespace {

using noise_internal::DrawTable;
using noise_internal::WideFixed;

// The largest k worth a row: I_k / I_0 is above 2^-140 up to there. Ratios of
// neighbours from the recurrence, in double, as this decides only where to cut.
size_t LastRow(double variance) {
  std::vector<double> ratios(DrawTable::kMostOutcomes);  // I_k / I_{k−1}
  double ratio = 0;
  for (size_t k = ratios.size() - 1; k > 0; --k) {
    ratio = 1 / (2 * static_cast<double>(k) / variance + ratio);
    ratios[k] = ratio;
  }
  double log2 = 0;
  size_t k = 0;
  while (k + 1 < ratios.size() && log2 > -140) log2 += std::log2(ratios[++k]);
  return k;
}

DrawTable MagnitudeTable(double variance) {
  const size_t last = LastRow(variance);
  const WideFixed reciprocal = noise_internal::Reciprocal(variance);
  // Any scale will do: I_last is 2^64, and I_0 some 2^140 times that.
  std::vector<WideFixed> bessel(last + 2);
  bessel[last] = WideFixed(1).ShiftedLeft(64);
  for (size_t k = last; k > 0; --k) {
    const WideFixed factor = reciprocal.Multiply(
        WideFixed(2 * k).ShiftedLeft(WideFixed::kFractionBits));
    bessel[k - 1] = bessel[k + 1] + factor.Multiply(bessel[k]);
  }
  bessel.pop_back();
  for (size_t k = 1; k < bessel.size(); ++k) {
    bessel[k] = bessel[k].ShiftedLeft(1);
  }
  return DrawTable(bessel);
}

}  // namespace

Skellam::Skellam(double variance)
    : variance_(variance),
      table_(std::make_shared<const DrawTable>(MagnitudeTable(variance))) {}

absl::StatusOr<Skellam> Skellam::Create(double variance) {
  if (!(variance >= kLeastVariance && variance <= kMostVariance)) {
    return absl::InvalidArgumentError(
        StrCat("Skellam noise of variance ", variance,
               " grid units squared: it must lie between ", kLeastVariance,
               " and ", kMostVariance,
               "; where it is larger, discrete Gaussian noise is as good"));
  }
  return Skellam(variance);
}

int32_t Skellam::largest_magnitude() const { return table_->largest(); }

void Skellam::Fill(SecretRandom& random, std::span<int32_t> out) const {
  SecretStream stream(random);
  DrawTable::Block block;
  while (!out.empty()) {
    table_->Draw(stream, &block);
    const size_t count = std::min(out.size(), DrawTable::kBlock);
    for (size_t i = 0; i < count; ++i) out[i] = block.Signed(i);
    out = out.subspan(count);
  }
}

}  // namespace mledge
