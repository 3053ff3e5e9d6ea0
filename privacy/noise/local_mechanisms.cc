#include "mledge/privacy/noise/local_mechanisms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/clipping.h"
#include "mledge/privacy/secret_stream.h"

namespace mledge {
namespace {

constexpr double kLeastEpsilon = 1e-6;
constexpr double kMostEpsilon = 100;
constexpr double kMostResponseEpsilon = 30;
constexpr double kLeastDelta = 1e-100;
constexpr size_t kNoiseBlock = 16384;
constexpr double kUp = 1 + 0x1p-48;
constexpr double kDown = 1 - 0x1p-48;

double UpperTail(double x) { return std::erfc(x / std::numbers::sqrt2) / 2; }

absl::Status CheckEpsilon(double epsilon, double most) {
  if (epsilon >= kLeastEpsilon && epsilon <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat("epsilon is ", epsilon,
                                           "; it must lie between ",
                                           kLeastEpsilon, " and ", most));
}

}  // namespace

double AnalyticGaussianDelta(double noise_multiplier, double epsilon) {
  const double half = 1 / (2 * noise_multiplier);
  const double shift = epsilon * noise_multiplier;
  const double gained = UpperTail(shift - half);
  const double covered = std::exp(epsilon) * UpperTail(shift + half);
  // Both terms are right to some units in the last place, and their arguments
  // too; x²/2 turns the arguments' into a share of that many more.
  const double argument = shift + half;
  const double error =
      0x1p-49 * (gained + covered) * (1 + epsilon + argument * argument);
  return std::clamp(gained - covered + error, 0.0, 1.0);
}

absl::StatusOr<double> AnalyticGaussianNoiseMultiplier(double epsilon,
                                                       double delta) {
  MLEDGE_RETURN_IF_ERROR(CheckEpsilon(epsilon, kMostEpsilon));
  if (!(delta >= kLeastDelta && delta < 1)) {
    return absl::InvalidArgumentError(
        StrCat("delta is ", delta, "; it must lie between ", kLeastDelta,
               " and 1, 1 excluded"));
  }
  // The delta falls as noise grows.
  double low = 0x1p-20;
  double high = 1;
  while (AnalyticGaussianDelta(high, epsilon) > delta) {
    low = high;
    high *= 2;
    if (high > 0x1p60) {
      return absl::InvalidArgumentError(
          StrCat("no noise gives epsilon ", epsilon, " and delta ", delta,
                 " that double precision can vouch for: raise either"));
    }
  }
  while (high - low > 1e-13 * high) {
    const double middle = (low + high) / 2;
    (AnalyticGaussianDelta(middle, epsilon) > delta ? low : high) = middle;
  }
  return high;
}

absl::StatusOr<LocalGaussian> LocalGaussian::Create(
    const LocalGaussianOptions& options) {
  MLEDGE_RETURN_IF_ERROR(CheckEpsilon(options.epsilon, kMostEpsilon));
  // What the sampler and the comparison with continuous noise take of delta.
  const double per_value =
      (1 + std::exp(options.epsilon)) * (DiscreteGaussian::kDistancePerDraw +
                                         DiscreteGaussian::kContinuousDistance);
  const double taken = static_cast<double>(options.dimension) * per_value;
  if (options.delta > 0 && options.delta < 1 && !(taken < options.delta / 2)) {
    return absl::FailedPreconditionError(StrCat(
        "integer noise on ", options.dimension, " values takes ", taken,
        " of delta, more than half of the ", options.delta, " there is"));
  }
  MLEDGE_ASSIGN_OR_RETURN(
      const double multiplier,
      AnalyticGaussianNoiseMultiplier(options.epsilon, options.delta - taken));
  NoiseGridOptions grid_options = {
      .clip_norm = options.clip_norm,
      .dimension = options.dimension,
      .noise_multiplier = multiplier * (options.any_two_updates ? 2 : 1)};
  // Room for the margin that is added below.
  grid_options.most_deviation -= 1;
  MLEDGE_ASSIGN_OR_RETURN(NoiseGrid grid, ChooseNoiseGrid(grid_options));
  grid.variance =
      (grid.variance + DiscreteGaussian::kContinuousMargin) * (1 + 0x1p-51);
  MLEDGE_ASSIGN_OR_RETURN(DiscreteGaussian noise,
                          DiscreteGaussian::Create(grid.variance));
  return LocalGaussian(options, grid, std::move(noise));
}

absl::Status LocalGaussian::Report(std::span<const float> values,
                                   SecretRandom& random,
                                   std::span<int32_t> out) const {
  if (static_cast<int64_t>(values.size()) != options_.dimension) {
    return absl::InvalidArgumentError(StrCat("a report of ", values.size(),
                                             " values where the mechanism is "
                                             "made for ",
                                             options_.dimension));
  }
  std::vector<float> clipped(values.begin(), values.end());
  const std::array<std::span<float>, 1> spans = {clipped};
  MLEDGE_RETURN_IF_ERROR(ClipL2(spans, options_.clip_norm).status());
  MLEDGE_RETURN_IF_ERROR(RoundToGrid(clipped, grid_.fraction_bits, grid_.clip,
                                     grid_.sensitivity, random, out)
                             .status());
  std::vector<int32_t> noise(std::min(kNoiseBlock, out.size()));
  while (!out.empty()) {
    const size_t count = std::min(noise.size(), out.size());
    noise_.Fill(random, std::span(noise).first(count));
    for (size_t i = 0; i < count; ++i) out[i] += noise[i];
    out = out.subspan(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<RandomizedResponse> RandomizedResponse::Create(
    int64_t categories, double epsilon) {
  if (categories < 2 || categories > kMostCategories) {
    return absl::InvalidArgumentError(
        StrCat("randomised response among ", categories,
               " categories; 2 to 2^31 are possible"));
  }
  MLEDGE_RETURN_IF_ERROR(CheckEpsilon(epsilon, kMostResponseEpsilon));
  // The odds of the truth are rounded down by 2^-30 of them: for the division
  // of 2^64 among k − 1 others, which leaves the least likely one short by at
  // most 2^-33 of its share, and for this arithmetic. The smaller of truth and
  // lie is computed, so that it keeps its digits.
  const double odds =
      std::exp(epsilon) / static_cast<double>(categories - 1) * (1 - 0x1p-30);
  if (odds < 1) {
    return RandomizedResponse(categories, static_cast<uint64_t>(std::ldexp(
                                              odds / (1 + odds) * kDown, 64)));
  }
  const double lie = 1 / (1 + odds) * kUp;
  return RandomizedResponse(
      categories, 0 - static_cast<uint64_t>(std::ceil(std::ldexp(lie, 64))));
}

double RandomizedResponse::truth_probability() const {
  return std::ldexp(static_cast<double>(truth_threshold_), -64);
}

absl::StatusOr<int64_t> RandomizedResponse::Report(int64_t truth,
                                                   SecretRandom& random) const {
  if (truth < 0 || truth >= categories_) {
    return absl::InvalidArgumentError(
        StrCat("category ", truth, " is not one of 0 to ", categories_ - 1));
  }
  SecretStream stream(random);
  std::array<uint64_t, 2> bits;
  stream.FillValues(std::span<uint64_t>(bits));
  const auto others = static_cast<unsigned __int128>(categories_ - 1);
  auto other = static_cast<int64_t>(others * bits[1] >> 64);
  other += static_cast<int64_t>(other >= truth);
  const int64_t lies = -static_cast<int64_t>(bits[0] >= truth_threshold_);
  return (truth & ~lies) | (other & lies);
}

absl::StatusOr<std::vector<double>> RandomizedResponse::EstimateCounts(
    std::span<const int64_t> reported) const {
  if (static_cast<int64_t>(reported.size()) != categories_) {
    return absl::InvalidArgumentError(
        StrCat(reported.size(), " counts for ", categories_, " categories"));
  }
  double total = 0;
  for (size_t i = 0; i < reported.size(); ++i) {
    if (reported[i] < 0) {
      return absl::InvalidArgumentError(
          StrCat("category ", i, " was reported ", reported[i], " times"));
    }
    total += static_cast<double>(reported[i]);
  }
  const double truth = truth_probability();
  const double other = (1 - truth) / static_cast<double>(categories_ - 1);
  std::vector<double> estimates;
  for (const int64_t count : reported) {
    estimates.push_back((static_cast<double>(count) - total * other) /
                        (truth - other));
  }
  return estimates;
}

}  // namespace mledge
