#include "mledge/aggregation/secagg/key_agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "mledge/aggregation/secagg/hkdf.h"
#include "mledge/core/strings.h"
#include "mledge/tests/aggregation/secagg/test_random.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;

constexpr AgreementSuite kSuite = AgreementSuite::kX25519;

std::string FromHex(std::string_view hex) {
  return absl::HexStringToBytes(ToAbslView(hex));
}

template <typename Bytes>
std::string ToHex(const Bytes& bytes) {
  return absl::BytesToHexString(
      {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// OpenSSL's own HKDF, expansion only.
std::vector<uint8_t> ReferenceExpand(std::span<const uint8_t> key,
                                     std::string_view info, size_t size) {
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  char digest[] = "SHA256";
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_octet_string(
          OSSL_KDF_PARAM_KEY, const_cast<uint8_t*>(key.data()), key.size()),
      OSSL_PARAM_construct_octet_string(
          OSSL_KDF_PARAM_INFO, const_cast<char*>(info.data()), info.size()),
      OSSL_PARAM_construct_end()};
  std::vector<uint8_t> out(size);
  EXPECT_EQ(EVP_KDF_derive(context, out.data(), out.size(), params), 1);
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  return out;
}

struct Rfc5869Vector {
  std::string_view key, salt, info, pseudorandom_key, output;
};

// Appendix A, cases 1 to 3.
TEST(HkdfTest, GivesTheVectorsOfRfc5869) {
  const std::vector<Rfc5869Vector> vectors = {
      {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
       "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
       "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
       "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
       "34007208d5b887185865"},
      {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
       "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
       "404142434445464748494a4b4c4d4e4f",
       "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
       "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
       "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
       "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
       "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
       "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
       "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
       "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
       "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
       "cc30c58179ec3e87c14c01d5c1f3434f1d87"},
      {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
       "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
       "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
       "9d201395faa4b61a96c8"}};
  for (const Rfc5869Vector& vector : vectors) {
    const std::string key = FromHex(vector.key);
    const std::string salt = FromHex(vector.salt);
    const PseudorandomKey extracted = HkdfExtract(AsBytes(salt), AsBytes(key));
    EXPECT_EQ(ToHex(extracted.bytes(RevealSecret())), vector.pseudorandom_key);
    std::vector<uint8_t> out(vector.output.size() / 2);
    HkdfExpand(extracted.bytes(RevealSecret()), FromHex(vector.info), out);
    EXPECT_EQ(ToHex(out), vector.output);
  }
}

TEST(HkdfTest, ExpandsAsOpenSslDoes) {
  const MaskSeed seed = CountingSeed(9);
  for (const size_t size : {0, 1, 31, 32, 33, 64, 1000, 8160}) {
    std::vector<uint8_t> out(size);
    HkdfExpand(seed.bytes(RevealSecret()), "some info", out);
    if (size == 0) continue;
    EXPECT_EQ(out,
              ReferenceExpand(seed.bytes(RevealSecret()), "some info", size));
  }
}

TEST(HkdfTest, FieldsDoNotRunIntoEachOther) {
  EXPECT_NE(HkdfInfo("l").AddBytes("ab").AddBytes("c").view(),
            HkdfInfo("l").AddBytes("a").AddBytes("bc").view());
  EXPECT_NE(HkdfInfo("l").view(), HkdfInfo("m").view());
}

class KeyAgreementTest : public ::testing::Test {
 protected:
  static AgreementKeyPair PairOf(uint8_t first) {
    return *AgreementKeyPair::FromSeed(kSuite, CountingSeed(first),
                                       KeyRole::kMask);
  }
  AgreementKeyPair alice_ = PairOf(1);
  AgreementKeyPair bob_ = PairOf(2);
  const PairContext from_alice_{Sha256Of("session"), 3, 7};
  const PairContext from_bob_{Sha256Of("session"), 7, 3};
};

TEST_F(KeyAgreementTest, BothEndsDeriveTheSameMaskSeed) {
  const auto a = alice_.Agree(bob_.public_key());
  const auto b = bob_.Agree(alice_.public_key());
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  EXPECT_TRUE(a->DeriveMaskSeed(from_alice_)
                  .EqualsConstantTime(b->DeriveMaskSeed(from_bob_)));
}

TEST_F(KeyAgreementTest, MaskSeedDependsOnSessionPairAndPurpose) {
  const auto secret = alice_.Agree(bob_.public_key());
  const MaskSeed seed = secret->DeriveMaskSeed(from_alice_);
  PairContext other = from_alice_;
  other.session = Sha256Of("another session");
  EXPECT_FALSE(seed.EqualsConstantTime(secret->DeriveMaskSeed(other)));
  other = from_alice_;
  other.peer_index = 8;
  EXPECT_FALSE(seed.EqualsConstantTime(secret->DeriveMaskSeed(other)));
  const ShareBoxKeys keys = secret->DeriveShareBoxKeys(from_alice_);
  EXPECT_NE(ToHex(keys.seal.bytes(RevealSecret())),
            ToHex(seed.bytes(RevealSecret())));
}

TEST_F(KeyAgreementTest, DirectionsHaveKeysOfTheirOwn) {
  const ShareBoxKeys a =
      alice_.Agree(bob_.public_key())->DeriveShareBoxKeys(from_alice_);
  const ShareBoxKeys b =
      bob_.Agree(alice_.public_key())->DeriveShareBoxKeys(from_bob_);
  EXPECT_TRUE(a.seal.EqualsConstantTime(b.open));
  EXPECT_TRUE(a.open.EqualsConstantTime(b.seal));
  EXPECT_FALSE(a.seal.EqualsConstantTime(a.open));
}

// With OpenSSL's HKDF and X25519 called directly.
TEST_F(KeyAgreementTest, PrivateKeyIsTheDerivedBytes) {
  const MaskSeed seed = CountingSeed(1);
  const std::vector<uint8_t> private_key = ReferenceExpand(
      seed.bytes(RevealSecret()),
      HkdfInfo("key pair").AddNumber(1).AddNumber(1).view(), 32);
  EVP_PKEY* key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr,
                                               private_key.data(), 32);
  std::vector<uint8_t> public_key(32);
  size_t size = 32;
  EVP_PKEY_get_raw_public_key(key, public_key.data(), &size);
  EVP_PKEY_free(key);
  EXPECT_EQ(ToHex(alice_.public_key().encoded()), "01" + ToHex(public_key));
}

TEST_F(KeyAgreementTest, SeedToKeysIsPinned) {
  EXPECT_EQ(
      ToHex(alice_.public_key().encoded()),
      "0198fd1f7c2039d10f2de43781a7ab2f4abfa5677e952481d9a21345fc272fc915");
  const auto secret = alice_.Agree(bob_.public_key());
  EXPECT_EQ(ToHex(secret->DeriveMaskSeed(from_alice_).bytes(RevealSecret())),
            "5f04d262c85d901cb8d95d8b696fb651eabdf823ea9ae12a9be104f923cc91a1");
  EXPECT_EQ(
      ToHex(secret->DeriveShareBoxKeys(from_alice_).seal.bytes(RevealSecret())),
      "4d3f36305d33fc9f16879a389a7f3c86f64e44c8ce3387088d3a2bed22f3795c");
}

TEST_F(KeyAgreementTest, RolesGiveOtherKeys) {
  const auto transport =
      AgreementKeyPair::FromSeed(kSuite, CountingSeed(1), KeyRole::kTransport);
  EXPECT_NE(transport->public_key().encoded(), alice_.public_key().encoded());
}

TEST_F(KeyAgreementTest, PublicKeysTravel) {
  const auto parsed =
      AgreementPublicKey::Parse(bob_.public_key().encoded(), kSuite);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(*parsed, bob_.public_key());
  EXPECT_TRUE(
      alice_.Agree(*parsed)
          ->DeriveMaskSeed(from_alice_)
          .EqualsConstantTime(
              alice_.Agree(bob_.public_key())->DeriveMaskSeed(from_alice_)));
}

// The points of order 1, 2, 4 and 8 of the curve and its twist, also in the
// encodings that are not reduced (Cremers and Jackson, "Prime, order please!",
// CSF 2019).
TEST_F(KeyAgreementTest, RefusesPointsOfSmallOrder) {
  for (const std::string_view hex :
       {"0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"}) {
    const auto peer =
        AgreementPublicKey::Parse(StrCat("\x01", FromHex(hex)), kSuite);
    ASSERT_THAT(peer, IsOk());
    EXPECT_THAT(
        alice_.Agree(*peer),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("small order")))
        << hex;
  }
  // The pair still works afterwards.
  EXPECT_THAT(alice_.Agree(bob_.public_key()), IsOk());
}

