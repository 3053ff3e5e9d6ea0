#ifndef MLEDGE_PRIVACY_ADAPTIVE_CLIPPING_H_
#define MLEDGE_PRIVACY_ADAPTIVE_CLIPPING_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// A clip norm that follows a quantile of the devices' norms, privately (Andrew,
// Thakkar, McMahan and Ramaswamy, "Differentially private learning with
// adaptive clipping", NeurIPS 2021). Each device adds one bit to the protected
// sum: whether its norm was within the clip. The bits are centred, +1/2 or
// −1/2, so that leaving one out (zero-out) changes their sum by 1/2 only. The
// sum gets noise of its own, and the noise on the updates grows so that both
// together cost what the updates' alone would have.

namespace mledge {

// z' = (z^-2 − (2 s)^-2)^-1/2: the noise multiplier of the updates' sum for
// which it and the bits' sum, with noise of standard deviation s =
// `bit_standard_deviation`, together are one Gaussian mechanism of multiplier z
// = `noise_multiplier` (theorem 1 there). Rounded up.
// INVALID_ARGUMENT: an argument not positive and finite; 2 s ≤ z: the bits
// alone would spend more than z allows (raise s or lower z).
absl::StatusOr<double> NoiseMultiplierBesideBits(double noise_multiplier,
                                                 double bit_standard_deviation);

struct AdaptiveClippingOptions {
  double initial_clip_norm = 0;  // > 0
  // γ: the share of devices whose norm should be within the clip; 0 … 1.
  double target_quantile = 0.5;
  // η of the geometric update; > 0, at most 10.
  double learning_rate = 0.2;
  // Fixed denominator of the share: how many devices are expected in a sum,
  // never how many came. ≥ 1.
  int64_t expected_count = 0;
  // The clip stays within these: > 0, in order.
  double least_clip_norm = 1e-6;
  double most_clip_norm = 1e6;
};

// Not thread-safe. What moves is one number; the rest is in the task.
class AdaptiveClipping {
 public:
  // INVALID_ARGUMENT: an option outside its range, named.
  static absl::StatusOr<AdaptiveClipping> Create(
      const AdaptiveClippingOptions& options);
  // Goes on from Serialize(). INVALID_ARGUMENT: as above, or bytes that are no
  // state, of a newer version, or outside the options' range.
  static absl::StatusOr<AdaptiveClipping> Restore(
      const AdaptiveClippingOptions& options, std::string_view state);

  double clip_norm() const { return clip_norm_; }
  int64_t updates() const { return updates_; }

  // A device's contribution to the bits' sum, in halves: +1 where `norm`, that
  // of its update before clipping, is at most `clip_norm`, else −1. A norm that
  // is not finite counts as too long.
  static int32_t CentredBit(double norm, double clip_norm);

  // From the noised sum of the devices' centred bits, in halves: the noisy
  // share b = sum / (2 · expected_count) + 1/2, then C ← C · exp(−η (b − γ)).
  // INVALID_ARGUMENT for a NaN or infinity; nothing changes then.
  absl::Status Update(double noised_sum_in_halves);

  // 21 bytes: version, clip norm, number of updates. Public: the clip is sent
  // to devices.
  std::string Serialize() const;

 private:
  explicit AdaptiveClipping(const AdaptiveClippingOptions& options)
      : options_(options), clip_norm_(options.initial_clip_norm) {}

  AdaptiveClippingOptions options_;
  double clip_norm_;
  int64_t updates_ = 0;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ADAPTIVE_CLIPPING_H_
