#include "mledge/privacy/matrix/correlated_noise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "mledge/core/training_random.h"
#include "mledge/privacy/matrix/correlated_grid.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

using Vectors = std::vector<std::vector<int64_t>>;

constexpr int kBits = 10;
constexpr double kDeviation = 0x1p16;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A Gaussian rounded to integers; at this standard deviation no test here could
// tell it from the discrete one.
NoiseSampler SamplerOf(uint64_t seed, int64_t round) {
  return [seed, round](int64_t first, std::span<int64_t> z) {
    const std::string purpose = "z from " + std::to_string(first);
    TrainingRandom random(
        {.task_seed = seed, .ordinal = round, .purpose = purpose});
    for (int64_t& value : z) value = std::llround(kDeviation * random.Normal());
  };
}

CorrelatedNoiseOptions OptionsOf(const StrategyMatrix& strategy, int64_t rounds,
                                 int64_t dimension) {
  return {.strategy = *RoundStrategyToGrid(strategy, kBits),
          .rounds = rounds,
          .dimension = dimension,
          .fraction_bits = kBits,
          .standard_deviation = kDeviation};
}

std::vector<StrategyMatrix> Strategies() {
  return {IndependentNoise(), TreeAggregation{},
          BandedToeplitz{*SquareRootCoefficients(4)},
          BandedToeplitz{*SquareRootCoefficients(64)},
          BufferedToeplitz{{0.3, 0.8, 0.97}, {0.25, 0.15, 0.08}}};
}

std::vector<int64_t> Draw(CorrelatedNoise* noise, int64_t dimension,
                          uint64_t seed, ThreadPool* pool = nullptr) {
  std::vector<int64_t> sum(static_cast<size_t>(dimension));
  const int64_t round = noise->next_round();
  EXPECT_THAT(noise->AddNoise(round, SamplerOf(seed, round), sum, pool),
              IsOk());
  return sum;
}

Vectors DrawAll(const CorrelatedNoiseOptions& options, uint64_t seed) {
  const auto noise = *CorrelatedNoise::Create(options);
  Vectors rounds;
  while (noise->next_round() < options.rounds) {
    rounds.push_back(Draw(noise.get(), options.dimension, seed));
  }
  return rounds;
}

// The matrix that turns z into the noise of rounds, row by row, from the
// definitions: C⁻¹, or the tree's new node less those it replaces.
std::vector<std::vector<double>> NoiseMatrix(const StrategyMatrix& strategy,
                                             int64_t rounds) {
  std::vector<std::vector<double>> rows(rounds, std::vector<double>(rounds));
  if (std::holds_alternative<TreeAggregation>(strategy)) {
    // Prefix sum t is noised by the nodes that end at t with its lowest binary
    // digits taken off one by one.
    std::vector<double> before(rounds);
    for (int64_t t = 1; t <= rounds; ++t) {
      std::vector<double> prefix(rounds);
      for (int64_t end = t; end > 0; end -= end & -end) prefix[end - 1] = 1;
      for (int64_t j = 0; j < rounds; ++j) {
        rows[t - 1][j] = prefix[j] - before[j];
      }
      before = prefix;
    }
    return rows;
  }
  const auto* bands = std::get_if<BandedToeplitz>(&strategy);
  const std::vector<double> inverse =
      bands != nullptr
          ? *InverseCoefficients(*bands, rounds)
          : *InverseCoefficients(std::get<BufferedToeplitz>(strategy), rounds);
  for (int64_t t = 0; t < rounds; ++t) {
    for (int64_t j = 0; j <= t; ++j) rows[t][j] = inverse[t - j];
  }
  return rows;
}

