#include "mledge/identity/witness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/witness_key.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixMillis(1767225600123);

// A key of 32 times 7, so that signatures can be written down.
class Sevens final : public SecretRandom {
 public:
  void Fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) byte = 7;
  }
};

WitnessKey FixedKey() {
  Sevens random;
  return WitnessKey::Generate(random);
}

WitnessKey OtherKey() {
  SystemSecretRandom random;
  return WitnessKey::Generate(random);
}

WitnessStatement Statement() {
  WitnessStatement statement{.task = Sha256Of(std::string_view("task")),
                             .session_number = 258,
                             .directory = Sha256Of(std::string_view("d")),
                             .time = kNow};
  statement.Sign(FixedKey());
  return statement;
}

TEST(WitnessKeyTest, PublicKeyIsThatOfTheSeed) {
  // From an independent implementation (Python's cryptography, OpenSSL's
  // command line): the Ed25519 public key of the seed 07 07 … 07.
  EXPECT_EQ(FixedKey().public_key().ToHex(),
            "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
}

TEST(WitnessKeyTest, SurvivesItsFile) {
  const TempDirectory directory;
  const std::string path = directory.File("witness.key");
  ASSERT_THAT(FixedKey().Write(path), IsOk());
  struct stat file_status {};
  ASSERT_EQ(stat(path.c_str(), &file_status), 0);
  EXPECT_EQ(file_status.st_mode & 07777, 0600u);
  const absl::StatusOr<WitnessKey> loaded = WitnessKey::Load(path);
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->public_key(), FixedKey().public_key());
  EXPECT_EQ(loaded->Sign("x"), FixedKey().Sign("x"));
  EXPECT_THAT(OtherKey().Write(path), StatusIs(StatusCode::kAlreadyExists));
}

TEST(WitnessKeyTest, KeyThatOthersMayReadIsRefused) {
  const TempDirectory directory;
  const std::string path = directory.File("witness.key");
  ASSERT_THAT(FixedKey().Write(path), IsOk());
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  EXPECT_THAT(WitnessKey::Load(path),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("chmod")));
}

