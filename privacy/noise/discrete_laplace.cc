#include "mledge/privacy/noise/discrete_laplace.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <utility>

#include "mledge/core/strings.h"
#include "mledge/privacy/noise/internal/draw_table.h"
#include "mledge/privacy/noise/internal/wide_fixed.h"

namespace mledge {
namespace {

using noise_internal::DrawTable;
using noise_internal::WideFixed;

constexpr int kDigitBits = 5;
constexpr size_t kBase = size_t{1} << kDigitBits;
// From here on the digit is the last: e^−(d/s) is below 2^-136 at d = 128.
constexpr size_t kMostRows = 128;

// 1, q, q², … of at most `rows` terms above 2^-136.
std::vector<WideFixed> Powers(const WideFixed& q, size_t rows) {
  const WideFixed negligible = WideFixed::One().ShiftedRight(136);
  std::vector<WideFixed> powers = {WideFixed::One()};
  for (WideFixed power = q; powers.size() < rows && power > negligible;
       power = power.Multiply(q)) {
    powers.push_back(power);
  }
  // A table has two rows at least.
  if (powers.size() == 1) powers.emplace_back();
  for (WideFixed& power : powers) power = power.ShiftedRight(24);
  return powers;
}

std::vector<DrawTable> Digits(double scale) {
  std::vector<DrawTable> digits;
  WideFixed q = noise_internal::ExpOfMinus(noise_internal::Reciprocal(scale));
  for (;;) {
    const std::vector<WideFixed> all = Powers(q, kMostRows + 1);
    if (all.size() <= kMostRows) {
      digits.emplace_back(all);
      return digits;
    }
    digits.emplace_back(Powers(q, kBase));
    for (int i = 0; i < kDigitBits; ++i) q = q.Multiply(q);
  }
}

}  // namespace

DiscreteLaplace::DiscreteLaplace(double scale)
    : scale_(scale),
      digits_(std::make_shared<const std::vector<DrawTable>>(Digits(scale))) {}

absl::StatusOr<DiscreteLaplace> DiscreteLaplace::Create(double scale) {
  if (!(scale >= kLeastScale && scale <= kMostScale)) {
    return absl::InvalidArgumentError(StrCat(
        "discrete Laplace noise of scale ", scale,
        " grid units: it must lie between ", kLeastScale, " and ", kMostScale));
  }
  return DiscreteLaplace(scale);
}

void DiscreteLaplace::Fill(SecretRandom& random, std::span<int32_t> out) const {
  SecretStream stream(random);
  DrawTable::Block block;
  std::array<int32_t, DrawTable::kBlock> sum;
  while (!out.empty()) {
    sum.fill(0);
    for (const int32_t sign : {1, -1}) {
      int32_t weight = sign;
      for (const DrawTable& digit : *digits_) {
        digit.Draw(stream, &block);
        for (size_t i = 0; i < sum.size(); ++i) {
          sum[i] += weight * block.outcomes[i];
        }
        weight *= static_cast<int32_t>(kBase);
      }
    }
    const size_t count = std::min(out.size(), sum.size());
    std::copy_n(sum.begin(), count, out.begin());
    out = out.subspan(count);
  }
  OPENSSL_cleanse(sum.data(), sizeof(sum));
}

}  // namespace mledge
