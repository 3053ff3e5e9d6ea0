#include "mledge/identity/private_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <string_view>

#include "mledge/core/file.h"
#include "mledge/tests/identity/hand_made_certificate.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Reveal(const SecretBytes& secret) {
  const auto bytes = secret.bytes(RevealSecret());
  return std::string(bytes.begin(), bytes.end());
}

TEST(PrivateKeyTest, PemRoundTrips) {
  const PrivateKey key = PrivateKey::Generate();
  EXPECT_THAT(Reveal(key.ToPem()), HasSubstr("-----BEGIN PRIVATE KEY-----"));
  const absl::StatusOr<PrivateKey> again = PrivateKey::FromPem(key.ToPem());
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->public_key() == key.public_key());
}

TEST(PrivateKeyTest, TwoKeysDiffer) {
  EXPECT_FALSE(PrivateKey::Generate().public_key() ==
               PrivateKey::Generate().public_key());
}

TEST(PrivateKeyTest, SignatureFitsItsMessageAndKeyOnly) {
  const PrivateKey key = PrivateKey::Generate();
  const std::string signature = key.Sign("message");
  EXPECT_THAT(key.public_key().Verify("message", signature), IsOk());
  EXPECT_THAT(key.public_key().Verify("massage", signature),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(PrivateKey::Generate().public_key().Verify("message", signature),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(key.public_key().Verify("message", ""),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(key.public_key().Verify("message", "no DER at all"),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST(PrivateKeyTest, RefusesWhatIsNoKey) {
  EXPECT_THAT(PrivateKey::FromPem(SecretBytes::CopyFrom("hello")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no PEM private key")));
  EXPECT_THAT(PrivateKey::FromPem(SecretBytes()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(PrivateKeyTest, RefusesAKeyUnderAPassphraseWithoutAskingForIt) {
  EXPECT_THAT(PrivateKey::FromPem(SecretBytes::CopyFrom(EncryptedKeyPem())),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("protected by a passphrase")));
}

TEST(PrivateKeyTest, RefusesOtherKindsOfKeys) {
  for (const char* kind : {"RSA", "P-384"}) {
    EXPECT_THAT(
        PrivateKey::FromPem(SecretBytes::CopyFrom(OtherKindOfKeyPem(kind))),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("P-256")))
        << kind;
  }
}

TEST(PrivateKeyFileTest, IsWrittenForItsOwnerOnlyAndReadBack) {
  const TempDirectory directory;
  const std::string path = directory.File("key.pem");
  const PrivateKey key = PrivateKey::Generate();
  ASSERT_THAT(WritePrivateKey(key, path), IsOk());
  struct stat file_status {};
  ASSERT_EQ(stat(path.c_str(), &file_status), 0);
  EXPECT_EQ(file_status.st_mode & 07777, 0600u);
  const absl::StatusOr<PrivateKey> again = LoadPrivateKey(path);
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->public_key() == key.public_key());
}

TEST(PrivateKeyFileTest, IsNeverOverwritten) {
  const TempDirectory directory;
  const std::string path = directory.File("key.pem");
  ASSERT_THAT(WritePrivateKey(PrivateKey::Generate(), path), IsOk());
  EXPECT_THAT(WritePrivateKey(PrivateKey::Generate(), path),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(path)));
}

TEST(PrivateKeyFileTest, ThatOthersMayReadIsRefusedWithTheRemedy) {
  const TempDirectory directory;
  const std::string path = directory.File("key.pem");
  ASSERT_THAT(WritePrivateKey(PrivateKey::Generate(), path), IsOk());
  for (const mode_t mode : {0640, 0604, 0620, 0666, 0610}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    EXPECT_THAT(LoadPrivateKey(path),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         AllOf(HasSubstr("chmod 600"), HasSubstr(path))))
        << std::oct << mode;
  }
}

TEST(PrivateKeyFileTest, MissingOneIsNamed) {
  EXPECT_THAT(
      LoadPrivateKey("/nowhere/key.pem"),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/key.pem")));
}

TEST(PrivateKeyFileTest, FileThatIsNoKeyIsNamed) {
  const TempDirectory directory;
  const std::string path = directory.File("key.pem");
  ASSERT_THAT(WriteFileAtomically(path, "hello", FileMode::kPrivate), IsOk());
  EXPECT_THAT(LoadPrivateKey(path),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
}

TEST(PrivateKeyFileTest, HugeFileIsRefused) {
  const TempDirectory directory;
  const std::string path = directory.File("key.pem");
  ASSERT_THAT(
      WriteFileAtomically(path, std::string(1 << 20, 'x'), FileMode::kPrivate),
      IsOk());
  EXPECT_THAT(LoadPrivateKey(path), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("too large")));
}

}  // namespace
}  // namespace mledge
