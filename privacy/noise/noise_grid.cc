#include "mledge/privacy/noise/noise_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/noise/discrete_gaussian.h"

namespace mledge {
namespace {

constexpr int kMostFractionBits = 100;
constexpr double kFreeInflation = 1.01;
constexpr double kMostMultiplier = 1e6;
constexpr double kMostClipNorm = 1e12;
constexpr double kLeastClipNorm = 1e-12;

absl::Status CheckRange(const char* name, double value, double least,
                        double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(
      name, " is ", value, "; it must lie between ", least, " and ", most));
}

double NoiseOverClip(const NoiseGridOptions& options) {
  return options.noise_multiplier != 0
             ? options.noise_multiplier
             : options.standard_deviation / options.clip_norm;
}

absl::Status CheckOptions(const NoiseGridOptions& options) {
  MLEDGE_RETURN_IF_ERROR(CheckRange("clip_norm", options.clip_norm,
                                    kLeastClipNorm, kMostClipNorm));
  MLEDGE_RETURN_IF_ERROR(CheckRange(
      "dimension", static_cast<double>(options.dimension), 1, 0x1p40));
  if ((options.noise_multiplier != 0) == (options.standard_deviation != 0)) {
    return absl::InvalidArgumentError(StrCat(
        "noise_multiplier is ", options.noise_multiplier,
        " and the noise's standard deviation ", options.standard_deviation,
        ": give one of the two, greater than 0"));
  }
  MLEDGE_RETURN_IF_ERROR(CheckRange("noise_multiplier (noise over clip norm)",
                                    NoiseOverClip(options), 1 / kMostMultiplier,
                                    kMostMultiplier));
  MLEDGE_RETURN_IF_ERROR(CheckRange("most_deviation", options.most_deviation,
                                    kLeastGridDeviation, 0x1p20));
  MLEDGE_RETURN_IF_ERROR(CheckRange(
      "noise sources", static_cast<double>(options.sources), 1, 0x1p32));
  return CheckRange("largest_inflation", options.largest_inflation, 1, 1000);
}

// None where integers have no room for the clip.
std::optional<NoiseGrid> GridAt(int fraction_bits,
                                const NoiseGridOptions& options) {
  NoiseGrid grid;
  grid.fraction_bits = fraction_bits;
  grid.clip = std::ldexp(options.clip_norm, fraction_bits);
  const absl::StatusOr<GridSensitivity> sensitivity =
      SensitivityAfterRounding(grid.clip, options.dimension, options.rounding);
  if (!sensitivity.ok()) return std::nullopt;
  grid.sensitivity = *sensitivity;
  grid.inflation = sensitivity->l2 / grid.clip;
  const double deviation =
      options.noise_multiplier != 0
          ? options.noise_multiplier * sensitivity->l2 * (1 + 0x1p-50)
          : std::ldexp(options.standard_deviation, fraction_bits);
  grid.variance = VarianceOf(deviation) / static_cast<double>(options.sources) *
                  (1 + 0x1p-50);
  return grid;
}

}  // namespace

double NoiseGrid::step() const { return std::ldexp(1.0, -fraction_bits); }

absl::StatusOr<NoiseGrid> ChooseNoiseGrid(const NoiseGridOptions& options) {
  MLEDGE_RETURN_IF_ERROR(CheckOptions(options));
  // From coarse to fine: inflation falls, the noise in grid units grows.
  std::optional<NoiseGrid> best;
  for (int bits = -kMostFractionBits; bits <= kMostFractionBits; ++bits) {
    const std::optional<NoiseGrid> grid = GridAt(bits, options);
    if (!grid.has_value() ||
        grid->variance > options.most_deviation * options.most_deviation ||
        grid->variance < options.least_deviation * options.least_deviation) {
      continue;
    }
    best = grid;
    if (grid->inflation <= kFreeInflation) break;
  }
  if (!best.has_value()) {
    return absl::FailedPreconditionError(StrCat(
        "no grid takes noise of ", NoiseOverClip(options),
        " times the clip norm for ", options.dimension, " values in ",
        options.sources, " parts, each of a standard deviation between ",
        options.least_deviation, " and ", options.most_deviation,
        " grid units: lower the noise multiplier where parts are too large, "
        "add it centrally or with fewer devices where they are too small"));
  }
  if (best->inflation > options.largest_inflation) {
    return absl::FailedPreconditionError(StrCat(
        "rounding to the finest grid that noise of ", options.most_deviation,
        " grid units allows lengthens an update of ", options.dimension,
        " values by a factor of ", best->inflation, ", and at most ",
        options.largest_inflation,
        " is accepted: lower noise_multiplier, spread the noise over a larger "
        "cohort, train fewer values, or allow noise of more grid units or more "
        "inflation"));
  }
  return *best;
}

}  // namespace mledge
