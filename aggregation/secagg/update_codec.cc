#include "mledge/aggregation/secagg/update_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "mledge/aggregation/fixed_point.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

constexpr int kMostValueBits = 24;  // of float32's significand
constexpr int64_t kLargestWeightBound = std::numeric_limits<int32_t>::max();
constexpr std::string_view kWeight = "weight";

struct ScalarBoundOf {
  std::string_view name;
  double bound = 0;
};

// The section of scalars; the weight of a training update is the last one.
std::vector<ScalarBoundOf> ScalarsOf(const UpdateCodecOptions& options) {
  const auto most_examples = static_cast<double>(options.weight_bound);
  const double most_loss = most_examples * UpdateCodec::kLargestMeanLoss;
  std::vector<ScalarBoundOf> scalars = {{kExamplesScalar, most_examples},
                                        {kLossSumScalar, most_loss},
                                        {kMetricSumScalar, most_loss}};
  if (options.clip_bit) scalars.push_back({kClipBitScalar, 0.5});
  if (options.is_evaluation()) return scalars;
  scalars.push_back({kWeight, options.uniform_weight ? 1 : most_examples});
  return scalars;
}

double LargestInteger(int bits) { return std::ldexp(1.0, bits - 1) - 1; }

// The largest f with bound · 2^f ≤ L.
int FractionBitsFor(double bound, int bits) {
  int f = std::ilogb(LargestInteger(bits) / bound);
  if (std::ldexp(bound, f) > LargestInteger(bits)) --f;
  return f;
}

// So that the quantizer's scale is 2^f.
QuantizedRange Range(std::string_view name, int64_t size, double bound,
                     int bits, bool weighted) {
  return {
      .name = std::string(name),
      .size = size,
      .bound = std::ldexp(LargestInteger(bits), -FractionBitsFor(bound, bits)),
      .bits = bits,
      .weighted = weighted};
}

int64_t ShiftLeft(int64_t integer, int bits) {
  return static_cast<int64_t>(static_cast<uint64_t>(integer) << bits);
}

// The least modulus that holds the sum of n updates: n · w · (2^b' − 1) < 2^b.
absl::StatusOr<Modulus> LeastModulus(int64_t updates, int64_t weight,
                                     int bits) {
  for (int b = Modulus::kFewestBits; b <= Modulus::kMostBits; ++b) {
    MLEDGE_ASSIGN_OR_RETURN(const Modulus modulus, Modulus::Create(b));
    if (MostExactBits(modulus, updates, weight) >= bits) return modulus;
  }
  return absl::FailedPreconditionError(
      StrCat("sums of ", Modulus::kMostBits, " bits cannot hold ", updates,
             " updates of ", bits, " bits with weights up to ", weight));
}

// Sums on the grid against what the plain aggregator's integers can hold.
absl::StatusOr<Modulus> ModulusOfGrid(const UpdateCodecOptions& options,
                                      int fraction_bits) {
  const ValueGrid& grid = *options.grid;
  if (!options.uniform_weight || options.value_bits != 0 ||
      grid.fraction_bits < 0 || grid.fraction_bits > fraction_bits ||
      grid.modulus_bits - 1 - grid.fraction_bits + fraction_bits > 62) {
    return absl::InvalidArgumentError(StrCat(
        "secure aggregation of values in steps of 2^-", grid.fraction_bits,
        " modulo 2^", grid.modulus_bits, ", added up in steps of 2^-",
        fraction_bits, ": a number is out of its range"));
  }
  return Modulus::Create(grid.modulus_bits);
}

absl::StatusOr<Quantizer> ScalarQuantizer(const UpdateCodecOptions& options,
                                          Modulus modulus) {
  const int bits = std::min(MostExactBits(modulus, options.maximum_updates, 1),
                            kMostValueBits);
  QuantizerOptions scalars = {.modulus = modulus,
                              .maximum_updates = options.maximum_updates};
  for (const auto& [name, bound] : ScalarsOf(options)) {
    scalars.ranges.push_back(Range(name, 1, bound, bits, /*weighted=*/false));
  }
  return Quantizer::Create(std::move(scalars));
}

}  // namespace

