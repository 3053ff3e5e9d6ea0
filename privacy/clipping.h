#ifndef MLEDGE_PRIVACY_CLIPPING_H_
#define MLEDGE_PRIVACY_CLIPPING_H_

#include <span>
#include <vector>

#include "absl/status/statusor.h"

// Bounding what one device can contribute: the first float stage of a device's
// update pipeline (client/update_pipeline.h), before anything is quantized.
// Thread-safe for different data.

namespace mledge {

// The Euclidean norm of all values of all spans together. Sums of squares run
// in double over blocks of 4096 values in eight fixed lanes, which a fixed tree
// then adds up: the same spans give the same bits on every CPU, compiler and
// number of threads.
// INVALID_ARGUMENT for a NaN or an infinity, naming span and position.
absl::StatusOr<double> L2Norm(std::span<const std::span<const float>> spans);

struct ClipResult {
  double norm_before = 0;
  // What every value was multiplied by; 1 where nothing was clipped.
  double factor = 1;
  bool clipped = false;
};

// Scales all spans together, in place, so that their joint Euclidean norm is at
// most `clip_norm`: x · min(1, clip_norm / ‖x‖₂) (Abadi et al., "Deep learning
// with differential privacy", CCS 2016, algorithm 1; McMahan et al., "Learning
// differentially private recurrent language models", ICLR 2018, for whole
// updates). Rounds towards more clipping: the factor is shrunk by 2⁻²³, more
// than rounding the products to float32 can add, so the norm of what is written
// is at most `clip_norm` exactly, not only nearly (products below float32's
// smallest normal number, 1.2e-38, add at most 2⁻¹⁵⁰ each). Values whose norm
// is at most `clip_norm` keep their bits; a norm of zero is never clipped.
// INVALID_ARGUMENT: `clip_norm` not positive and finite; a NaN or an infinity
// among the values (nothing is changed then).
absl::StatusOr<ClipResult> ClipL2(std::span<const std::span<float>> spans,
                                  double clip_norm);

// Per-layer clipping: scales the spans of layer i together, in place, to a norm
// of at most clip_norms[i] (McMahan et al., ICLR 2018, "per-layer clipping").
// What one device contributes is bounded by TotalClipNorm of them all, not by
// their sum or their largest. Rounds as ClipL2 does. INVALID_ARGUMENT: not one
// clip norm for each layer, a clip norm not positive and finite, a NaN or an
// infinity among the values (nothing is changed then).
absl::StatusOr<std::vector<ClipResult>> ClipL2PerLayer(
    std::span<const std::vector<std::span<float>>> layers,
    std::span<const double> clip_norms);

// sqrt(Σ c²), rounded up: the sensitivity of an update whose layers are clipped
// to `clip_norms`. INVALID_ARGUMENT: none, or one not positive and finite.
absl::StatusOr<double> TotalClipNorm(std::span<const double> clip_norms);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_CLIPPING_H_