TEST(CorrelatedNoiseTest, IsTheInverseTimesTheDrawsUpToRounding) {
  constexpr int64_t kRounds = 40;
  constexpr int64_t kDimension = 100;
  const uint64_t seed = TestSeed(31);
  const auto trace = TraceSeed(seed);
  for (const StrategyMatrix& strategy : Strategies()) {
    const auto options = OptionsOf(strategy, kRounds, kDimension);
    const Vectors noise = DrawAll(options, seed);
    Vectors z(kRounds, std::vector<int64_t>(kDimension));
    for (int64_t t = 0; t < kRounds; ++t) SamplerOf(seed, t)(0, z[t]);
    const auto matrix = NoiseMatrix(options.strategy, kRounds);
    for (int64_t t = 0; t < kRounds; ++t) {
      double rounding = 0.5;
      for (double value : matrix[t]) {
        rounding += std::abs(value) * 0.51 / (1 << kBits);
      }
      for (int64_t i = 0; i < kDimension; ++i) {
        double expected = 0;
        for (int64_t j = 0; j <= t; ++j) {
          expected += matrix[t][j] * static_cast<double>(z[j][i]);
        }
        EXPECT_NEAR(static_cast<double>(noise[t][i]), expected / (1 << kBits),
                    rounding)
            << DescribeStrategy(strategy) << " round " << t;
      }
    }
  }
}

// 8 rounds of 200,000 coordinates. An entry of an empirical covariance of N
// Gaussian pairs has variance (s_ii·s_jj + s_ij²)/N; 5.5 standard deviations
// give a false alarm in 4e-8 of the cases, 36 entries of 5 strategies in 7e-6.
TEST(CorrelatedNoiseStatisticalTest, HasTheCovarianceOfTheInverse) {
  constexpr int64_t kRounds = 8;
  constexpr int64_t kDimension = 200'000;
  const uint64_t seed = TestSeed(32);
  const auto trace = TraceSeed(seed);
  for (const StrategyMatrix& strategy : Strategies()) {
    const auto options = OptionsOf(strategy, kRounds, kDimension);
    const Vectors noise = DrawAll(options, seed);
    const auto matrix = NoiseMatrix(options.strategy, kRounds);
    const double unit = kDeviation / (1 << kBits);
    const auto expected = [&](int64_t s, int64_t t) {
      double sum = 0;
      for (int64_t j = 0; j < kRounds; ++j) sum += matrix[s][j] * matrix[t][j];
      // The last rounding adds the variance of a uniform value of width 1.
      return unit * unit * sum + (s == t ? 1.0 / 12 : 0);
    };
    for (int64_t s = 0; s < kRounds; ++s) {
      for (int64_t t = s; t < kRounds; ++t) {
        double sum = 0;
        for (int64_t i = 0; i < kDimension; ++i) {
          sum += static_cast<double>(noise[s][i]) *
                 static_cast<double>(noise[t][i]);
        }
        const double deviation = std::sqrt(
            (expected(s, s) * expected(t, t) + std::pow(expected(s, t), 2)) /
            kDimension);
        EXPECT_NEAR(sum / kDimension, expected(s, t), 5.5 * deviation)
            << DescribeStrategy(strategy) << " rounds " << s << " and " << t;
      }
    }
  }
}

// The standard deviation of prefix sums over 64 rounds of 4,000 coordinates,
// against what planning promises. The mean of their variances is one of 4,000
// values of relative standard deviation at most √2: 5.5 · √(2/4000) is missed
// in 4e-8 of the cases.
TEST(CorrelatedNoiseStatisticalTest, HasThePredictedErrorInPrefixSums) {
  constexpr int64_t kRounds = 64;
  constexpr int64_t kDimension = 4000;
  constexpr ParticipationLimits kOnce = {kRounds, 1, 1};
  const uint64_t seed = TestSeed(33);
  const auto trace = TraceSeed(seed);
  for (const StrategyMatrix& strategy : Strategies()) {
    const auto options = OptionsOf(strategy, kRounds, kDimension);
    const Vectors noise = DrawAll(options, seed);
    std::vector<double> prefix(kDimension);
    double sum = 0;
    for (const std::vector<int64_t>& round : noise) {
      for (int64_t i = 0; i < kDimension; ++i) {
        prefix[i] += static_cast<double>(round[i]);
        sum += prefix[i] * prefix[i];
      }
    }
    const double expected =
        kDeviation / (1 << kBits) *
        ErrorPerUnitNoise(options.strategy, kOnce)->root_mean_square /
        *Sensitivity(options.strategy, kOnce);
    EXPECT_NEAR(sum / (kRounds * kDimension) / (expected * expected), 1,
                5.5 * std::sqrt(2.0 / kDimension))
        << DescribeStrategy(strategy);
  }
}

