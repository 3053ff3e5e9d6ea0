#include "mledge/aggregation/secagg/quantizer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>
#include <utility>

#include "mledge/aggregation/secagg/wiping_bytes.h"
#include "mledge/core/parameters.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr int kFewestQuantizedBits = 2;
constexpr int kMostQuantizedBits = 24;
constexpr int64_t kMostUpdates = int64_t{1} << 32;
constexpr int64_t kMostWeight = int64_t{1} << 32;

using Wide = unsigned __int128;

// L: the largest level of b' bits.
int64_t LargestLevel(int bits) { return (int64_t{1} << (bits - 1)) - 1; }

int64_t WeightOf(const QuantizerOptions& options, const QuantizedRange& range) {
  return range.weighted ? options.maximum_weight : 1;
}

bool IsExact(Modulus modulus, int64_t updates, int64_t weight, int bits) {
  return static_cast<Wide>(updates) * static_cast<Wide>(weight) *
             ((Wide{1} << bits) - 1) <
         Wide{1} << modulus.bits();
}

absl::Status CheckOptions(const QuantizerOptions& options) {
  if (options.maximum_updates < 1 || options.maximum_updates > kMostUpdates) {
    return absl::InvalidArgumentError(
        StrCat("a sum of at most ", options.maximum_updates, " updates"));
  }
  if (options.maximum_weight < 1 || options.maximum_weight > kMostWeight) {
    return absl::InvalidArgumentError(
        StrCat("a largest weight of ", options.maximum_weight));
  }
  for (const QuantizedRange& range : options.ranges) {
    if (range.size < 1) {
      return absl::InvalidArgumentError(
          StrCat(range.name, " has ", range.size, " coordinates"));
    }
    if (!(range.bound > 0) || !std::isfinite(range.bound)) {
      return absl::InvalidArgumentError(
          StrCat(range.name, " has the bound ", range.bound,
                 "; it must be positive and finite"));
    }
    if (range.bits < kFewestQuantizedBits || range.bits > kMostQuantizedBits) {
      return absl::InvalidArgumentError(StrCat(
          range.name, " is quantized to ", range.bits, " bits; ",
          kFewestQuantizedBits, " to ", kMostQuantizedBits, " are possible"));
    }
  }
  if (options.contract == RangeContract::kProbabilistic) {
    if (!(options.noise_standard_deviation >= 0) ||
        !std::isfinite(options.noise_standard_deviation)) {
      return absl::InvalidArgumentError(StrCat(
          "noise of standard deviation ", options.noise_standard_deviation));
    }
    if (!(options.maximum_wrap_probability > 0 &&
          options.maximum_wrap_probability < 1)) {
      return absl::InvalidArgumentError(StrCat(
          "a largest wrap probability of ", options.maximum_wrap_probability,
          "; it must lie between 0 and 1"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckExact(const QuantizerOptions& options) {
  const int64_t updates = options.maximum_updates;
  for (const QuantizedRange& range : options.ranges) {
    const int64_t weight = WeightOf(options, range);
    if (IsExact(options.modulus, updates, weight, range.bits)) continue;
    const uint64_t levels = (uint64_t{1} << range.bits) - 1;
    const uint64_t most_products =
        ((uint64_t{1} << options.modulus.bits()) - 1) / levels;
    return absl::FailedPreconditionError(StrCat(
        "a sum of ", updates, " updates of weight up to ", weight, " in ",
        range.bits, " bits (", range.name, ") may exceed the modulus 2^",
        options.modulus.bits(), ": updates times weight may be ", most_products,
        " at most, or take ", MostExactBits(options.modulus, updates, weight),
        " bits (0: none fit), or a larger modulus"));
  }
  return absl::OkStatus();
}

absl::StatusOr<double> CheckProbabilistic(const QuantizerOptions& options) {
  double total = 0;
  for (const QuantizedRange& range : options.ranges) {
    const double magnitude = static_cast<double>(options.maximum_updates) *
                             static_cast<double>(WeightOf(options, range)) *
                             static_cast<double>(LargestLevel(range.bits));
    total += WrapProbability(options.modulus, magnitude,
                             options.noise_standard_deviation, range.size);
    if (total > options.maximum_wrap_probability) {
      return absl::FailedPreconditionError(
          StrCat("with noise of standard deviation ",
                 options.noise_standard_deviation, " a coordinate of ",
                 range.name, " may wrap around 2^", options.modulus.bits(),
                 " with a probability above ", options.maximum_wrap_probability,
                 ": take fewer bits, less weight or a larger modulus"));
    }
  }
  return total;
}

// Fixed point with 24 fraction bits: adding 24 random bits and cutting the
// fraction rounds up with the fraction as probability (to within 2^-25, which
// is what x · s is rounded to first). Every step is exact or correctly rounded,
// so the bits do not depend on the processor.
constexpr int kFractionBits = 24;
constexpr double kFractionScale = int64_t{1} << kFractionBits;
// Adding this rounds a double of magnitude at most 2^51 to an integer.
constexpr double kRoundingShift = 0x1.8p52;
// Makes what is shifted to the right positive; |x · s| < 2^23.
constexpr uint64_t kOffset = uint64_t{1} << 30;

// size ≤ the random words. Writes w · round(x · s), modulo the lane.
template <typename Lane>
void QuantizeBlock(const float* values, const uint32_t* random, size_t size,
                   double scale, double largest, uint64_t weight, Lane* out) {
  for (size_t i = 0; i < size; ++i) {
    const double scaled = std::min(
        std::max(static_cast<double>(values[i]) * scale, -largest), largest);
    const uint64_t fixed =
        std::bit_cast<uint64_t>(scaled * kFractionScale + kRoundingShift) -
        std::bit_cast<uint64_t>(kRoundingShift);
    const uint64_t level =
        ((fixed + (kOffset << kFractionBits) + (random[i] >> 8)) >>
         kFractionBits) -
        kOffset;
    out[i] = static_cast<Lane>(level * weight);
  }
}

}  // namespace

int MostExactBits(Modulus modulus, int64_t maximum_updates,
                  int64_t maximum_weight) {
  for (int bits = kMostQuantizedBits; bits >= kFewestQuantizedBits; --bits) {
    if (IsExact(modulus, maximum_updates, maximum_weight, bits)) return bits;
  }
  return 0;
}

double WrapProbability(Modulus modulus, double magnitude,
                       double noise_standard_deviation, int64_t coordinates) {
  const double room = std::ldexp(1.0, modulus.bits() - 1) - magnitude;
  if (room <= 0) return 1;
  if (noise_standard_deviation <= 0) return 0;
  const double each =
      std::erfc(room / (noise_standard_deviation * std::sqrt(2.0)));
  return std::min(1.0, each * static_cast<double>(coordinates));
}

Quantizer::Quantizer(QuantizerOptions options) : options_(std::move(options)) {
  for (const QuantizedRange& range : options_.ranges) {
    size_ += range.size;
    scales_.push_back(static_cast<double>(LargestLevel(range.bits)) /
                      range.bound);
  }
}

absl::StatusOr<Quantizer> Quantizer::Create(QuantizerOptions options) {
  MLEDGE_RETURN_IF_ERROR(CheckOptions(options));
  double wrap_probability = 0;
  if (options.contract == RangeContract::kExact) {
    MLEDGE_RETURN_IF_ERROR(CheckExact(options));
  } else {
    MLEDGE_ASSIGN_OR_RETURN(wrap_probability, CheckProbabilistic(options));
  }
  Quantizer quantizer(std::move(options));
  quantizer.wrap_probability_ = wrap_probability;
  return quantizer;
}

absl::Status Quantizer::CheckInput(std::span<const float> values,
                                   int64_t weight,
                                   const ModularVector& out) const {
  if (static_cast<int64_t>(values.size()) != size_) {
    return absl::InvalidArgumentError(StrCat(
        "an update of ", values.size(), " values for ", size_, " coordinates"));
  }
  if (out.size() != size_ || out.modulus() != options_.modulus) {
    return absl::InvalidArgumentError(StrCat(
        "quantizing ", size_, " coordinates of ", options_.modulus.bits(),
        " bits into a vector of ", out.size(), " of ", out.modulus().bits()));
  }
  if (weight < 1 || weight > options_.maximum_weight) {
    return absl::InvalidArgumentError(StrCat("the update's weight is ", weight,
                                             "; the task allows 1 to ",
                                             options_.maximum_weight));
  }
  size_t begin = 0;
  for (const QuantizedRange& range : options_.ranges) {
    const auto part = values.subspan(begin, static_cast<size_t>(range.size));
    begin += part.size();
    if (const std::optional<size_t> bad = FindNonFinite(part)) {
      return absl::InvalidArgumentError(StrCat("value ", *bad, " of ",
                                               range.name, " is ", part[*bad],
                                               ": an update must be finite"));
    }
  }
  return absl::OkStatus();
}

absl::Status Quantizer::Quantize(std::span<const float> values, int64_t weight,
                                 SecretRandom& random,
                                 ModularVector* out) const {
  MLEDGE_RETURN_IF_ERROR(CheckInput(values, weight, *out));
  std::array<uint32_t, 4096> words;
  const std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(words.data()),
                                 sizeof(words));
  size_t begin = 0;
  for (size_t r = 0; r < options_.ranges.size(); ++r) {
    const QuantizedRange& range = options_.ranges[r];
    const auto largest = static_cast<double>(LargestLevel(range.bits));
    const auto range_weight =
        static_cast<uint64_t>(range.weighted ? weight : 1);
    const size_t end = begin + static_cast<size_t>(range.size);
    while (begin < end) {
      const size_t count = std::min(words.size(), end - begin);
      random.Fill(bytes.first(4 * count));
      const auto quantize = [&](auto lanes) {
        QuantizeBlock(values.data() + begin, words.data(), count, scales_[r],
                      largest, range_weight, lanes.data() + begin);
      };
      if (out->lanes32().empty()) {
        quantize(out->lanes16());
      } else {
        quantize(out->lanes32());
      }
      begin += count;
    }
  }
  WipeMemory(bytes);
  return absl::OkStatus();
}

absl::Status Quantizer::DequantizeSum(const ModularVector& sum,
                                      std::span<double> out) const {
  if (sum.size() != size_ || sum.modulus() != options_.modulus ||
      static_cast<int64_t>(out.size()) != size_) {
    return absl::InvalidArgumentError(StrCat(
        "a sum of ", sum.size(), " coordinates of ", sum.modulus().bits(),
        " bits into ", out.size(), " values; expected are ", size_, " of ",
        options_.modulus.bits()));
  }
  int64_t begin = 0;
  for (size_t r = 0; r < options_.ranges.size(); ++r) {
    const int64_t end = begin + options_.ranges[r].size;
    for (; begin < end; ++begin) {
      out[static_cast<size_t>(begin)] =
          static_cast<double>(sum.centered(begin)) / scales_[r];
    }
  }
  return absl::OkStatus();
}

}  // namespace mledge::secagg
