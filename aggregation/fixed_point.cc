#include "mledge/aggregation/fixed_point.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "mledge/aggregation/internal/fold_kernel.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// Least e ≥ 0 with value ≤ 2^e. Precondition: value ≥ 1.
int CeilLog2(int64_t value) {
  return std::bit_width(static_cast<uint64_t>(value) - 1);
}

// Least e with value ≤ 2^e. Precondition: positive and finite.
int CeilLog2(double value) {
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);  // in [0.5, 1)
  return fraction == 0.5 ? exponent - 1 : exponent;
}

}  // namespace

absl::StatusOr<int> FractionBits(const FixedPointBounds& bounds) {
  if (!std::isfinite(bounds.value_bound) || bounds.value_bound <= 0) {
    return absl::InvalidArgumentError(
        StrCat("value bound ", bounds.value_bound,
               ": it must be greater than 0 and finite"));
  }
  if (bounds.weight_bound < 1 || bounds.weight_bound >= int64_t{1} << 31) {
    return absl::InvalidArgumentError(StrCat(
        "weight bound ", bounds.weight_bound, ": it must be 1 to 2147483647"));
  }
  if (bounds.maximum_updates < 1) {
    return absl::InvalidArgumentError(StrCat("at most ", bounds.maximum_updates,
                                             " updates: at least 1 is needed"));
  }
  const int value_exponent = CeilLog2(bounds.value_bound);
  const int fraction_bits =
      std::min({62 - value_exponent - CeilLog2(bounds.weight_bound) -
                    CeilLog2(bounds.maximum_updates),
                51 - value_exponent, 60});
  if (fraction_bits < kMinimumFractionBits) {
    return absl::InvalidArgumentError(
        StrCat("value bound ", bounds.value_bound, ", weight bound ",
               bounds.weight_bound, " and ", bounds.maximum_updates,
               " updates leave ", fraction_bits,
               " bits after the point, fewer than ", kMinimumFractionBits,
               ": lower aggregation.value_bound or "
               "aggregation.weight_bound"));
  }
  return fraction_bits;
}

double ScalarBound(int64_t maximum_updates) {
  return std::ldexp(1.0, 62 - kScalarFractionBits - CeilLog2(maximum_updates));
}

std::optional<int64_t> ScalarToFixedPoint(double value, double bound) {
  if (!(std::fabs(value) <= bound)) return std::nullopt;
  // Exact product, then the current rounding mode, which is to nearest even.
  return static_cast<int64_t>(
      std::nearbyint(std::ldexp(value, kScalarFractionBits)));
}

std::optional<size_t> FindOutside(std::span<const float> values, double bound) {
  // The largest float that is no larger than the bound separates the floats
  // just as the bound does.
  auto float_bound = static_cast<float>(bound);
  if (static_cast<double>(float_bound) > bound) {
    float_bound = std::nextafterf(float_bound, 0.0F);
  }
  if (aggregation_internal::AllWithin(values.data(), values.size(),
                                      float_bound)) {
    return std::nullopt;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(std::fabs(values[i]) <= float_bound)) return i;
  }
  return std::nullopt;
}

}  // namespace mledge
