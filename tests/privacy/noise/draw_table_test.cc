#include "mledge/privacy/noise/internal/draw_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "mledge/privacy/noise/internal/wide_fixed.h"
#include "mledge/tests/privacy/test_secret_random.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge::noise_internal {
namespace {

double ToDouble(const WideFixed& value) {
  return std::ldexp(static_cast<double>(value.ShiftedRight(176).Low64()), -64);
}

TEST(WideFixedTest, ArithmeticCarriesAcrossLimbs) {
  const WideFixed one(1);
  const WideFixed big = one.ShiftedLeft(192);
  EXPECT_EQ((big - one) + one, big);
  EXPECT_EQ(big.ShiftedRight(192), one);
  EXPECT_LT(big - one, big);
  EXPECT_EQ(WideFixed::One().Multiply(WideFixed::One()), WideFixed::One());
  EXPECT_EQ(WideFixed(1000).DividedBy(7), WideFixed(142));
  WideFixed remainder;
  EXPECT_EQ(WideFixed::Quotient(WideFixed(3), 10, WideFixed(7), &remainder),
            WideFixed(438));
  EXPECT_EQ(remainder, WideFixed(6));
}

TEST(WideFixedTest, ReciprocalAndExponentialAgreeWithDoubles) {
  for (const double value : {0.01, 0.5, 1.0, 3.0, 128.0, 1088.0}) {
    const WideFixed reciprocal = Reciprocal(value);
    EXPECT_NEAR(std::ldexp(ToDouble(reciprocal.ShiftedRight(8)), 8), 1 / value,
                1e-15 / value + 0x1p-55)
        << value;
    EXPECT_NEAR(ToDouble(ExpOfMinus(reciprocal)), std::exp(-1 / value), 1e-16)
        << value;
  }
}

// e^-1 to 60 digits, from the sum of 1/n! turned round (OEIS A068985).
TEST(WideFixedTest, ExponentialIsRightFarBeyondDoubles) {
  // 0.36787944117144232159552377016146086744581113103176783450783680169746...
  constexpr uint64_t kDigits[] = {367'879'441'171'442'321,
                                  595'523'770'161'460'867,
                                  445'811'131'031'767'834};
  WideFixed value = ExpOfMinus(WideFixed::One());
  for (const uint64_t digits : kDigits) {
    // Eighteen decimal digits in front of the point, six at a time.
    uint64_t got = 0;
    for (int group = 0; group < 6; ++group) {
      WideFixed thousand;
      for (int i = 0; i < 1000; ++i) thousand = thousand + value;
      const uint64_t whole = thousand.ShiftedRight(240).Low64();
      value = thousand - WideFixed(whole).ShiftedLeft(240);
      got = 1000 * got + whole;
    }
    EXPECT_EQ(got, digits);
  }
}

// With 20 bits instead of 31 the rests are drawn often enough to be seen: one
// of 2^18 draws, and outcomes 6 and 7 by them alone. 2·10^8 draws; each count
// within 6 standard deviations (a false alarm in 5·10^8 for each).
TEST(DrawTableTest, RestsCompleteTheProbabilities) {
  const uint64_t seed = TestSeed(8);
  const auto trace = TraceSeed(seed);
  const std::vector<double> shares = {0.4,    0.3,    0.2,    0.09,
                                      0.0099, 0.0001, 0.4e-6, 0.3e-6};
  std::vector<WideFixed> weights;
  double total = 0;
  for (const double share : shares) {
    weights.push_back(WideFixed(static_cast<uint64_t>(std::ldexp(share, 60)))
                          .ShiftedLeft(64));
    total += share;
  }
  const DrawTable table(weights, 20);
  EXPECT_EQ(table.largest(), 7);
  TestSecretRandom random(seed);
  SecretStream stream(random);
  const auto block = std::make_unique<DrawTable::Block>();
  std::vector<int64_t> counts(shares.size());
  int64_t odd = 0;
  constexpr int kBlocks = 200'000;
  for (int i = 0; i < kBlocks; ++i) {
    table.Draw(stream, block.get());
    for (const int32_t outcome : block->outcomes) {
      ++counts[static_cast<size_t>(outcome)];
    }
    for (const int32_t word : block->words) odd += word & 1;
  }
  const double draws = double{kBlocks} * DrawTable::kBlock;
  for (size_t i = 0; i < shares.size(); ++i) {
    const double expected = shares[i] / total * draws;
    EXPECT_NEAR(static_cast<double>(counts[i]), expected,
                6 * std::sqrt(expected))
        << i;
  }
  // The bit for the sign is fair, and independent of outcomes beyond the rest.
  EXPECT_NEAR(static_cast<double>(odd), draws / 2, 3 * std::sqrt(draws));
}

}  // namespace
}  // namespace mledge::noise_internal
