#include "mledge/privacy/adaptive_clipping.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr std::string_view kVersion = "clip1";
constexpr size_t kStateSize = kVersion.size() + 2 * sizeof(uint64_t);
constexpr double kMostLearningRate = 10;
// Above, clips and norms are no float32 any more.
constexpr double kMostClipNorm = 1e30;
constexpr double kLeastClipNorm = 1e-30;
// Towards more noise.
constexpr double kUp = 1 + 0x1p-48;

absl::Status OutOfRange(std::string_view name, double value,
                        std::string_view range) {
  return absl::InvalidArgumentError(
      StrCat("adaptive clipping: ", name, " is ", value, "; it must ", range));
}

absl::Status CheckOptions(const AdaptiveClippingOptions& options) {
  const double least = options.least_clip_norm;
  const double most = options.most_clip_norm;
  if (!(least >= kLeastClipNorm && least <= kMostClipNorm)) {
    return OutOfRange("least_clip_norm", least, "lie between 1e-30 and 1e30");
  }
  if (!(most >= least && most <= kMostClipNorm)) {
    return OutOfRange("most_clip_norm", most,
                      "lie between least_clip_norm and 1e30");
  }
  if (!(options.initial_clip_norm >= least &&
        options.initial_clip_norm <= most)) {
    return OutOfRange("initial_clip_norm", options.initial_clip_norm,
                      "lie between least_clip_norm and most_clip_norm");
  }
  if (!(options.target_quantile >= 0 && options.target_quantile <= 1)) {
    return OutOfRange("target_quantile", options.target_quantile,
                      "lie between 0 and 1");
  }
  if (!(options.learning_rate > 0 &&
        options.learning_rate <= kMostLearningRate)) {
    return OutOfRange("learning_rate", options.learning_rate,
                      "be greater than 0 and at most 10");
  }
  if (options.expected_count < 1) {
    return OutOfRange("expected_count",
                      static_cast<double>(options.expected_count),
                      "be at least 1");
  }
  return absl::OkStatus();
}

void AppendU64(uint64_t value, std::string* bytes) {
  for (int shift = 0; shift < 64; shift += 8) {
    bytes->push_back(static_cast<char>(value >> shift & 0xFF));
  }
}

uint64_t ReadU64(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  }
  return value;
}

}  // namespace

absl::StatusOr<double> NoiseMultiplierBesideBits(
    double noise_multiplier, double bit_standard_deviation) {
  const double twice = 2 * bit_standard_deviation;
  for (const double value : {noise_multiplier, bit_standard_deviation}) {
    if (!(value > 0 && std::isfinite(value))) {
      return absl::InvalidArgumentError(StrCat(
          "adaptive clipping with a noise multiplier of ", noise_multiplier,
          " and noise of standard deviation ", bit_standard_deviation,
          " on the bits: both must be greater than 0 and finite"));
    }
  }
  if (twice <= noise_multiplier) {
    return absl::InvalidArgumentError(
        StrCat("adaptive clipping: noise of standard deviation ",
               bit_standard_deviation,
               " on the bits alone spends what a noise multiplier of ",
               noise_multiplier, " allows in all: it must be greater than ",
               noise_multiplier / 2, ", or the noise multiplier lower"));
  }
  // z / √(1 − (z / 2s)²), without the difference of two near squares.
  const double ratio = noise_multiplier / twice;
  const double left = (1 - ratio) * (1 + ratio);
  const double result = noise_multiplier / std::sqrt(left);
  // What rounding the ratio did to 1 − ratio.
  return result * (kUp + 0x1p-52 / (1 - ratio));
}

absl::StatusOr<AdaptiveClipping> AdaptiveClipping::Create(
    const AdaptiveClippingOptions& options) {
  MLEDGE_RETURN_IF_ERROR(CheckOptions(options));
  return AdaptiveClipping(options);
}

absl::StatusOr<AdaptiveClipping> AdaptiveClipping::Restore(
    const AdaptiveClippingOptions& options, std::string_view state) {
  MLEDGE_ASSIGN_OR_RETURN(AdaptiveClipping clipping, Create(options));
  if (state.size() != kStateSize || !state.starts_with(kVersion)) {
    return absl::InvalidArgumentError(
        StrCat(state.size(),
               " bytes that are no state of adaptive clipping, or of a "
               "newer version"));
  }
  state.remove_prefix(kVersion.size());
  const auto clip_norm = std::bit_cast<double>(ReadU64(state));
  const auto updates = static_cast<int64_t>(ReadU64(state.substr(8)));
  if (!(clip_norm >= options.least_clip_norm &&
        clip_norm <= options.most_clip_norm) ||
      updates < 0) {
    return absl::InvalidArgumentError(
        StrCat("a state of adaptive clipping with a clip norm of ", clip_norm,
               " after ", updates, " updates: not one of this task"));
  }
  clipping.clip_norm_ = clip_norm;
  clipping.updates_ = updates;
  return clipping;
}

int32_t AdaptiveClipping::CentredBit(double norm, double clip_norm) {
  return norm <= clip_norm ? 1 : -1;
}

absl::Status AdaptiveClipping::Update(double noised_sum_in_halves) {
  if (!std::isfinite(noised_sum_in_halves)) {
    return absl::InvalidArgumentError(
        StrCat("the noised sum of clip bits is ", noised_sum_in_halves));
  }
  const double share = noised_sum_in_halves /
                           (2 * static_cast<double>(options_.expected_count)) +
                       0.5;
  // Noise may carry the share far outside 0 … 1; the clip's own bounds hold.
  clip_norm_ =
      std::clamp(clip_norm_ * std::exp(-options_.learning_rate *
                                       (share - options_.target_quantile)),
                 options_.least_clip_norm, options_.most_clip_norm);
  ++updates_;
  return absl::OkStatus();
}

std::string AdaptiveClipping::Serialize() const {
  std::string state(kVersion);
  AppendU64(std::bit_cast<uint64_t>(clip_norm_), &state);
  AppendU64(static_cast<uint64_t>(updates_), &state);
  return state;
}

}  // namespace mledge
