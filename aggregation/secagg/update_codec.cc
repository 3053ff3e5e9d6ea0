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
// The last one is the update's weight.
constexpr std::array<std::string_view, 4> kScalars = {
    kExamplesScalar, kLossSumScalar, kMetricSumScalar, "weight"};

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

}  // namespace

absl::StatusOr<UpdateCodec> UpdateCodec::Create(
    const UpdateCodecOptions& options) {
  if (options.shared_size < 1 || options.maximum_updates < 1 ||
      options.weight_bound < 1 || options.weight_bound > kLargestWeightBound ||
      !(options.value_bound > 0) || !std::isfinite(options.value_bound) ||
      options.value_bits < 0 || options.value_bits > kMostValueBits) {
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
  MLEDGE_ASSIGN_OR_RETURN(const int fraction_bits,
                          FractionBits({.value_bound = options.value_bound,
                                        .weight_bound = weight,
                                        .maximum_updates = updates}));

  QuantizerOptions values = {
      .modulus = widest, .maximum_updates = updates, .maximum_weight = weight};
  MLEDGE_ASSIGN_OR_RETURN(values.modulus, LeastModulus(updates, weight, bits));
  values.ranges = {Range(kDeltaSection, options.shared_size,
                         options.value_bound, bits, /*weighted=*/true)};
  if (FractionBitsFor(options.value_bound, bits) > fraction_bits) {
    return absl::FailedPreconditionError(
        StrCat("secure aggregation: the bounds are too wide for ", bits,
               " bits a value"));
  }
  MLEDGE_ASSIGN_OR_RETURN(Quantizer value_quantizer,
                          Quantizer::Create(std::move(values)));

  const int scalar_bits =
      std::min(MostExactBits(widest, updates, 1), kMostValueBits);
  const auto most_examples = static_cast<double>(options.weight_bound);
  const std::array<double, kScalars.size()> bounds = {
      most_examples, most_examples * kLargestMeanLoss,
      most_examples * kLargestMeanLoss, static_cast<double>(weight)};
  QuantizerOptions scalars = {.modulus = widest, .maximum_updates = updates};
  for (size_t i = 0; i < kScalars.size(); ++i) {
    scalars.ranges.push_back(
        Range(kScalars[i], 1, bounds[i], scalar_bits, /*weighted=*/false));
  }
  MLEDGE_ASSIGN_OR_RETURN(Quantizer scalar_quantizer,
                          Quantizer::Create(std::move(scalars)));
  return UpdateCodec(options, fraction_bits, std::move(value_quantizer),
                     std::move(scalar_quantizer));
}

std::vector<OfferSection> UpdateCodec::sections() const {
  return {{.length = values_.size(), .modulus = values_.options().modulus},
          {.length = scalars_.size(), .modulus = scalars_.options().modulus}};
}

absl::StatusOr<std::vector<ModularVector>> UpdateCodec::Encode(
    const Update& update, SecretRandom& random) const {
  if (update.sections.size() != 1 || update.sections[0].name != kDeltaSection ||
      std::cmp_not_equal(update.sections[0].values.span().size(),
                         options_.shared_size) ||
      update.scalars.size() != kScalars.size() - 1) {
    return absl::InvalidArgumentError(StrCat(
        "an update with ", update.sections.size(), " sections and ",
        update.scalars.size(), " scalars, where secure aggregation takes ",
        kDeltaSection, " with ", options_.shared_size,
        " values, and examples, loss_sum and metric_sum"));
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
  for (const OfferSection& section : this->sections()) {
    MLEDGE_ASSIGN_OR_RETURN(
        ModularVector vector,
        ModularVector::Create(section.modulus, section.length));
    sections.push_back(std::move(vector));
  }
  // The quantizer's own bound is larger: where its scale is a power of two.
  const std::span<const float> values = update.sections[0].values.span();
  std::vector<float> clipped(values.begin(), values.end());
  const auto bound = static_cast<float>(options_.value_bound);
  for (float& value : clipped) {
    if (std::abs(value) > bound) value = std::copysign(bound, value);
  }
  MLEDGE_RETURN_IF_ERROR(
      values_.Quantize(clipped, weight, random, &sections[0]));
  std::array<float, kScalars.size()> scalars;
  for (size_t i = 0; i + 1 < kScalars.size(); ++i) {
    scalars[i] = static_cast<float>(update.Scalar(kScalars[i]));
  }
  scalars.back() = static_cast<float>(weight);
  MLEDGE_RETURN_IF_ERROR(scalars_.Quantize(scalars, 1, random, &sections[1]));
  return sections;
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
  const int shift = fraction_bits_ - std::ilogb(values_.scale(0));
  AggregationSum::Section& section = decoded.sections.emplace_back();
  section.name = std::string(kDeltaSection);
  section.integers.resize(static_cast<size_t>(sum[0].size()));
  for (int64_t i = 0; i < sum[0].size(); ++i) {
    section.integers[static_cast<size_t>(i)] =
        ShiftLeft(sum[0].centered(i), shift);
  }
  for (size_t i = 0; i + 1 < kScalars.size(); ++i) {
    const int64_t integer = sum[1].centered(static_cast<int64_t>(i));
    const int fraction = std::ilogb(scalars_.scale(i));
    decoded.scalars.push_back(
        {.name = std::string(kScalars[i]),
         .integer = fraction <= kScalarFractionBits
                        ? ShiftLeft(integer, kScalarFractionBits - fraction)
                        : integer >> (fraction - kScalarFractionBits)});
  }
  // The weights' scale is at most 1 only for cohorts so large that they are
  // rounded, like everything else.
  const double weights = static_cast<double>(sum[1].centered(
                             static_cast<int64_t>(kScalars.size()) - 1)) /
                         scalars_.scale(kScalars.size() - 1);
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
