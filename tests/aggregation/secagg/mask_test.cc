#include "mledge/aggregation/secagg/mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "mledge/aggregation/secagg/hkdf.h"
#include "mledge/core/sha256.h"
#include "mledge/tests/aggregation/secagg/test_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

constexpr CipherSuite kAes = CipherSuite::kAes128Ctr;
constexpr CipherSuite kChaCha = CipherSuite::kChaCha20;
constexpr MaskStream kStream{MaskPurpose::kPair, 0};

ModularVector VectorOf(int bits, int64_t size) {
  return *ModularVector::Create(*Modulus::Create(bits), size);
}

std::vector<SignedMask> MasksOf(CipherSuite suite, int count) {
  std::vector<SignedMask> masks;
  for (int i = 0; i < count; ++i) {
    masks.push_back(
        {MaskKey(suite, CountingSeed(static_cast<uint8_t>(i)), kStream),
         i % 3 == 0 ? MaskSign::kSubtract : MaskSign::kAdd});
  }
  return masks;
}

// The whole keystream in one call of EVP, from key material derived here.
std::vector<uint8_t> Keystream(CipherSuite suite, uint8_t first,
                               MaskStream stream, size_t size) {
  std::vector<uint8_t> material(suite == kAes ? 24 : 32);
  HkdfExpand(CountingSeed(first).bytes(RevealSecret()),
             HkdfInfo("mask stream")
                 .AddNumber(static_cast<uint64_t>(suite))
                 .AddNumber(static_cast<uint64_t>(stream.purpose))
                 .AddNumber(stream.section)
                 .view(),
             material);
  // AES: the nonce, and block number zero. ChaCha20: all zero.
  std::vector<uint8_t> counter(16);
  if (suite == kAes) std::copy_n(material.begin() + 16, 8, counter.begin());
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  EVP_EncryptInit_ex(context,
                     suite == kAes ? EVP_aes_128_ctr() : EVP_chacha20(),
                     nullptr, material.data(), counter.data());
  const std::vector<uint8_t> zeros(size);
  std::vector<uint8_t> keystream(size);
  int written = 0;
  EVP_EncryptUpdate(context, keystream.data(), &written, zeros.data(),
                    static_cast<int>(size));
  EVP_CIPHER_CTX_free(context);
  return keystream;
}

uint32_t LaneOf(const std::vector<uint8_t>& keystream, size_t lane_size,
                size_t i) {
  uint32_t lane = 0;
  for (size_t byte = 0; byte < lane_size; ++byte) {
    lane |= uint32_t{keystream[i * lane_size + byte]} << (8 * byte);
  }
  return lane;
}

TEST(MaskTest, IsTheKeystreamCutIntoLanes) {
  for (const CipherSuite suite : {kAes, kChaCha}) {
    for (const int bits : {8, 13, 16, 17, 20, 32}) {
      constexpr int64_t kSize = 70'001;
      ModularVector vector = VectorOf(bits, kSize);
      ApplyMasks(MasksOf(suite, 7), &vector, nullptr);
      const Modulus modulus = vector.modulus();
      std::vector<std::vector<uint8_t>> streams;
      for (uint8_t i = 0; i < 7; ++i) {
        streams.push_back(
            Keystream(suite, i, kStream,
                      static_cast<size_t>(KeystreamSize(modulus, kSize))));
      }
      for (int64_t i = 0; i < kSize; ++i) {
        uint32_t expected = 0;
        for (uint32_t k = 0; k < 7; ++k) {
          const uint32_t lane =
              LaneOf(streams[k], modulus.lane_size_in_bytes(), i);
          expected += k % 3 == 0 ? -lane : lane;
        }
        ASSERT_EQ(vector.residue(i), expected & modulus.mask())
            << bits << " bits, " << i;
      }
    }
  }
}

// Seed → mask, for every implementation to compare with. Seed: 00 01 02 … 1f.
TEST(MaskTest, SeedToMaskIsPinned) {
  const auto first_bytes = [](CipherSuite suite, int bits, MaskStream stream) {
    ModularVector vector = VectorOf(bits, 8);
    std::vector<SignedMask> masks;
    masks.push_back({MaskKey(suite, CountingSeed(0), stream), MaskSign::kAdd});
    ApplyMasks(masks, &vector, nullptr);
    return absl::BytesToHexString(vector.Pack());
  };
  EXPECT_EQ(first_bytes(kAes, 16, {MaskPurpose::kPair, 0}),
            "8ecc264113cb52478bbf9629bc0e3fd6");
  EXPECT_EQ(first_bytes(kAes, 16, {MaskPurpose::kSelf, 0}),
            "6ecc041f2209636d2063e782a91cc742");
  EXPECT_EQ(first_bytes(kAes, 16, {MaskPurpose::kPair, 1}),
            "e461f5b2d271611612cedb6ce57634fa");
  EXPECT_EQ(first_bytes(kAes, 20, {MaskPurpose::kPair, 0}),
            "8ecc36b12c8bbfc6ebf0406f63ecfe1f4a4ec0f0");
  EXPECT_EQ(first_bytes(kChaCha, 16, {MaskPurpose::kPair, 0}),
            "67d8de737c62f3bc805bf7c62d31505e");
}

