#ifndef MLEDGE_AGGREGATION_SECAGG_MODULAR_H_
#define MLEDGE_AGGREGATION_SECAGG_MODULAR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Vectors of integers modulo 2^b, b from 8 to 32. In memory a coordinate is a
// lane of 16 bits (b ≤ 16) or 32 bits, which wraps freely: 2^b divides 2^16 and
// 2^32, so the surplus bits are cut only when the vector is packed or read. On
// the wire coordinate i takes the bits i·b … i·b + b − 1 of a little-endian bit
// string, and the last byte is filled with zeros. Ranges start at multiples of
// 8 coordinates, which is where they start at whole bytes, so a vector may be
// summed range by range and by several threads at once, as long as the ranges
// do not overlap. Not thread-safe otherwise.

namespace mledge::secagg {

class Modulus {
 public:
  static constexpr int kFewestBits = 8;
  static constexpr int kMostBits = 32;

  // INVALID_ARGUMENT unless kFewestBits ≤ bits ≤ kMostBits.
  static absl::StatusOr<Modulus> Create(int bits);

  int bits() const { return bits_; }
  // 2 or 4: bytes of memory, and of keystream, a coordinate.
  size_t lane_size_in_bytes() const { return bits_ <= 16 ? 2 : 4; }
  // 2^b − 1.
  uint32_t mask() const {
    return static_cast<uint32_t>((uint64_t{1} << bits_) - 1);
  }
  // Bytes of `count` packed coordinates, ⌈count · b / 8⌉. Precondition: count ≥
  // 0.
  int64_t PackedSize(int64_t count) const { return (count * bits_ + 7) / 8; }
  bool operator==(const Modulus&) const = default;

 private:
  explicit Modulus(int bits) : bits_(bits) {}
  int bits_;
};

// Ranges, of masks and packed bytes alike, begin at multiples of this.
inline constexpr int64_t kRangeAlignment = 8;

class ModularVector {
 public:
  // All zero. INVALID_ARGUMENT: size negative or above 2^40.
  static absl::StatusOr<ModularVector> Create(Modulus modulus, int64_t size);

  Modulus modulus() const { return modulus_; }
  int64_t size() const { return size_; }
  int64_t packed_size() const { return modulus_.PackedSize(size_); }

  // The residue, 0 … 2^b − 1. Precondition: 0 ≤ i < size().
  uint32_t residue(int64_t i) const;
  // The residue as a signed number, −2^(b−1) … 2^(b−1) − 1.
  int64_t centered(int64_t i) const;
  // Any integer; only its residue is kept.
  void Set(int64_t i, int64_t value);

  // The lanes; of the two, the one that the modulus uses (else empty).
  std::span<uint16_t> lanes16() { return lanes16_; }
  std::span<uint32_t> lanes32() { return lanes32_; }
  std::span<const uint16_t> lanes16() const { return lanes16_; }
  std::span<const uint32_t> lanes32() const { return lanes32_; }

  // this += other. INVALID_ARGUMENT: another modulus or size.
  absl::Status Add(const ModularVector& other);

  // The packed_size() bytes that travel.
  std::string Pack() const;
  // Coordinates begin … end−1 into `out`. INVALID_ARGUMENT: a range outside the
  // vector, begin not a multiple of kRangeAlignment, or an end that is neither
  // that nor size(), or out.size() ≠ PackedSize(end − begin).
  absl::Status PackRange(int64_t begin, int64_t end,
                         std::span<uint8_t> out) const;
  // Adds packed coordinates begin … end−1, in one pass. INVALID_ARGUMENT: as
  // for PackRange, and when the bits that fill the last byte are not zero;
  // nothing is added then.
  absl::Status UnpackAndAdd(int64_t begin, int64_t end,
                            std::span<const uint8_t> packed);
  // The whole vector of a message. INVALID_ARGUMENT: not packed_size() bytes,
  // or as above.
  absl::Status UnpackAndAdd(std::string_view packed);

 private:
  ModularVector(Modulus modulus, int64_t size)
      : modulus_(modulus), size_(size) {}
  absl::Status CheckRange(int64_t begin, int64_t end, size_t bytes) const;

  Modulus modulus_;
  int64_t size_;
  std::vector<uint16_t> lanes16_;
  std::vector<uint32_t> lanes32_;
};

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_MODULAR_H_
