#include "mledge/privacy/plan/grid_noise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mledge/core/secret_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

template <typename Integer>
void ExpectVariance(const GridNoise& noise, double variance) {
  SystemSecretRandom random;
  // More than one block, and not a whole number of them.
  std::vector<Integer> values(100'001, 1000);
  ASSERT_THAT(AddGridNoise(noise, random, std::span(values)), IsOk());
  double sum = 0;
  double squares = 0;
  for (const Integer value : values) {
    const auto difference = static_cast<double>(value - 1000);
    sum += difference;
    squares += difference * difference;
  }
  const auto count = static_cast<double>(values.size());
  // Six standard deviations: false alarms below 4e-9 in all.
  EXPECT_NEAR(sum / count, 0, 6 * std::sqrt(variance / count));
  EXPECT_NEAR(squares / count, variance, 6 * variance * std::sqrt(2.2 / count));
}

TEST(GridNoiseTest, AddsNoiseOfTheVariance) {
  for (const NoiseKind kind :
       {NoiseKind::kDiscreteGaussian, NoiseKind::kSkellam}) {
    ExpectVariance<int32_t>({kind, 25}, 25);
    ExpectVariance<int64_t>({kind, 25}, 25);
  }
  ExpectVariance<int64_t>({NoiseKind::kDiscreteGaussian, 1e8}, 1e8);
}

TEST(GridNoiseTest, RefusesAVarianceThatIsNone) {
  SystemSecretRandom random;
  std::vector<int64_t> values(3, 7);
  for (const double variance :
       {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(AddGridNoise({NoiseKind::kDiscreteGaussian, variance}, random,
                             std::span(values)),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(values, ::testing::Each(7));
}

TEST(GridNoiseTest, SaysWhereTheSumDoesNotFit) {
  SystemSecretRandom random;
  std::vector<int32_t> values(64, std::numeric_limits<int32_t>::max());
  EXPECT_THAT(AddGridNoise({NoiseKind::kDiscreteGaussian, 1e6}, random,
                           std::span(values)),
              StatusIs(absl::StatusCode::kOutOfRange));
}

}  // namespace
}  // namespace mledge