TEST(CorrelatedNoiseTest, ARestartChangesNothing) {
  constexpr int64_t kDimension = 20'000;
  for (const StrategyMatrix& strategy : Strategies()) {
    const auto options = OptionsOf(strategy, 13, kDimension);
    const Vectors expected = DrawAll(options, 41);
    auto noise = *CorrelatedNoise::Create(options);
    for (int64_t round = 0; round < 13; ++round) {
      const SecretBytes saved = *noise->Serialize();
      noise = *CorrelatedNoise::Parse(options, saved.bytes(RevealSecret()));
      EXPECT_EQ(noise->next_round(), round);
      EXPECT_EQ(Draw(noise.get(), kDimension, 41), expected[round])
          << DescribeStrategy(strategy) << " round " << round;
    }
  }
}

// What a crash lost may be drawn again, differently; what comes after it is
// correlated with the draw that was kept.
TEST(CorrelatedNoiseTest, GoesOnFromTheStateThatWasKept) {
  const auto options = OptionsOf(Strategies()[2], 4, 10);
  auto noise = *CorrelatedNoise::Create(options);
  Draw(noise.get(), 10, 1);
  const SecretBytes saved = *noise->Serialize();
  const std::vector<int64_t> lost = Draw(noise.get(), 10, 1);
  const auto restored =
      *CorrelatedNoise::Parse(options, saved.bytes(RevealSecret()));
  EXPECT_NE(Draw(restored.get(), 10, 2), lost);
  EXPECT_EQ(restored->next_round(), 2);
}

TEST(CorrelatedNoiseTest, ThreadsDoNotChangeBits) {
  constexpr int64_t kDimension = 100'000;
  ThreadPool pool(3);
  for (const StrategyMatrix& strategy : Strategies()) {
    const auto options = OptionsOf(strategy, 6, kDimension);
    const Vectors expected = DrawAll(options, 42);
    const auto noise = *CorrelatedNoise::Create(options);
    for (int64_t round = 0; round < 6; ++round) {
      EXPECT_EQ(Draw(noise.get(), kDimension, 42, &pool), expected[round]);
    }
  }
}

TEST(CorrelatedNoiseTest, AddsToWhatIsThere) {
  const auto options = OptionsOf(IndependentNoise(), 1, 3);
  const std::vector<int64_t> alone = DrawAll(options, 7)[0];
  std::vector<int64_t> sum = {1000, -1000, std::numeric_limits<int64_t>::max()};
  ASSERT_THAT(
      (*CorrelatedNoise::Create(options))->AddNoise(0, SamplerOf(7, 0), sum),
      IsOk());
  EXPECT_EQ(sum[0], 1000 + alone[0]);
  EXPECT_EQ(sum[1], -1000 + alone[1]);
  EXPECT_EQ(static_cast<uint64_t>(sum[2]),
            uint64_t{std::numeric_limits<int64_t>::max()} +
                static_cast<uint64_t>(alone[2]));
}