absl::StatusOr<UpdateCodec> UpdateCodec::Create(
    const UpdateCodecOptions& options) {
  if (options.shared_size < 0 || options.maximum_updates < 1 ||
      options.weight_bound < 1 || options.weight_bound > kLargestWeightBound ||
      !(options.value_bound > 0) || !std::isfinite(options.value_bound) ||
      options.value_bits < 0 || options.value_bits > kMostValueBits ||
      (options.is_evaluation() && (options.grid || options.clip_bit))) {
    return absl::InvalidArgumentError(
        StrCat("secure aggregation of ", options.shared_size, " values within ",
               options.value_bound, ", of ", options.value_bits, " bits, from ",
               options.maximum_updates, " updates of weights up to ",
               options.weight_bound, ": a number is out of its range"));
  }
  const int64_t updates = options.maximum_updates;
  const int64_t weight = options.uniform_weight ? 1 : options.weight_bound;
  MLEDGE_ASSIGN_OR_RETURN(const Modulus widest,
                          Modulus::Create(Modulus::kMostBits));
  MLEDGE_ASSIGN_OR_RETURN(const int fraction_bits,
                          FractionBits({.value_bound = options.value_bound,
                                        .weight_bound = weight,
                                        .maximum_updates = updates}));
  MLEDGE_ASSIGN_OR_RETURN(Quantizer scalars, ScalarQuantizer(options, widest));
  if (options.is_evaluation()) {
    return UpdateCodec(options, fraction_bits, /*value_fraction_bits=*/0,
                       widest, std::nullopt, std::move(scalars));
  }
  if (options.grid.has_value()) {
    MLEDGE_ASSIGN_OR_RETURN(const Modulus modulus,
                            ModulusOfGrid(options, fraction_bits));
    return UpdateCodec(options, fraction_bits, options.grid->fraction_bits,
                       modulus, std::nullopt, std::move(scalars));
  }
  const int most =
      std::min(MostExactBits(widest, updates, weight), kMostValueBits);
  const int bits = options.value_bits > 0 ? options.value_bits : most;
  if (bits < kFewestValueBits || bits > most) {
    return absl::FailedPreconditionError(StrCat(
        "secure aggregation: sums of ", Modulus::kMostBits, " bits leave ",
        std::max(most, 0), " bits to a value when ", updates,
        " updates of weights up to ", weight, " are added; ", bits,
        " are wanted, at least ", kFewestValueBits,
        " are needed. Lower aggregation.weight_bound (with "
        "local_training.max_examples), use weighting: uniform, or divide the "
        "cohort with secure_aggregation.group_size"));
  }
  QuantizerOptions values = {
      .modulus = widest, .maximum_updates = updates, .maximum_weight = weight};
  MLEDGE_ASSIGN_OR_RETURN(values.modulus, LeastModulus(updates, weight, bits));
  values.ranges = {Range(kDeltaSection, options.shared_size,
                         options.value_bound, bits, /*weighted=*/true)};
  const int value_fraction_bits = FractionBitsFor(options.value_bound, bits);
  if (value_fraction_bits > fraction_bits) {
    return absl::FailedPreconditionError(
        StrCat("secure aggregation: the bounds are too wide for ", bits,
               " bits a value"));
  }
  const Modulus modulus = values.modulus;
  MLEDGE_ASSIGN_OR_RETURN(Quantizer value_quantizer,
                          Quantizer::Create(std::move(values)));
  return UpdateCodec(options, fraction_bits, value_fraction_bits, modulus,
                     std::move(value_quantizer), std::move(scalars));
}

double UpdateCodec::value_step() const {
  return std::ldexp(1.0, -value_fraction_bits_);
}

std::vector<OfferSection> UpdateCodec::sections() const {
  const OfferSection scalars = {.length = scalars_.size(),
                                .modulus = scalars_.options().modulus};
  if (options_.is_evaluation()) return {scalars};
  return {{.length = options_.shared_size, .modulus = value_modulus_}, scalars};
}

absl::StatusOr<std::vector<ModularVector>> UpdateCodec::Encode(
    const Update& update, SecretRandom& random) const {
  const bool evaluation = options_.is_evaluation();
  const bool fits =
      evaluation ? update.sections.empty()
                 : update.sections.size() == 1 &&
                       update.sections[0].name == kDeltaSection &&
                       std::cmp_equal(update.sections[0].values.span().size(),
                                      options_.shared_size);
  if (!fits || update.scalars.size() !=
                   ScalarsOf(options_).size() - (evaluation ? 0 : 1)) {
    return absl::InvalidArgumentError(StrCat(
        "an update with ", update.sections.size(), " sections and ",
        update.scalars.size(), " scalars, where secure aggregation takes ",
        evaluation ? ""
                   : StrCat(kDeltaSection, " with ", options_.shared_size,
                            " values, and "),
        "examples, loss_sum and metric_sum"));
  }
  const double examples = update.Scalar(kExamplesScalar);
  if (examples > static_cast<double>(options_.weight_bound)) {
    return absl::OutOfRangeError(StrCat(
        examples, " examples are above the task's ", options_.weight_bound,
        "; raise aggregation.weight_bound or set "
        "local_training.max_examples"));
  }
  const int64_t weight = options_.uniform_weight ? 1 : update.weight;
  std::vector<ModularVector> sections;
  if (!evaluation) {
    MLEDGE_ASSIGN_OR_RETURN(
        ModularVector values,
        EncodeValues(update.sections[0].values.span(), weight, random));
    sections.push_back(std::move(values));
  }
  std::vector<float> scalars;
  for (const auto& [name, bound] : ScalarsOf(options_)) {
    scalars.push_back(static_cast<float>(
        name == kWeight ? static_cast<double>(weight) : update.Scalar(name)));
  }
  MLEDGE_ASSIGN_OR_RETURN(
      ModularVector encoded_scalars,
      ModularVector::Create(scalars_.options().modulus, scalars_.size()));
  MLEDGE_RETURN_IF_ERROR(
      scalars_.Quantize(scalars, 1, random, &encoded_scalars));
  sections.push_back(std::move(encoded_scalars));
  return sections;
}

