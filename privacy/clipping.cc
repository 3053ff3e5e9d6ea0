#include "mledge/privacy/clipping.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

constexpr size_t kBlock = 4096;
constexpr size_t kLanes = 8;

// Eight sums side by side, so that vector units of any width up to eight
// doubles form the same ones. A square of a float32 is exact in double.
double BlockSumOfSquares(std::span<const float> block) {
  std::array<double, kLanes> lanes{};
  size_t i = 0;
  for (; i + kLanes <= block.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double value = block[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (size_t lane = 0; i < block.size(); ++i, ++lane) {
    const double value = block[i];
    lanes[lane] += value * value;
  }
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// Neighbours in pairs, then pairs of pairs: the shape depends on the count
// alone.
double TreeSum(std::vector<double>& terms) {
  if (terms.empty()) return 0;
  for (size_t count = terms.size(); count > 1; count = (count + 1) / 2) {
    for (size_t i = 0; i < count / 2; ++i) {
      terms[i] = terms[2 * i] + terms[2 * i + 1];
    }
    if (count % 2 != 0) terms[count / 2] = terms[count - 1];
  }
  return terms[0];
}

template <typename Float>
absl::StatusOr<double> Norm(std::span<const std::span<Float>> spans) {
  std::vector<double> blocks;
  for (const std::span<Float>& span : spans) {
    for (size_t begin = 0; begin < span.size(); begin += kBlock) {
      blocks.push_back(BlockSumOfSquares(
          span.subspan(begin, std::min(kBlock, span.size() - begin))));
    }
  }
  // The largest float32 squared is 1e77, so only a value that is not finite
  // itself makes a sum that is not.
  const double sum = TreeSum(blocks);
  if (std::isfinite(sum)) return std::sqrt(sum);
  for (size_t s = 0; s < spans.size(); ++s) {
    for (size_t i = 0; i < spans[s].size(); ++i) {
      if (!std::isfinite(spans[s][i])) {
        return absl::InvalidArgumentError(
            StrCat("value ", i, " of section ", s, " is ", spans[s][i],
                   "; training diverged: lower the learning rate"));
      }
    }
  }
  return absl::InternalError("a sum of finite squares is not finite");
}

absl::Status CheckClipNorm(double clip_norm) {
  if (clip_norm > 0 && std::isfinite(clip_norm)) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(
      "clip norm ", clip_norm, ": it must be greater than 0 and finite"));
}

// Of values whose norm is `norm`.
ClipResult Scale(std::span<const std::span<float>> spans, double norm,
                 double clip_norm) {
  ClipResult result{.norm_before = norm};
  if (norm <= clip_norm) return result;
  result.clipped = true;
  result.factor = clip_norm / norm * (1 - 0x1p-23);
  for (const std::span<float>& span : spans) {
    for (float& value : span) {
      value = static_cast<float>(value * result.factor);
    }
  }
  return result;
}

}  // namespace

absl::StatusOr<double> L2Norm(std::span<const std::span<const float>> spans) {
  return Norm(spans);
}

absl::StatusOr<ClipResult> ClipL2(std::span<const std::span<float>> spans,
                                  double clip_norm) {
  MLEDGE_RETURN_IF_ERROR(CheckClipNorm(clip_norm));
  MLEDGE_ASSIGN_OR_RETURN(const double norm, Norm(spans));
  return Scale(spans, norm, clip_norm);
}

absl::StatusOr<std::vector<ClipResult>> ClipL2PerLayer(
    std::span<const std::vector<std::span<float>>> layers,
    std::span<const double> clip_norms) {
  if (layers.size() != clip_norms.size()) {
    return absl::InvalidArgumentError(StrCat(
        clip_norms.size(), " clip norms for ", layers.size(), " layers"));
  }
  MLEDGE_RETURN_IF_ERROR(TotalClipNorm(clip_norms).status());
  std::vector<double> norms;
  for (size_t i = 0; i < layers.size(); ++i) {
    const absl::StatusOr<double> norm =
        Norm(std::span<const std::span<float>>(layers[i]));
    if (!norm.ok()) {
      return absl::Status(norm.status().code(),
                          StrCat("layer ", i, ": ", norm.status().message()));
    }
    norms.push_back(*norm);
  }
  std::vector<ClipResult> results;
  for (size_t i = 0; i < layers.size(); ++i) {
    results.push_back(Scale(layers[i], norms[i], clip_norms[i]));
  }
  return results;
}

absl::StatusOr<double> TotalClipNorm(std::span<const double> clip_norms) {
  if (clip_norms.empty()) {
    return absl::InvalidArgumentError("no layer has a clip norm");
  }
  double largest = 0;
  for (const double clip_norm : clip_norms) {
    MLEDGE_RETURN_IF_ERROR(CheckClipNorm(clip_norm));
    largest = std::max(largest, clip_norm);
  }
  // Over the largest, so that no square overflows.
  double squares = 0;
  for (const double clip_norm : clip_norms) {
    squares += (clip_norm / largest) * (clip_norm / largest);
  }
  // A single layer is its own total; else each addition may have lost half a
  // unit in the last place.
  const double total = largest * std::sqrt(squares);
  if (clip_norms.size() == 1) return total;
  return total * (1 + static_cast<double>(clip_norms.size() + 8) * 0x1p-53);
}

}  // namespace mledge