TEST(CorrelatedNoiseTest, DrawsEachRoundOnceAndInOrder) {
  const auto noise = *CorrelatedNoise::Create(OptionsOf(Strategies()[2], 2, 4));
  std::vector<int64_t> sum(4);
  const auto draw = [&](int64_t round) {
    return noise->AddNoise(round, SamplerOf(1, round), sum);
  };
  EXPECT_THAT(draw(1), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(draw(-1), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(draw(0), IsOk());
  const std::vector<int64_t> after = sum;
  EXPECT_THAT(draw(0), StatusIs(StatusCode::kFailedPrecondition,
                                HasSubstr("each round is drawn once")));
  EXPECT_EQ(sum, after);
  EXPECT_THAT(draw(1), IsOk());
  EXPECT_THAT(draw(2), StatusIs(StatusCode::kFailedPrecondition));
}

TEST(CorrelatedNoiseTest, RefusesSumsOfAnotherSize) {
  const auto noise = *CorrelatedNoise::Create(OptionsOf(Strategies()[2], 2, 4));
  std::vector<int64_t> sum(5);
  EXPECT_THAT(noise->AddNoise(0, SamplerOf(1, 0), sum),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("5")));
  EXPECT_EQ(noise->next_round(), 0);
}

TEST(CorrelatedNoiseTest, StopsAtASamplerThatDrawsTooMuch) {
  const auto noise = *CorrelatedNoise::Create(OptionsOf(Strategies()[2], 2, 4));
  std::vector<int64_t> sum(4);
  const NoiseSampler broken = [](int64_t, std::span<int64_t> z) {
    z[2] = std::numeric_limits<int64_t>::min();
  };
  EXPECT_THAT(noise->AddNoise(0, broken, sum),
              StatusIs(StatusCode::kInternal, HasSubstr("sampler")));
  EXPECT_THAT(noise->AddNoise(0, SamplerOf(1, 0), sum),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(noise->Serialize(), StatusIs(StatusCode::kFailedPrecondition));
}

TEST(CorrelatedNoiseTest, AnyChangedByteOfAStateIsDataLoss) {
  const auto options = OptionsOf(Strategies()[4], 5, 3);
  const auto noise = *CorrelatedNoise::Create(options);
  Draw(noise.get(), 3, 1);
  const SecretBytes saved = *noise->Serialize();
  const std::span<const uint8_t> bytes = saved.bytes(RevealSecret());
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), noise->saved_size_in_bytes());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::vector<uint8_t> changed(bytes.begin(), bytes.end());
    changed[i] ^= 1;
    EXPECT_THAT(CorrelatedNoise::Parse(options, changed),
                StatusIs(StatusCode::kDataLoss))
        << i;
    EXPECT_THAT(CorrelatedNoise::Parse(options, bytes.first(i)),
                StatusIs(StatusCode::kDataLoss))
        << i;
  }
  std::vector<uint8_t> longer(bytes.begin(), bytes.end());
  longer.push_back(0);
  EXPECT_THAT(CorrelatedNoise::Parse(options, longer),
              StatusIs(StatusCode::kDataLoss, HasSubstr("too many")));
}

TEST(CorrelatedNoiseTest, AStateIsGoodForItsOwnOptionsOnly) {
  const auto options = OptionsOf(Strategies()[2], 5, 3);
  const SecretBytes saved = *(*CorrelatedNoise::Create(options))->Serialize();
  std::vector<CorrelatedNoiseOptions> others(6, options);
  others[0].strategy = *RoundStrategyToGrid(Strategies()[4], kBits);
  others[1].rounds = 6;
  others[2].dimension = 4;
  others[3].fraction_bits = kBits + 1;
  others[4].standard_deviation = kDeviation + 1;
  std::get<BandedToeplitz>(others[5].strategy).coefficients[3] = 0;
  others[5].strategy = *RoundStrategyToGrid(others[5].strategy, kBits);
  for (const CorrelatedNoiseOptions& other : others) {
    EXPECT_THAT(
        CorrelatedNoise::Parse(other, saved.bytes(RevealSecret())),
        StatusIs(StatusCode::kFailedPrecondition, HasSubstr("other settings")));
  }
}

