#ifndef MLEDGE_AGGREGATION_SECAGG_HADAMARD_H_
#define MLEDGE_AGGREGATION_SECAGG_HADAMARD_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/sha256.h"

// A randomized Hadamard rotation, which spreads an update evenly over its
// coordinates, so that a common scale wastes fewer levels. Linear and
// orthogonal, with signs from a public seed of the round: the sum of rotated
// updates is the rotated sum. The vector is cut into chunks of powers of two;
// the last is filled with zeros, by at most 1 % of the vector. Immutable after
// Create; const access from several threads is safe.

namespace mledge::secagg {

class HadamardRotation {
 public:
  struct Chunk {
    int64_t begin = 0;  // in the padded vector
    int64_t size = 0;   // a power of two
  };
  // No chunk is larger: 4 MB of float32, what a core's cache holds.
  static constexpr int64_t kLargestChunk = int64_t{1} << 20;

  // What padded_size() of a rotation of `size` values is. INVALID_ARGUMENT: as
  // of Create.
  static absl::StatusOr<int64_t> PaddedSize(int64_t size);

  // INVALID_ARGUMENT: size < 1 or above 2^40.
  static absl::StatusOr<HadamardRotation> Create(int64_t size,
                                                 const Digest& seed);

  int64_t size() const { return size_; }
  // size() ≤ padded_size() ≤ 1.01 · size().
  int64_t padded_size() const { return padded_size_; }
  std::span<const Chunk> chunks() const { return chunks_; }

  // `padded` gets padded_size() values. INVALID_ARGUMENT: other sizes.
  absl::Status Rotate(std::span<const float> values,
                      std::span<float> padded) const;
  // Undoes Rotate; `padded` is used as working memory. INVALID_ARGUMENT: other
  // sizes.
  absl::Status Invert(std::span<float> padded, std::span<float> values) const;

 private:
  HadamardRotation(int64_t size, const Digest& seed)
      : size_(size), seed_(seed) {}

  int64_t size_;
  Digest seed_;
  int64_t padded_size_ = 0;
  std::vector<Chunk> chunks_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_HADAMARD_H_