TEST(WitnessKeyTest, OtherKindsOfKeysAreRefused) {
  EXPECT_THAT(WitnessKey::FromPem(PrivateKey::Generate().ToPem()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("Ed25519")));
  EXPECT_THAT(WitnessKey::FromPem(SecretBytes::CopyFrom("nothing")),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(WitnessKey::FromPem(SecretBytes()),
              StatusIs(StatusCode::kInvalidArgument));
  const TempDirectory directory;
  ASSERT_THAT(FixedKey().Write(directory.File("k")), IsOk());
  EXPECT_THAT(LoadPrivateKey(directory.File("k")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("P-256")));
}

TEST(WitnessKeyTest, BadPublicKeysAreRefused) {
  for (const std::string& bad :
       {std::string(), std::string(63, 'a'), std::string(65, 'a'),
        std::string(63, 'a') + "g"}) {
    EXPECT_THAT(
        WitnessPublicKey::FromHex(bad),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("witness.pub")))
        << bad;
  }
  EXPECT_THAT(WitnessPublicKey::FromBytes(std::string(31, 'a')),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(WitnessStatementTest, SignsExactlyTheBytesOfTheSpecification) {
  const WitnessStatement statement = Statement();
  const std::string length_32 = std::string(7, '\0') + '\x20';
  const std::string bytes = StrCat(
      std::string("mledge/v1/witness\0", 18), std::string(7, '\0') + '\x11',
      "session-directory", length_32, statement.task.ToBytes(),
      std::string(6, '\0') + "\x01\x02", length_32,
      statement.directory.ToBytes(),
      // 1767225600123 = 0x19B76DAD47B: as 8 bytes.
      [] {
        std::string time;
        for (int shift = 56; shift >= 0; shift -= 8) {
          time.push_back(static_cast<char>((1767225600123ull >> shift) & 0xff));
        }
        return time;
      }());
  EXPECT_THAT(FixedKey().public_key().Verify(bytes, statement.signature),
              IsOk());
}

TEST(WitnessStatementTest, SignatureIsDeterministic) {
  EXPECT_EQ(Statement().signature, Statement().signature);
}

TEST(WitnessStatementTest, EveryAlteredFieldIsNoticed) {
  const WitnessPublicKey key = FixedKey().public_key();
  EXPECT_THAT(Statement().Verify(key), IsOk());
  std::vector<WitnessStatement> altered(6, Statement());
  altered[0].task.bytes[0] ^= 1;
  altered[1].session_number += 1;
  altered[2].directory.bytes[31] ^= 1;
  altered[3].time += absl::Milliseconds(1);
  altered[4].signature[10] ^= 1;
  altered[5].signature.clear();
  for (size_t i = 0; i < altered.size(); ++i) {
    EXPECT_THAT(altered[i].Verify(key), StatusIs(StatusCode::kPermissionDenied))
        << i;
  }
  EXPECT_THAT(Statement().Verify(OtherKey().public_key()),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST(WitnessStatementTest, IsNoHeadOfAVersionLog) {
  const WitnessStatement statement = Statement();
  const VersionLogHead head{.task = statement.task,
                            .length = statement.session_number,
                            .head = statement.directory,
                            .time = statement.time,
                            .signature = statement.signature};
  EXPECT_THAT(head.Verify(FixedKey().public_key()),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST(WitnessStatementTest, SurvivesItsMessage) {
  EXPECT_THAT(WitnessStatement::FromProto(Statement().ToProto()),
              IsOkAndHolds(Statement()));
}

TEST(WitnessStatementTest, MalformedMessagesAreRefused) {
  std::vector<v1::WitnessStatement> bad(7, Statement().ToProto());
  bad[0].clear_task_sha256();
  bad[1].set_directory_sha256(std::string(33, 'x'));
  bad[2].set_session_number(0);
  bad[3].set_unix_milliseconds(-1);
  bad[4].set_unix_milliseconds(INT64_MAX);
  bad[5].clear_signature();
  bad[6].set_signature(std::string(65, 'x'));
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_THAT(WitnessStatement::FromProto(bad[i]),
                StatusIs(StatusCode::kInvalidArgument))
        << i;
  }
  EXPECT_THAT(VersionLogHead::FromProto(v1::VersionLogHead()),
              StatusIs(StatusCode::kInvalidArgument));
}

SetsStatement OverSets() {
  SetsStatement statement{.task = Sha256Of(std::string_view("task")),
                          .session_number = 258,
                          .group = 3,
                          .session = Sha256Of(std::string_view("session")),
                          .sets = Sha256Of(std::string_view("sets")),
                          .time = kNow};
  statement.Sign(FixedKey());
  return statement;
}

TEST(SetsStatementTest, SignsExactlyTheBytesOfTheSpecification) {
  const auto number = [](uint64_t value) {
    std::string bytes;
    for (int shift = 56; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<char>(value >> shift));
    }
    return bytes;
  };
  const SetsStatement statement = OverSets();
  const std::string bytes =
      StrCat(std::string("mledge/v1/witness\0", 18), number(12), "session-sets",
             number(32), statement.task.ToBytes(), number(258), number(3),
             number(32), statement.session.ToBytes(), number(32),
             statement.sets.ToBytes(), number(1767225600123));
  EXPECT_THAT(FixedKey().public_key().Verify(bytes, statement.signature),
              IsOk());
}

TEST(SetsStatementTest, EveryAlteredFieldIsNoticed) {
  const WitnessPublicKey key = FixedKey().public_key();
  EXPECT_THAT(OverSets().Verify(key), IsOk());
  std::vector<SetsStatement> altered(8, OverSets());
  altered[0].task.bytes[0] ^= 1;
  altered[1].session_number += 1;
  altered[2].group += 1;
  altered[3].session.bytes[9] ^= 1;
  altered[4].sets.bytes[31] ^= 1;
  altered[5].time += absl::Milliseconds(1);
  altered[6].signature[10] ^= 1;
  altered[7].signature.clear();
  for (size_t i = 0; i < altered.size(); ++i) {
    EXPECT_THAT(altered[i].Verify(key), StatusIs(StatusCode::kPermissionDenied))
        << i;
  }
  EXPECT_THAT(OverSets().Verify(OtherKey().public_key()),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST(SetsStatementTest, SurvivesItsMessageAndRefusesMalformedOnes) {
  EXPECT_THAT(SetsStatement::FromProto(OverSets().ToProto()),
              IsOkAndHolds(OverSets()));
  std::vector<v1::SetsStatement> bad(6, OverSets().ToProto());
  bad[0].clear_task_sha256();
  bad[1].set_session_sha256(std::string(31, 'x'));
  bad[2].clear_sets_sha256();
  bad[3].set_session_number(0);
  bad[4].set_unix_milliseconds(-1);
  bad[5].set_signature(std::string(63, 'x'));
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_THAT(SetsStatement::FromProto(bad[i]),
                StatusIs(StatusCode::kInvalidArgument))
        << i;
  }
}

class VersionLogTest : public ::testing::Test {
 protected:
  VersionLogTest() {
    heads_.push_back(EmptyVersionLog(task_));
    for (uint64_t version = 0; version < 4; ++version) {
      entries_.push_back(Sha256Of(std::string_view(StrCat("v", version))));
      heads_.push_back(
          ExtendVersionLog(task_, version, heads_.back(), entries_.back()));
    }
    head_ = {.task = task_, .length = 4, .head = heads_[4], .time = kNow};
    head_.Sign(FixedKey());
  }
  std::span<const Digest> Last(size_t count) const {
    return std::span(entries_).last(count);
  }

  const Digest task_ = Sha256Of(std::string_view("task"));
  std::vector<Digest> entries_;
  std::vector<Digest> heads_;
  VersionLogHead head_;
};

TEST_F(VersionLogTest, HeadsAreThoseOfTheSpecification) {
  const std::string domain("mledge/v1/version-log", 21);
  EXPECT_EQ(heads_[0],
            Sha256Of(std::string_view(domain + '\0' + task_.ToBytes())));
  EXPECT_EQ(heads_[2],
            Sha256Of(std::string_view(
                domain + '\x01' + task_.ToBytes() + std::string(7, '\0') +
                '\x01' + heads_[1].ToBytes() + entries_[1].ToBytes())));
}

TEST_F(VersionLogTest, EndOfTheLogIsRecognized) {
  for (size_t count = 0; count <= 4; ++count) {
    EXPECT_THAT(head_.CheckEnd(heads_[4 - count], Last(count)), IsOk())
        << count;
  }
}

TEST_F(VersionLogTest, OtherEndsAreRefused) {
  const auto denied = StatusIs(StatusCode::kPermissionDenied);
  EXPECT_THAT(head_.CheckEnd(heads_[2], Last(1)), denied);
  EXPECT_THAT(head_.CheckEnd(heads_[3], {}), denied);
  std::vector<Digest> swapped = entries_;
  std::swap(swapped[0], swapped[1]);
  EXPECT_THAT(head_.CheckEnd(heads_[0], swapped), denied);
  std::vector<Digest> longer = entries_;
  longer.insert(longer.begin(), task_);
  EXPECT_THAT(head_.CheckEnd(heads_[0], longer), denied);
  // A log of another task that happens to be handed around.
  VersionLogHead other = head_;
  other.task = Sha256Of(std::string_view("other"));
  EXPECT_THAT(other.CheckEnd(heads_[0], entries_), denied);
}

TEST_F(VersionLogTest, EveryAlteredFieldIsNoticed) {
  const WitnessPublicKey key = FixedKey().public_key();
  EXPECT_THAT(head_.Verify(key), IsOk());
  std::vector<VersionLogHead> altered(5, head_);
  altered[0].task.bytes[0] ^= 1;
  altered[1].length += 1;
  altered[2].head.bytes[31] ^= 1;
  altered[3].time += absl::Milliseconds(1);
  altered[4].signature[10] ^= 1;
  for (size_t i = 0; i < altered.size(); ++i) {
    EXPECT_THAT(altered[i].Verify(key), StatusIs(StatusCode::kPermissionDenied))
        << i;
  }
  EXPECT_THAT(VersionLogHead::FromProto(head_.ToProto()), IsOkAndHolds(head_));
}

}  // namespace
}  // namespace mledge
