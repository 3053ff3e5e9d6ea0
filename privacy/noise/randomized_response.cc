#include "mledge/privacy/noise/randomized_response.h"

#include <array>
#include <cmath>
#include <cstddef>

#include "mledge/core/strings.h"
#include "mledge/privacy/secret_stream.h"

namespace mledge {
namespace {

constexpr double kLeastEpsilon = 1e-6;
constexpr double kMostEpsilon = 30;
// More than the arithmetic below can lose.
constexpr double kSlack = 0x1p-48;

}  // namespace

absl::StatusOr<RandomizedResponse> RandomizedResponse::Create(
    int64_t categories, double epsilon) {
  if (categories < 2 || categories > kMostCategories) {
    return absl::InvalidArgumentError(
        StrCat("randomised response among ", categories,
               " categories; 2 to 2^31 are possible"));
  }
  if (!(epsilon >= kLeastEpsilon && epsilon <= kMostEpsilon)) {
    return absl::InvalidArgumentError(
        StrCat("epsilon is ", epsilon, "; it must lie between ", kLeastEpsilon,
               " and ", kMostEpsilon));
  }
  // The odds of the truth are rounded down by 2^-30 of them: for the division
  // of 2^64 among k − 1 others, which leaves the least likely one short by at
  // most 2^-33 of its share, and for this arithmetic. The smaller of truth and
  // lie is computed, so that it keeps its digits.
  const double odds =
      std::exp(epsilon) / static_cast<double>(categories - 1) * (1 - 0x1p-30);
  if (odds < 1) {
    return RandomizedResponse(
        categories, static_cast<uint64_t>(
                        std::ldexp(odds / (1 + odds) * (1 - kSlack), 64)));
  }
  const double lie = 1 / (1 + odds) * (1 + kSlack);
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
