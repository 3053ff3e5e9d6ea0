#include "mledge/privacy/grid_rounding.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/secret_stream.h"

namespace mledge {
namespace {

constexpr int64_t kMostCoordinates = int64_t{1} << 40;
constexpr int kMostFractionBits = 100;
// What float32 may add to a clipped vector's norm while it is rotated.
constexpr double kClipTolerance = 1e-3;

// Fixed point with 24 fraction bits: adding 24 random bits and cutting the
// fraction rounds up with the fraction as probability.
constexpr int kFractionBits = 24;
// Adding this rounds a double of magnitude at most 2^51 to an integer.
constexpr double kRoundingShift = 0x1.8p52;
// Makes what is shifted to the right positive.
constexpr uint64_t kOffset = uint64_t{1} << 36;
// No coordinate is larger; keeps fixed point below 2^51.
constexpr double kMostCoordinate = 0x1p26;

constexpr size_t kBlock = 4096;

using Wide = unsigned __int128;

// Rounds a block; returns the sum of squares, about 2^50 at most as the norm is
// bounded.
uint64_t RoundBlock(const float* values, const uint32_t* random, size_t size,
                    double scale, int32_t* out) {
  uint64_t squares = 0;
  for (size_t i = 0; i < size; ++i) {
    const double scaled = static_cast<double>(values[i]) * scale;
    const uint64_t fixed = std::bit_cast<uint64_t>(
                               scaled * (1 << kFractionBits) + kRoundingShift) -
                           std::bit_cast<uint64_t>(kRoundingShift);
    const uint64_t level =
        ((fixed + (kOffset << kFractionBits) + (random[i] >> 8)) >>
         kFractionBits) -
        kOffset;
    const auto q = static_cast<int32_t>(level);
    out[i] = q;
    squares += static_cast<uint64_t>(static_cast<int64_t>(q) * q);
  }
  return squares;
}

// ‖x · scale‖₂, and that every coordinate is finite and within kMostCoordinate.
absl::StatusOr<double> ScaledNorm(std::span<const float> values, double scale) {
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double scaled = static_cast<double>(values[i]) * scale;
    if (!(std::abs(scaled) <= kMostCoordinate)) {
      return absl::InvalidArgumentError(StrCat(
          "value ", i, " is ", values[i], ", ", scaled, " grid units; at most ",
          kMostCoordinate, " can be rounded: clip before rounding"));
    }
    squares += scaled * scaled;
  }
  return std::sqrt(squares);
}

template <typename Integer>
absl::Status CheckNorm(std::span<const Integer> q, int64_t bound) {
  // Exact: each square is below 2^126, and stops once above the bound.
  Wide squares = 0;
  for (const Integer value : q) {
    const auto wide = static_cast<__int128>(value);
    squares += static_cast<Wide>(wide * wide);
    if (bound < 0 || squares > static_cast<Wide>(bound)) {
      return absl::InvalidArgumentError(
          StrCat("the squared norm of a contribution on the grid is above ",
                 bound, ": its device did not keep the clip"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GridSensitivity> SensitivityAfterRounding(
    double clip, int64_t dimension, GridRounding rounding) {
  if (!(clip > 0)) {
    return absl::InvalidArgumentError(StrCat(
        "a clip norm of ", clip, " grid units: it must be greater than 0"));
  }
  if (dimension < 1 || dimension > kMostCoordinates) {
    return absl::InvalidArgumentError(
        StrCat("dimension ", dimension, ": it must lie between 1 and 2^40"));
  }
  const auto d = static_cast<double>(dimension);
  const double root = std::sqrt(d);
  double squared = 0;
  if (rounding == GridRounding::kConditional) {
    // sqrt(2 ln(1/β)) = 1 for β = e^-1/2.
    squared = std::min(clip * clip + d / 4 + (clip + root / 2),
                       (clip + root) * (clip + root));
  } else {
    squared = (clip + root / 2) * (clip + root / 2);
  }
  if (!(squared <= kMostGridNorm * kMostGridNorm)) {
    return absl::InvalidArgumentError(StrCat(
        "on this grid an update of ", dimension, " values with a clip ",
        "norm of ", clip, " grid units has a norm of ", std::sqrt(squared),
        "; at most 2^25 is possible: take a coarser "
        "grid or fewer values"));
  }
  GridSensitivity result;
  // Whatever double arithmetic did to the formula's last bit: this integer is
  // what is enforced, and the sensitivities are its own.
  result.squared_norm_bound = static_cast<int64_t>(squared);
  const auto bound = static_cast<double>(result.squared_norm_bound);
  constexpr double kUp = 1 + 0x1p-50;
  result.l2 = std::sqrt(bound) * kUp;
  result.l1 = std::min(result.l2 * root * kUp, bound);
  return result;
}

absl::StatusOr<GridRoundingResult> RoundToGrid(
    std::span<const float> values, int fraction_bits, double clip,
    const GridSensitivity& sensitivity, SecretRandom& random,
    std::span<int32_t> out) {
  if (values.size() != out.size()) {
    return absl::InvalidArgumentError(
        StrCat("rounding ", values.size(), " values into ", out.size()));
  }
  if (std::abs(fraction_bits) > kMostFractionBits) {
    return absl::InvalidArgumentError(
        StrCat("a grid of step 2^", -fraction_bits));
  }
  const int64_t bound = sensitivity.squared_norm_bound;
  if (!(clip > 0 && clip <= kMostGridNorm) || bound < 0 ||
      static_cast<double>(bound) > kMostGridNorm * kMostGridNorm) {
    return absl::InvalidArgumentError(
        StrCat("rounding with a clip norm of ", clip,
               " grid units and a bound of ", bound, " on the squared norm"));
  }
  const double scale = std::ldexp(1.0, fraction_bits);
  MLEDGE_ASSIGN_OR_RETURN(const double norm, ScaledNorm(values, scale));
  if (norm > clip * (1 + kClipTolerance)) {
    return absl::InvalidArgumentError(StrCat("an update with a norm of ", norm,
                                             " grid units, above the clip "
                                             "norm of ",
                                             clip, ": clip before rounding"));
  }
  GridRoundingResult result;
  SecretStream stream(random);
  std::array<uint32_t, kBlock> words;
  Wide squares = 0;
  do {
    ++result.attempts;
    squares = 0;
    for (size_t begin = 0; begin < values.size(); begin += kBlock) {
      const size_t count = std::min(kBlock, values.size() - begin);
      stream.FillValues(std::span(words).first(count));
      squares += RoundBlock(values.data() + begin, words.data(), count, scale,
                            out.data() + begin);
    }
  } while (squares > static_cast<Wide>(bound) &&
           result.attempts < kMostRoundingAttempts);
  OPENSSL_cleanse(words.data(), sizeof(words));
  if (squares <= static_cast<Wide>(bound)) return result;
  result.fell_back = true;
  for (size_t i = 0; i < values.size(); ++i) {
    out[i] = static_cast<int32_t>(static_cast<double>(values[i]) * scale);
  }
  MLEDGE_RETURN_IF_ERROR(CheckGridNorm(out, bound));
  return result;
}

absl::Status CheckGridNorm(std::span<const int32_t> q,
                           int64_t squared_norm_bound) {
  return CheckNorm(q, squared_norm_bound);
}

absl::Status CheckGridNorm(std::span<const int64_t> q,
                           int64_t squared_norm_bound) {
  return CheckNorm(q, squared_norm_bound);
}

}  // namespace mledge
