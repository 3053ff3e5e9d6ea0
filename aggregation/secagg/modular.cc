#include "mledge/aggregation/secagg/modular.h"

#include "mledge/aggregation/secagg/internal/lane_kernel.h"
#include "mledge/core/bytes.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr int64_t kMostPacked = int64_t{1} << 40;

}  // namespace

absl::StatusOr<Modulus> Modulus::Create(int bits) {
  if (bits < kFewestBits || bits > kMostBits) {
    return absl::InvalidArgumentError(StrCat("the modulus must have ",
                                             kFewestBits, " to ", kMostBits,
                                             " bits, not ", bits));
  }
  return Modulus(bits);
}

absl::StatusOr<ModularVector> ModularVector::Create(Modulus modulus,
                                                    int64_t size) {
  if (size < 0 || size > kMostPacked) {
    return absl::InvalidArgumentError(
        StrCat("a vector of ", size, " coordinates"));
  }
  ModularVector vector(modulus, size);
  if (modulus.lane_size_in_bytes() == 2) {
    vector.lanes16_.resize(static_cast<size_t>(size));
  } else {
    vector.lanes32_.resize(static_cast<size_t>(size));
  }
  return vector;
}

uint32_t ModularVector::residue(int64_t i) const {
  const auto at = static_cast<size_t>(i);
  return (lanes32_.empty() ? lanes16_[at] : lanes32_[at]) & modulus_.mask();
}

int64_t ModularVector::centered(int64_t i) const {
  const int64_t value = residue(i);
  const int64_t half = int64_t{1} << (modulus_.bits() - 1);
  return value < half ? value : value - 2 * half;
}

void ModularVector::Set(int64_t i, int64_t value) {
  const auto at = static_cast<size_t>(i);
  if (lanes32_.empty()) {
    lanes16_[at] = static_cast<uint16_t>(value);
  } else {
    lanes32_[at] = static_cast<uint32_t>(value);
  }
}

absl::Status ModularVector::Add(const ModularVector& other) {
  if (other.modulus_ != modulus_ || other.size_ != size_) {
    return absl::InvalidArgumentError(StrCat(
        "cannot add ", other.size_, " coordinates of ", other.modulus_.bits(),
        " bits to ", size_, " of ", modulus_.bits()));
  }
  const auto add = [](auto& to, const auto& from) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(from.data());
    secagg_internal::AddStreams(to.data(), &bytes, 1, to.size(), false);
  };
  if (lanes32_.empty()) {
    add(lanes16_, other.lanes16_);
  } else {
    add(lanes32_, other.lanes32_);
  }
  return absl::OkStatus();
}

absl::Status ModularVector::CheckRange(int64_t begin, int64_t end,
                                       size_t bytes) const {
  if (begin < 0 || end < begin || end > size_) {
    return absl::InvalidArgumentError(
        StrCat("coordinates ", begin, " to ", end, " of a vector of ", size_));
  }
  if (begin % kRangeAlignment != 0 ||
      (end % kRangeAlignment != 0 && end != size_)) {
    return absl::InvalidArgumentError(
        StrCat("a range from ", begin, " to ", end,
               " does not lie at whole bytes: ranges begin and end at "
               "multiples of ",
               kRangeAlignment));
  }
  if (bytes != static_cast<size_t>(modulus_.PackedSize(end - begin))) {
    return absl::InvalidArgumentError(StrCat(
        bytes, " bytes for ", end - begin, " coordinates of ", modulus_.bits(),
        " bits, which take ", modulus_.PackedSize(end - begin)));
  }
  return absl::OkStatus();
}

std::string ModularVector::Pack() const {
  std::string packed(static_cast<size_t>(packed_size()), '\0');
  // The whole vector is always a valid range.
  PackRange(0, size_,
            {reinterpret_cast<uint8_t*>(packed.data()), packed.size()})
      .IgnoreError();
  return packed;
}

absl::Status ModularVector::PackRange(int64_t begin, int64_t end,
                                      std::span<uint8_t> out) const {
  MLEDGE_RETURN_IF_ERROR(CheckRange(begin, end, out.size()));
  const auto count = static_cast<size_t>(end - begin);
  if (lanes32_.empty()) {
    secagg_internal::Pack(modulus_.bits(), lanes16_.data() + begin, count,
                          out.data());
  } else {
    secagg_internal::Pack(modulus_.bits(), lanes32_.data() + begin, count,
                          out.data());
  }
  return absl::OkStatus();
}

absl::Status ModularVector::UnpackAndAdd(int64_t begin, int64_t end,
                                         std::span<const uint8_t> packed) {
  MLEDGE_RETURN_IF_ERROR(CheckRange(begin, end, packed.size()));
  const int64_t used_bits = (end - begin) * modulus_.bits() % 8;
  if (used_bits != 0 && packed.back() >> used_bits != 0) {
    return absl::InvalidArgumentError(
        "the bits that fill the last byte of packed coordinates are not zero");
  }
  const auto count = static_cast<size_t>(end - begin);
  if (lanes32_.empty()) {
    secagg_internal::UnpackAndAdd(modulus_.bits(), packed.data(), count,
                                  lanes16_.data() + begin);
  } else {
    secagg_internal::UnpackAndAdd(modulus_.bits(), packed.data(), count,
                                  lanes32_.data() + begin);
  }
  return absl::OkStatus();
}

absl::Status ModularVector::UnpackAndAdd(std::string_view packed) {
  return UnpackAndAdd(0, size_, AsBytes(packed));
}

}  // namespace mledge::secagg