TEST_F(KeyAgreementTest, RefusesAnEmptyKey) {
  EXPECT_THAT(AgreementPublicKey::Parse("", kSuite),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(KeyAgreementTest, RefusesKeysOfAnotherLength) {
  const std::string good = bob_.public_key().encoded();
  EXPECT_THAT(AgreementPublicKey::Parse(good.substr(0, 32), kSuite),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(AgreementPublicKey::Parse(good + "x", kSuite),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(AgreementPublicKey::Parse("\x01", kSuite),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(KeyAgreementTest, RefusesAKeyOfAnotherSuite) {
  std::string other = bob_.public_key().encoded();
  other[0] = 2;
  EXPECT_THAT(
      AgreementPublicKey::Parse(other, kSuite),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("suite 2")));
}

TEST_F(KeyAgreementTest, ReservedSuiteIsRefusedByName) {
  EXPECT_THAT(AgreementKeyPair::FromSeed(AgreementSuite::kP256, CountingSeed(1),
                                         KeyRole::kMask),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("P-256")));
  EXPECT_THAT(AgreementPublicKey::Parse("\x02", AgreementSuite::kP256),
              StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(AgreementSuiteFromNumber(3),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CipherSuiteFromNumber(0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CipherSuiteFromNumber(2), IsOk());
}

TEST(MaskSeedTest, CommitmentsBindAndArePinned) {
  EXPECT_EQ(CommitTo(CountingSeed(5)).ToHex(),
            "9c27db5bd7085e630e03227afa5049f9137c0a83e13cabe669bf555a52308e87");
  EXPECT_NE(CommitTo(CountingSeed(5)), CommitTo(CountingSeed(6)));
}

}  // namespace
}  // namespace mledge::secagg