absl::StatusOr<ModularVector> UpdateCodec::EncodeValues(
    std::span<const float> values, int64_t weight, SecretRandom& random) const {
  MLEDGE_ASSIGN_OR_RETURN(
      ModularVector encoded,
      ModularVector::Create(value_modulus_, options_.shared_size));
  if (values_.has_value()) {
    // The quantizer's own bound is larger: where its scale is a power of two.
    std::vector<float> clipped(values.begin(), values.end());
    const auto bound = static_cast<float>(options_.value_bound);
    for (float& value : clipped) {
      if (std::abs(value) > bound) value = std::copysign(bound, value);
    }
    MLEDGE_RETURN_IF_ERROR(
        values_->Quantize(clipped, weight, random, &encoded));
    return encoded;
  }
  const double scale = std::ldexp(1.0, value_fraction_bits_);
  for (size_t i = 0; i < values.size(); ++i) {
    // Exact: a float32 and a power of two.
    const double scaled = static_cast<double>(values[i]) * scale;
    if (!(std::abs(scaled) < 0x1p31) || scaled != std::trunc(scaled)) {
      return absl::InvalidArgumentError(
          StrCat("value ", i, " of the update is ", values[i],
                 ", which is no multiple of 2^-", value_fraction_bits_,
                 " below 2^", 31 - value_fraction_bits_));
    }
    encoded.Set(static_cast<int64_t>(i), static_cast<int64_t>(scaled));
  }
  return encoded;
}

absl::StatusOr<AggregationSum> UpdateCodec::Decode(
    std::span<const ModularVector> sum, int64_t count) const {
  const std::vector<OfferSection> expected = sections();
  bool fits = sum.size() == expected.size() && count >= 1 &&
              count <= options_.maximum_updates;
  for (size_t i = 0; fits && i < sum.size(); ++i) {
    fits = sum[i].size() == expected[i].length &&
           sum[i].modulus() == expected[i].modulus;
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        StrCat("a sum of ", count, " updates in ", sum.size(),
               " sections is not one of this session"));
  }
  AggregationSum decoded;
  decoded.fraction_bits = fraction_bits_;
  decoded.count = count;
  const bool evaluation = options_.is_evaluation();
  if (!evaluation) {
    const int shift = fraction_bits_ - value_fraction_bits_;
    AggregationSum::Section& section = decoded.sections.emplace_back();
    section.name = std::string(kDeltaSection);
    section.integers.resize(static_cast<size_t>(sum[0].size()));
    for (int64_t i = 0; i < sum[0].size(); ++i) {
      section.integers[static_cast<size_t>(i)] =
          ShiftLeft(sum[0].centered(i), shift);
    }
  }
  const std::vector<ScalarBoundOf> names = ScalarsOf(options_);
  const size_t weight_index = names.size() - (evaluation ? 0 : 1);
  for (size_t i = 0; i < weight_index; ++i) {
    const int64_t integer = sum.back().centered(static_cast<int64_t>(i));
    const int fraction = std::ilogb(scalars_.scale(i));
    decoded.scalars.push_back(
        {.name = std::string(names[i].name),
         .integer = fraction <= kScalarFractionBits
                        ? ShiftLeft(integer, kScalarFractionBits - fraction)
                        : integer >> (fraction - kScalarFractionBits)});
  }
  if (evaluation) {
    decoded.weight_sum = count;  // plays no part
    return decoded;
  }
  // The weights' scale is at most 1 only for cohorts so large that they are
  // rounded, like everything else.
  const double weights =
      static_cast<double>(sum[1].centered(static_cast<int64_t>(weight_index))) /
      scalars_.scale(weight_index);
  const int64_t most_weight =
      options_.uniform_weight ? 1 : options_.weight_bound;
  if (weights < static_cast<double>(count) ||
      weights > static_cast<double>(count) * static_cast<double>(most_weight)) {
    return absl::InvalidArgumentError(
        StrCat("the ", count, " updates of the sum have weights of ", weights,
               " together: a device broke the protocol"));
  }
  decoded.weight_sum = std::llround(weights);
  return decoded;
}

}  // namespace mledge::secagg
