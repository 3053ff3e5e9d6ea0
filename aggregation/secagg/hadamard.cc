#include "mledge/aggregation/secagg/hadamard.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "mledge/aggregation/secagg/internal/hadamard_kernel.h"
#include "mledge/aggregation/secagg/keyed_stream.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

using secagg_internal::HadamardSink;
using secagg_internal::HadamardSource;
using secagg_internal::kHadamardBlock;
using secagg_internal::TransformBlock;
using secagg_internal::TransformColumns;

constexpr int64_t kMostRotated = int64_t{1} << 40;
constexpr int64_t kPaddingDivisor = 100;  // at most 1 %

// The signs of one chunk after another, each of which begins at a whole byte of
// the stream, or shares its only byte with its neighbours.
class ChunkSigns {
 public:
  explicit ChunkSigns(const Digest& seed)
      : stream_(seed.bytes, "rotation signs") {}

  // Bit 0 of the first byte is the sign of the chunk's first value; valid until
  // the next call.
  const uint8_t* Next(const HadamardRotation::Chunk& chunk) {
    const auto size = static_cast<size_t>(chunk.size);
    if (chunk.begin % 8 != 0) {
      // The last chunks, of fewer than 8 values.
      bits_[0] = static_cast<uint8_t>(last_ >> (chunk.begin % 8));
      return bits_.data();
    }
    bits_.resize((size + 7) / 8);
    stream_.Fill(bits_);
    last_ = bits_.back();
    return bits_.data();
  }

 private:
  KeyedStream stream_;
  std::vector<uint8_t> bits_;
  uint8_t last_ = 0;
};

float FactorOf(const HadamardRotation::Chunk& chunk) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(chunk.size)));
}

// What the unpadded vector has of a chunk.
template <typename Float>
std::span<Float> ChunkOf(const HadamardRotation::Chunk& chunk,
                         std::span<Float> values) {
  const auto begin = std::min(static_cast<size_t>(chunk.begin), values.size());
  return values.subspan(
      begin, std::min(static_cast<size_t>(chunk.size), values.size() - begin));
}

// From `source` to `sink` through `memory`, all of the chunk's size or, source
// and sink, shorter.
void TransformChunk(HadamardSource source, size_t size, float factor,
                    float* memory, HadamardSink sink) {
  if (size <= kHadamardBlock) {
    TransformBlock(source, size, factor, sink);
    return;
  }
  TransformColumns(source, size / kHadamardBlock, memory);
  for (size_t begin = 0; begin < size; begin += kHadamardBlock) {
    const size_t left = sink.size > begin ? sink.size - begin : 0;
    TransformBlock(
        {.values = memory + begin, .size = kHadamardBlock}, kHadamardBlock,
        factor,
        {.values = sink.values + std::min(begin, sink.size),
         .size = std::min(left, kHadamardBlock),
         .signs = sink.signs == nullptr ? nullptr : sink.signs + begin / 8});
  }
}

}  // namespace

absl::StatusOr<HadamardRotation> HadamardRotation::Create(int64_t size,
                                                          const Digest& seed) {
  if (size < 1 || size > kMostRotated) {
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

absl::StatusOr<int64_t> HadamardRotation::PaddedSize(int64_t size) {
  MLEDGE_ASSIGN_OR_RETURN(const HadamardRotation rotation,
                          Create(size, Digest()));
  return rotation.padded_size();
}

absl::Status HadamardRotation::Rotate(std::span<const float> values,
                                      std::span<float> padded) const {
  if (static_cast<int64_t>(values.size()) != size_ ||
      static_cast<int64_t>(padded.size()) != padded_size_) {
    return absl::InvalidArgumentError(
        StrCat("rotating ", values.size(), " values into ", padded.size(),
               "; the rotation takes ", size_, " into ", padded_size_));
  }
  ChunkSigns signs(seed_);
  for (const Chunk& chunk : chunks_) {
    const auto size = static_cast<size_t>(chunk.size);
    const std::span<const float> source = ChunkOf(chunk, values);
    float* const rotated = padded.data() + chunk.begin;
    TransformChunk({.values = source.data(),
                    .size = source.size(),
                    .signs = signs.Next(chunk)},
                   size, FactorOf(chunk), rotated,
                   {.values = rotated, .size = size});
  }
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
  ChunkSigns signs(seed_);
  for (const Chunk& chunk : chunks_) {
    const auto size = static_cast<size_t>(chunk.size);
    float* const rotated = padded.data() + chunk.begin;
    const std::span<float> sink = ChunkOf(chunk, values);
    TransformChunk({.values = rotated, .size = size}, size, FactorOf(chunk),
                   rotated,
                   {.values = sink.data(),
                    .size = sink.size(),
                    .signs = signs.Next(chunk)});
  }
  return absl::OkStatus();
}

}  // namespace mledge::secagg
