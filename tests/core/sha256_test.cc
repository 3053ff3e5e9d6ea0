#include "mledge/core/sha256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

constexpr std::string_view kHashOfAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

// FIPS 180-4 examples.
TEST(Sha256Test, MatchesPublishedVectors) {
  EXPECT_EQ(Sha256Of(std::string_view()).ToHex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Of("abc").ToHex(), kHashOfAbc);
  EXPECT_EQ(Sha256Of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
                .ToHex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Of(std::string(1'000'000, 'a')).ToHex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, PiecesGiveTheHashOfTheWhole) {
  Sha256 hash;
  hash.Update("a").Update("").Update("bc");
  EXPECT_EQ(hash.Finish().ToHex(), kHashOfAbc);
}

TEST(Sha256Test, FieldsCannotRunIntoEachOther) {
  EXPECT_NE(Sha256().UpdateField("ab").UpdateField("c").Finish(),
            Sha256().UpdateField("a").UpdateField("bc").Finish());
}

TEST(Sha256Test, NumbersAreLittleEndian) {
  EXPECT_EQ(Sha256().UpdateU64(0x0102).Finish(),
            Sha256Of(std::string_view("\x02\x01\0\0\0\0\0\0", 8)));
}

TEST(DigestTest, SurvivesHexAndBytes) {
  const Digest digest = Sha256Of("abc");
  EXPECT_THAT(Digest::FromHex(digest.ToHex()), IsOkAndHolds(digest));
  EXPECT_THAT(Digest::FromBytes(digest.ToBytes()), IsOkAndHolds(digest));
}

TEST(DigestTest, AcceptsUpperCaseHex) {
  std::string hex = Sha256Of("abc").ToHex();
  for (char& c : hex) c = static_cast<char>(std::toupper(c));
  EXPECT_THAT(Digest::FromHex(hex), IsOkAndHolds(Sha256Of("abc")));
}

TEST(DigestTest, RefusesHexOfAnotherLength) {
  EXPECT_THAT(Digest::FromHex("abcd"), StatusIs(StatusCode::kInvalidArgument,
                                                HasSubstr("this one has 4")));
}

TEST(DigestTest, RefusesWhatIsNotHex) {
  std::string hex = Sha256Of("abc").ToHex();
  hex[10] = 'g';
  EXPECT_THAT(Digest::FromHex(hex), StatusIs(StatusCode::kInvalidArgument,
                                             HasSubstr("'g' at position 10")));
}

TEST(DigestTest, RefusesBytesOfAnotherLength) {
  EXPECT_THAT(
      Digest::FromBytes(std::string(31, 'x')),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("this one has 31")));
}

}  // namespace
}  // namespace mledge
