#include "mledge/privacy/matrix/correlated_grid.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/internal/noise_filter.h"

namespace mledge {
namespace {

using matrix_internal::kBufferCoefficientBits;
using matrix_internal::kBufferStateBits;

constexpr int64_t kLargestDimension = int64_t{1} << 34;
constexpr double kLargestSensitivity = 0x1p50;
constexpr double kLeastStandardDeviation = 16;
constexpr double kLargestStandardDeviation = 0x1p40;
// What random rounding of a Gaussian to integers adds to its variance, at most,
// when a discrete Gaussian comes out.
constexpr double kRoundingVariance = 8;
// More than the roundings of one formula below add up to.
constexpr double kUp = 1 + 0x1p-48;

absl::Status CheckFractionBits(int fraction_bits) {
  if (fraction_bits >= 0 && fraction_bits <= kMostFractionBits) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(StrCat("fraction_bits ", fraction_bits,
                                           ": it must be between 0 and ",
                                           kMostFractionBits));
}

double Floored(double value, int bits) {
  return std::ldexp(std::floor(std::ldexp(value, bits)), -bits);
}

// δ of the header, in units of z's grid: two roundings of the sum of products,
// each half a unit off, and the buffers'.
double RoundingShift(const BufferedToeplitz& matrix, int64_t rounds) {
  return 1 + std::ldexp(matrix_internal::RoundsHeld(matrix, rounds),
                        -kBufferStateBits);
}

}  // namespace

absl::Status ValidateCorrelatedGrid(const CorrelatedGrid& grid) {
  MLEDGE_RETURN_IF_ERROR(CheckFractionBits(grid.fraction_bits));
  if (grid.dimension < 1 || grid.dimension > kLargestDimension) {
    return absl::InvalidArgumentError(StrCat("dimension ", grid.dimension,
                                             ": it must be between 1 and ",
                                             kLargestDimension));
  }
  if (!(grid.l2_sensitivity > 0 &&
        grid.l2_sensitivity <= kLargestSensitivity)) {
    return absl::InvalidArgumentError(
        StrCat("l2_sensitivity ", grid.l2_sensitivity,
               " in units of the sums' grid: it must be greater than 0 and at "
               "most 2^50"));
  }
  return absl::OkStatus();
}

absl::Status ValidateCorrelatedStandardDeviation(double value) {
  if (value >= kLeastStandardDeviation && value <= kLargestStandardDeviation) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      StrCat("standard_deviation ", value,
             " in units of the noise's grid: it must be between ",
             kLeastStandardDeviation, " and 2^40; change the fraction bits"));
}

absl::StatusOr<StrategyMatrix> RoundStrategyToGrid(
    const StrategyMatrix& strategy, int fraction_bits) {
  MLEDGE_RETURN_IF_ERROR(ValidateStrategy(strategy));
  MLEDGE_RETURN_IF_ERROR(CheckFractionBits(fraction_bits));
  StrategyMatrix rounded = strategy;
  if (auto* bands = std::get_if<BandedToeplitz>(&rounded)) {
    for (double& c : bands->coefficients) {
      c = std::ldexp(std::round(std::ldexp(c, fraction_bits)), -fraction_bits);
    }
    while (bands->coefficients.back() == 0) bands->coefficients.pop_back();
  } else if (auto* buffers = std::get_if<BufferedToeplitz>(&rounded)) {
    for (double& decay : buffers->decays) {
      decay = Floored(decay, kBufferCoefficientBits);
    }
    for (double& weight : buffers->weights) {
      weight = Floored(weight, kBufferCoefficientBits);
    }
    MLEDGE_RETURN_IF_ERROR(
        Annotate(Validate(*buffers), "rounded to multiples of 2^-30"));
  }
  return rounded;
}

absl::StatusOr<double> CorrelatedSensitivity(const StrategyMatrix& strategy,
                                             const ParticipationLimits& limits,
                                             const CorrelatedGrid& grid) {
  MLEDGE_RETURN_IF_ERROR(ValidateCorrelatedGrid(grid));
  MLEDGE_ASSIGN_OR_RETURN(const StrategyMatrix on_grid,
                          RoundStrategyToGrid(strategy, grid.fraction_bits));
  if (on_grid != strategy) {
    return absl::InvalidArgumentError(StrCat(
        DescribeStrategy(strategy),
        ": coefficients are not on the grid; RoundStrategyToGrid puts them "
        "there"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const double sensitivity,
                          Sensitivity(strategy, limits));
  const auto* buffers = std::get_if<BufferedToeplitz>(&strategy);
  if (buffers == nullptr) return sensitivity;
  // A contribution of integers has as many of them that are not zero as the
  // square of its norm, at most.
  const double touched =
      std::min(static_cast<double>(grid.dimension),
               static_cast<double>(MostParticipations(limits)) *
                   grid.l2_sensitivity * grid.l2_sensitivity);
  const double shift =
      RoundingShift(*buffers, limits.rounds) *
      std::sqrt(touched * static_cast<double>(limits.rounds - 1));
  return (sensitivity +
          std::ldexp(shift, -grid.fraction_bits) / grid.l2_sensitivity) *
         kUp;
}

absl::StatusOr<double> CorrelatedNoiseMultiplier(
    const StrategyMatrix& strategy, const ParticipationLimits& limits,
    const CorrelatedGrid& grid, double standard_deviation) {
  MLEDGE_RETURN_IF_ERROR(
      ValidateCorrelatedStandardDeviation(standard_deviation));
  MLEDGE_ASSIGN_OR_RETURN(const double sensitivity,
                          CorrelatedSensitivity(strategy, limits, grid));
  const double variance =
      standard_deviation * standard_deviation - kRoundingVariance;
  return std::sqrt(variance) /
         std::ldexp(sensitivity * grid.l2_sensitivity, grid.fraction_bits) /
         kUp;
}

absl::StatusOr<double> CorrelatedStandardDeviation(
    const StrategyMatrix& strategy, const ParticipationLimits& limits,
    const CorrelatedGrid& grid, double noise_multiplier) {
  if (!(noise_multiplier > 0)) {
    return absl::InvalidArgumentError(StrCat(
        "noise_multiplier ", noise_multiplier, ": it must be greater than 0"));
  }
  MLEDGE_ASSIGN_OR_RETURN(const double sensitivity,
                          CorrelatedSensitivity(strategy, limits, grid));
  const double hidden =
      noise_multiplier *
      std::ldexp(sensitivity * grid.l2_sensitivity, grid.fraction_bits) * kUp;
  const double standard_deviation =
      std::sqrt(hidden * hidden + kRoundingVariance) * kUp;
  MLEDGE_RETURN_IF_ERROR(
      ValidateCorrelatedStandardDeviation(standard_deviation));
  return standard_deviation;
}

}  // namespace mledge