TEST(MaskTest, PairsCancel) {
  for (const CipherSuite suite : {kAes, kChaCha}) {
    ModularVector vector = VectorOf(24, 10'000);
    for (int64_t i = 0; i < vector.size(); ++i) vector.Set(i, 3 * i);
    const std::string before = vector.Pack();
    std::vector<SignedMask> masks = MasksOf(suite, 9);
    ApplyMasks(masks, &vector, nullptr);
    EXPECT_NE(vector.Pack(), before);
    for (SignedMask& mask : masks) mask.sign = Opposite(mask.sign);
    ApplyMasks(masks, &vector, nullptr);
    EXPECT_EQ(vector.Pack(), before);
  }
}

TEST(MaskTest, ResultDoesNotDependOnThreadsOrRanges) {
  ThreadPool pool(3);
  for (const CipherSuite suite : {kAes, kChaCha}) {
    for (const int bits : {12, 32}) {
      constexpr int64_t kSize = 200'003;
      const std::vector<SignedMask> masks = MasksOf(suite, 6);
      ModularVector whole = VectorOf(bits, kSize);
      ApplyMasks(masks, &whole, nullptr);
      ModularVector threaded = VectorOf(bits, kSize);
      ApplyMasks(masks, &threaded, &pool);
      EXPECT_EQ(whole.Pack(), threaded.Pack());
      ModularVector ranges = VectorOf(bits, kSize);
      MaskExpander expander;
      for (int64_t begin = 0; begin < kSize; begin += 1384) {
        ASSERT_THAT(expander.Apply(masks, begin, std::min(begin + 1384, kSize),
                                   &ranges),
                    IsOk());
      }
      EXPECT_EQ(whole.Pack(), ranges.Pack());
    }
  }
}

TEST(MaskTest, EveryResidueOccurs) {
  ModularVector vector = VectorOf(8, 20'000);
  ApplyMasks(MasksOf(kAes, 1), &vector, nullptr);
  std::vector<int> seen(256);
  for (int64_t i = 0; i < vector.size(); ++i) ++seen[vector.residue(i)];
  // About 78 each, also the largest; none below 30 but once in 1e8 runs.
  EXPECT_GT(*std::min_element(seen.begin(), seen.end()), 30);
}

TEST(MaskTest, SeedsThatDifferInTheirLastBitDifferEverywhere) {
  class LastBit final : public SecretRandom {
   public:
    void Fill(std::span<uint8_t> out) override {
      std::fill(out.begin(), out.end(), uint8_t{7});
      out.back() = 6;
    }
  };
  class Sevens final : public SecretRandom {
   public:
    void Fill(std::span<uint8_t> out) override {
      std::fill(out.begin(), out.end(), uint8_t{7});
    }
  };
  Sevens sevens;
  LastBit last_bit;
  std::vector<SignedMask> masks;
  masks.push_back(
      {MaskKey(kAes, MaskSeed::Generate(sevens), kStream), MaskSign::kAdd});
  masks.push_back({MaskKey(kAes, MaskSeed::Generate(last_bit), kStream),
                   MaskSign::kSubtract});
  ModularVector vector = VectorOf(32, 1000);
  ApplyMasks(masks, &vector, nullptr);
  for (int64_t i = 0; i < vector.size(); ++i) EXPECT_NE(vector.residue(i), 0U);
}

TEST(MaskTest, SignsOfAPairAreOpposite) {
  EXPECT_EQ(SignInPair(3, 9), MaskSign::kAdd);
  EXPECT_EQ(SignInPair(9, 3), MaskSign::kSubtract);
}

TEST(MaskTest, NoMasksAndNoCoordinatesAreFine) {
  ModularVector vector = VectorOf(32, 10);
  ApplyMasks({}, &vector, nullptr);
  EXPECT_EQ(vector.Pack(), std::string(40, '\0'));
  ModularVector empty = VectorOf(32, 0);
  ApplyMasks(MasksOf(kAes, 2), &empty, nullptr);
}

TEST(MaskExpanderTest, RefusesRangesOutsideTheVector) {
  ModularVector vector = VectorOf(32, 100);
  const std::vector<SignedMask> masks = MasksOf(kAes, 1);
  MaskExpander expander;
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
           {-8, 8}, {0, 101}, {16, 8}, {4, 8}}) {
    EXPECT_THAT(expander.Apply(masks, begin, end, &vector),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace mledge::secagg
