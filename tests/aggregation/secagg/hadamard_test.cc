#include "mledge/aggregation/secagg/hadamard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "mledge/aggregation/secagg/internal/hadamard_kernel.h"
#include "mledge/aggregation/secagg/keyed_stream.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

std::vector<float> Draw(int64_t size) {
  TrainingRandom random({.purpose = "hadamard"});
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = static_cast<float>(random.Normal());
  return values;
}

TEST(HadamardTest, ChunksArePowersOfTwoWithLittlePadding) {
  for (const int64_t size : {int64_t{1}, int64_t{3}, int64_t{63}, int64_t{100},
                             int64_t{101}, int64_t{199'210}, int64_t{1'663'370},
                             (int64_t{1} << 20) - 1, (int64_t{1} << 21) + 1}) {
    const auto rotation = HadamardRotation::Create(size, Digest{});
    ASSERT_THAT(rotation, IsOk());
    int64_t next = 0;
    for (const HadamardRotation::Chunk& chunk : rotation->chunks()) {
      EXPECT_EQ(chunk.begin, next);
      EXPECT_TRUE(std::has_single_bit(static_cast<uint64_t>(chunk.size)));
      EXPECT_LE(chunk.size, HadamardRotation::kLargestChunk);
      next += chunk.size;
    }
    EXPECT_EQ(next, rotation->padded_size());
    EXPECT_THAT(HadamardRotation::PaddedSize(size), IsOkAndHolds(next));
    EXPECT_GE(next, size);
    EXPECT_LE(100 * (next - size), size);
  }
}

TEST(HadamardTest, InverseGivesTheVectorBack) {
  for (const int64_t size : {1, 2, 7, 1000, 8192, 100'003}) {
    const auto rotation = HadamardRotation::Create(size, Sha256Of("seed"));
    const std::vector<float> values = Draw(size);
    std::vector<float> padded(static_cast<size_t>(rotation->padded_size()));
    std::vector<float> back(values.size());
    ASSERT_THAT(rotation->Rotate(values, padded), IsOk());
    ASSERT_THAT(rotation->Invert(padded, back), IsOk());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(back[i], values[i], 1e-5) << i;
    }
  }
}

// H[i][j] = (−1)^popcount(i & j) / √N, after the signs.
TEST(HadamardTest, IsTheMatrixOfTheDefinition) {
  constexpr int64_t kSize = 64;
  const Digest seed = Sha256Of("seed");
  const auto rotation = HadamardRotation::Create(kSize, seed);
  std::vector<float> values = Draw(kSize);
  std::vector<float> padded(kSize);
  ASSERT_THAT(rotation->Rotate(values, padded), IsOk());
  KeyedStream stream(seed.bytes, "rotation signs");
  std::vector<uint8_t> signs(kSize / 8);
  stream.Fill(signs);
  for (uint32_t i = 0; i < kSize; ++i) {
    double sum = 0;
    for (uint32_t j = 0; j < kSize; ++j) {
      const bool minus = (signs[j / 8] >> (j % 8) & 1) != 0;
      sum += (std::popcount(i & j) % 2 == 0 ? 1 : -1) * (minus ? -1 : 1) *
             static_cast<double>(values[j]);
    }
    EXPECT_NEAR(padded[i], sum / 8, 1e-5);
  }
}

// Signs, then the textbook's loop from far to near, then the factor, in float
// and one after another: the fast ways give the same bits.
std::vector<float> TextbookRotation(const HadamardRotation& rotation,
                                    const Digest& seed,
                                    std::vector<float> values) {
  values.resize(static_cast<size_t>(rotation.padded_size()));
  KeyedStream stream(seed.bytes, "rotation signs");
  std::vector<uint8_t> signs((values.size() + 7) / 8);
  stream.Fill(signs);
  for (size_t i = 0; i < values.size(); ++i) {
    if ((signs[i / 8] >> (i % 8) & 1) != 0) values[i] = -values[i];
  }
  for (const HadamardRotation::Chunk& chunk : rotation.chunks()) {
    float* const chunk_values = values.data() + chunk.begin;
    for (int64_t half = chunk.size / 2; half > 0; half /= 2) {
      for (int64_t i = 0; i < chunk.size; ++i) {
        if ((i & half) != 0) continue;
        const float a = chunk_values[i];
        const float b = chunk_values[i + half];
        chunk_values[i] = a + b;
        chunk_values[i + half] = a - b;
      }
    }
    const auto factor =
        static_cast<float>(1 / std::sqrt(static_cast<double>(chunk.size)));
    for (int64_t i = 0; i < chunk.size; ++i) chunk_values[i] *= factor;
  }
  return values;
}

TEST(HadamardTest, EveryKernelGivesTheTextbooksBits) {
  size_t count = 0;
  const char* const* names = secagg_internal::HadamardKernelNames(&count);
  const Digest seed = Sha256Of("seed");
  for (size_t k = 0; k < count; ++k) {
    ASSERT_TRUE(secagg_internal::UseHadamardKernel(names[k]));
    for (const int64_t size :
         {int64_t{1}, int64_t{3}, int64_t{7}, int64_t{63}, int64_t{100},
          int64_t{127}, int64_t{4096}, int64_t{8191}, int64_t{8192},
          int64_t{100'003}, (int64_t{1} << 20) - 1, (int64_t{1} << 21) + 5}) {
      const auto rotation = HadamardRotation::Create(size, seed);
      const std::vector<float> values = Draw(size);
      std::vector<float> padded(static_cast<size_t>(rotation->padded_size()));
      ASSERT_THAT(rotation->Rotate(values, padded), IsOk());
      EXPECT_EQ(padded, TextbookRotation(*rotation, seed, values))
          << names[k] << " " << size;
      std::vector<float> back(values.size());
      ASSERT_THAT(rotation->Invert(padded, back), IsOk());
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_NEAR(back[i], values[i], 1e-5) << names[k] << " " << i;
      }
    }
  }
  EXPECT_FALSE(secagg_internal::UseHadamardKernel("abacus"));
}

TEST(HadamardTest, SpreadsASpike) {
  constexpr int64_t kSize = 4096;
  const auto rotation = HadamardRotation::Create(kSize, Sha256Of("seed"));
  std::vector<float> spike(kSize);
  spike[17] = 64;
  std::vector<float> padded(kSize);
  ASSERT_THAT(rotation->Rotate(spike, padded), IsOk());
  for (const float value : padded) EXPECT_EQ(std::abs(value), 1);
}

TEST(HadamardTest, SeedsGiveOtherRotations) {
  const std::vector<float> values = Draw(64);
  std::vector<float> a(64);
  std::vector<float> b(64);
  ASSERT_THAT(HadamardRotation::Create(64, Sha256Of("a"))->Rotate(values, a),
              IsOk());
  ASSERT_THAT(HadamardRotation::Create(64, Sha256Of("b"))->Rotate(values, b),
              IsOk());
  EXPECT_NE(a, b);
}

TEST(HadamardTest, RefusesSizesThatAreNone) {
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, int64_t{1} << 41}) {
    EXPECT_THAT(HadamardRotation::Create(bad, Digest{}),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(HadamardRotation::PaddedSize(bad),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(HadamardTest, RefusesOtherShapes) {
  const auto rotation = HadamardRotation::Create(1000, Digest{});
  std::vector<float> values(1000);
  std::vector<float> padded(static_cast<size_t>(rotation->padded_size()) + 1);
  EXPECT_THAT(rotation->Rotate(values, padded),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(rotation->Invert(padded, values),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace mledge::secagg
