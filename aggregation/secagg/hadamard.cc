#include "mledge/aggregation/secagg/hadamard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "mledge/aggregation/secagg/keyed_stream.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr int64_t kMostCoordinates = int64_t{1} << 40;
constexpr int64_t kPaddingDivisor = 100;  // at most 1 %
// Stays in the first cache.
constexpr size_t kCached = 4096;
constexpr size_t kSmall = 8;

void Butterflies(float* values, size_t half) {
  for (size_t i = 0; i < half; ++i) {
    const float a = values[i];
    const float b = values[half + i];
    values[i] = a + b;
    values[half + i] = a - b;
  }
}

// The last three steps of a transform, in registers.
void TransformSmall(float* values) {
  std::array<float, kSmall> a;
  std::array<float, kSmall> b;
  std::copy_n(values, kSmall, a.begin());
  for (size_t i = 0; i < 4; ++i) {
    b[i] = a[i] + a[i + 4];
    b[i + 4] = a[i] - a[i + 4];
  }
  for (const size_t i : {0, 1, 4, 5}) {
    a[i] = b[i] + b[i + 2];
    a[i + 2] = b[i] - b[i + 2];
  }
  for (size_t i = 0; i < kSmall; i += 2) {
    values[i] = a[i] + a[i + 1];
    values[i + 1] = a[i] - a[i + 1];
  }
}

// The Walsh–Hadamard transform without its factor. Large ones halve themselves,
// so that most passes stay in the cache. Size: a power of two.
void Transform(float* values, size_t size) {
  if (size > kCached) {
    Butterflies(values, size / 2);
    Transform(values, size / 2);
    Transform(values + size / 2, size / 2);
    return;
  }
  size_t half = size / 2;
  for (; half >= kSmall; half /= 2) {
    for (size_t i = 0; i < size; i += 2 * half) Butterflies(values + i, half);
  }
  if (size >= kSmall) {
    for (size_t i = 0; i < size; i += kSmall) TransformSmall(values + i);
    return;
  }
  for (; half > 0; half /= 2) {
    for (size_t i = 0; i < size; i += 2 * half) Butterflies(values + i, half);
  }
}

void TransformChunks(std::span<const HadamardRotation::Chunk> chunks,
                     std::span<float> padded) {
  for (const HadamardRotation::Chunk& chunk : chunks) {
    const auto size = static_cast<size_t>(chunk.size);
    float* const values = padded.data() + chunk.begin;
    Transform(values, size);
    const auto factor =
        static_cast<float>(1 / std::sqrt(static_cast<double>(chunk.size)));
    for (size_t i = 0; i < size; ++i) values[i] *= factor;
  }
}

}  // namespace

absl::StatusOr<HadamardRotation> HadamardRotation::Create(int64_t size,
                                                          const Digest& seed) {
  if (size < 1 || size > kMostCoordinates) {
    return absl::InvalidArgumentError(
        StrCat("a rotation of ", size, " coordinates"));
  }
  HadamardRotation rotation(size, seed);
  int64_t rest = size;
  while (rest > 0) {
    const auto above =
        static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rest)));
    int64_t chunk = above;
    if (above > kLargestChunk || above - rest > size / kPaddingDivisor) {
      chunk = std::min(
          kLargestChunk,
          static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(rest))));
    }
    rotation.chunks_.push_back({rotation.padded_size_, chunk});
    rotation.padded_size_ += chunk;
    rest -= std::min(rest, chunk);
  }
  return rotation;
}

void HadamardRotation::FlipSigns(std::span<float> padded) const {
  KeyedStream stream(seed_.bytes, "rotation signs");
  std::array<uint8_t, 512> bits;
  for (size_t begin = 0; begin < padded.size(); begin += 8 * bits.size()) {
    const size_t count = std::min(8 * bits.size(), padded.size() - begin);
    stream.Fill(std::span(bits).first((count + 7) / 8));
    for (size_t i = 0; i < count; ++i) {
      const uint32_t sign = uint32_t{bits[i / 8]} >> (i % 8) << 31;
      padded[begin + i] = std::bit_cast<float>(
          std::bit_cast<uint32_t>(padded[begin + i]) ^ sign);
    }
  }
}

absl::Status HadamardRotation::Rotate(std::span<const float> values,
                                      std::span<float> padded) const {
  if (static_cast<int64_t>(values.size()) != size_ ||
      static_cast<int64_t>(padded.size()) != padded_size_) {
    return absl::InvalidArgumentError(
        StrCat("rotating ", values.size(), " values into ", padded.size(),
               "; the rotation takes ", size_, " into ", padded_size_));
  }
  std::fill(std::copy(values.begin(), values.end(), padded.begin()),
            padded.end(), 0.0F);
  FlipSigns(padded);
  TransformChunks(chunks_, padded);
  return absl::OkStatus();
}

absl::Status HadamardRotation::Invert(std::span<float> padded,
                                      std::span<float> values) const {
  if (static_cast<int64_t>(values.size()) != size_ ||
      static_cast<int64_t>(padded.size()) != padded_size_) {
    return absl::InvalidArgumentError(
        StrCat("rotating ", padded.size(), " values back into ", values.size(),
               "; the rotation takes ", padded_size_, " into ", size_));
  }
  TransformChunks(chunks_, padded);
  FlipSigns(padded);
  std::copy_n(padded.begin(), values.size(), values.begin());
  return absl::OkStatus();
}

}  // namespace mledge::secagg