TEST(CorrelatedNoiseTest, PassesOnErrorsOfSinkAndSource) {
  const auto options = OptionsOf(Strategies()[2], 5, 3);
  const auto noise = *CorrelatedNoise::Create(options);
  EXPECT_THAT(noise->Save([](std::span<const uint8_t>) {
    return absl::ResourceExhaustedError("disk full");
  }),
              StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(CorrelatedNoise::Restore(options,
                                       [](std::span<uint8_t>) {
                                         return absl::NotFoundError("no file");
                                       }),
              StatusIs(StatusCode::kNotFound));
}

// The worst draws that the sampler may make, against C⁻¹z in doubles: at the
// largest bound that is accepted nothing wraps around.
TEST(NoiseFilterTest, NoDrawsWithinTheBoundOverflow) {
  constexpr int64_t kRounds = 300;
  for (const StrategyMatrix& strategy :
       {StrategyMatrix(BufferedToeplitz{{0.5, 0.9990234375}, {0.25, 0.03125}}),
        StrategyMatrix(BandedToeplitz{{1, 0.5, 0.375, 0.25, 0.25}})}) {
    int64_t largest_z = 1;
    while (matrix_internal::NoiseFilter::Create(strategy, kRounds, kBits,
                                                2 * largest_z)
               .ok()) {
      largest_z *= 2;
    }
    const auto filter = *matrix_internal::NoiseFilter::Create(strategy, kRounds,
                                                              kBits, largest_z);
    const auto matrix = NoiseMatrix(strategy, kRounds);
    // Signs that make the last result, or the sum of all, as large as can be.
    for (const bool last : {true, false}) {
      Vectors state(filter.vectors(), std::vector<int64_t>(1));
      std::vector<int64_t*> vectors;
      for (auto& vector : state) vectors.push_back(vector.data());
      for (int64_t t = 0; t < kRounds; ++t) {
        const bool up = !last || matrix[kRounds - 1][t] > 0;
        const int64_t z = up ? largest_z : -largest_z;
        std::vector<int64_t> value = {z};
        filter.Apply(t, vectors, value);
        double expected = 0;
        for (int64_t j = 0; j <= t; ++j) {
          const bool was_up = !last || matrix[kRounds - 1][j] > 0;
          expected += (was_up ? 1.0 : -1.0) * matrix[t][j];
        }
        expected *= static_cast<double>(largest_z);
        EXPECT_NEAR(static_cast<double>(value[0]), expected,
                    1e-9 * static_cast<double>(largest_z))
            << DescribeStrategy(strategy) << " round " << t;
      }
    }
  }
}

// The bound of the project is (buffers + 2) vectors, the sum among them.
TEST(CorrelatedNoiseTest, KeepsOneVectorABuffer) {
  constexpr int64_t kDimension = 1000;
  const auto noise = *CorrelatedNoise::Create(OptionsOf(
      BufferedToeplitz{{0.3, 0.8, 0.97, 0.999}, {0.25, 0.15, 0.08, 0.02}}, 2000,
      kDimension));
  EXPECT_EQ(noise->saved_size_in_bytes(),
            4 * kDimension * 8 + (8 + 32 + 8 + 32) + 32);
}

TEST(CorrelatedNoiseTest, RefusesEachBadOptionByName) {
  const auto check = [](const CorrelatedNoiseOptions& options,
                        const char* name) {
    EXPECT_THAT(CorrelatedNoise::Create(options),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(name)));
  };
  const auto good = OptionsOf(Strategies()[2], 5, 3);
  auto options = good;
  for (int64_t rounds : {int64_t{0}, int64_t{-1}, kMaximumRounds + 1}) {
    options.rounds = rounds;
    check(options, "rounds");
  }
  options = good;
  for (int64_t dimension :
       {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    options.dimension = dimension;
    check(options, "dimension");
  }
  options = good;
  for (int bits : {-1, kMostFractionBits + 1}) {
    options.fraction_bits = bits;
    check(options, "fraction_bits");
  }
  options = good;
  for (double deviation : {0.0, -1.0, 1.0, kNan, kInfinity, 1e300}) {
    options.standard_deviation = deviation;
    check(options, "standard_deviation");
  }
  options = good;
  options.strategy = BandedToeplitz{{1, 1.0 / 3}};
  check(options, "RoundStrategyToGrid");
  options.strategy = BandedToeplitz{{1, 2}};
  check(options, "coefficient 1");
}

}  // namespace
}  // namespace mledge
