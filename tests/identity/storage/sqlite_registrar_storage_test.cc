#include "mledge/identity/storage/sqlite_registrar_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/identity/storage/registrar_schema.h"
#include "mledge/tests/identity/registrar/registrar_harness.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromUnixMillis(1767225600123);

WitnessStatement Statement(uint64_t number) {
  return {.task = DigestOf("task"),
          .session_number = number,
          .directory = DigestOf("directory"),
          .time = kNow,
          .signature = std::string(64, 's')};
}

SetsStatement OverSets(uint32_t group) {
  return {.task = DigestOf("task"),
          .session_number = 3,
          .group = group,
          .session = DigestOf("session"),
          .sets = DigestOf("sets"),
          .time = kNow,
          .signature = std::string(64, 't')};
}

IssuedCertificate Issued(const std::string& serial, const std::string& id) {
  return {.serial = serial,
          .identity = {Role::kDevice, id},
          .issued_at = kNow,
          .not_after = kNow + absl::Hours(1),
          .issued_by = "operator alice",
          .certificate_der = std::string("d\0er", 4)};
}

EnrollmentToken UsedToken() {
  EnrollmentToken token;
  token.token_sha256 = DigestOf("token");
  token.identity = {Role::kDevice, "new"};
  token.expires_at = kNow;
  token.made_by = "operator alice";
  token.used = true;
  return token;
}

class SqliteRegistrarStorageTest : public ::testing::Test {
 protected:
  void Open() {
    storage_.reset();
    auto storage = SqliteRegistrarStorage::Open(directory_.File("state"));
    ASSERT_THAT(storage, IsOk());
    storage_ = *std::move(storage);
  }
  void SetUp() override { Open(); }

  const TempDirectory directory_;
  std::unique_ptr<SqliteRegistrarStorage> storage_;
};

TEST_F(SqliteRegistrarStorageTest, KeepsEveryRecord) {
  RegistrarTransaction transaction;
  transaction.issued = Issued("01", "one");
  transaction.statement = Statement(3);
  transaction.task = WitnessedTask{DigestOf("task"), 3, 20000, 2};
  const VersionLogHead head = {DigestOf("task"), 1, DigestOf("head"), kNow,
                               std::string(64, 'h')};
  transaction.version_log_head.emplace();
  transaction.version_log_head->head = head;
  transaction.version_log_head->entry = DigestOf("entry");
  transaction.revocation_list = StoredRevocationList{4, kNow, "signed"};
  transaction.token = UsedToken();
  transaction.revocations = {
      {.serial = "02", .revoked_at = kNow, .revoked_by = "x", .reason = "y"},
      {.identity = Identity{Role::kDevice, "lost"},
       .revoked_at = kNow,
       .revoked_by = "x",
       .reason = ""}};
  ASSERT_THAT(storage_->Commit(transaction), IsOk());
  Open();
  EXPECT_THAT(storage_->FindIssued("01"), IsOkAndHolds(transaction.issued));
  EXPECT_THAT(storage_->FindStatement(DigestOf("task"), 3),
              IsOkAndHolds(transaction.statement));
  EXPECT_THAT(storage_->FindTask(DigestOf("task")),
              IsOkAndHolds(transaction.task));
  EXPECT_THAT(storage_->FindVersionLogHead(DigestOf("task")),
              IsOkAndHolds(transaction.version_log_head));
  EXPECT_THAT(storage_->FindRevocationList(),
              IsOkAndHolds(transaction.revocation_list));
  EXPECT_THAT(storage_->FindToken(DigestOf("token")),
              IsOkAndHolds(transaction.token));
  EXPECT_THAT(storage_->ListRevocations(),
              IsOkAndHolds(transaction.revocations));
  EXPECT_THAT(storage_->IsRevoked("02", {}), IsOkAndHolds(true));
  EXPECT_THAT(storage_->IsRevoked("01", {Role::kDevice, "lost"}),
              IsOkAndHolds(true));
  EXPECT_THAT(storage_->IsRevoked("01", {Role::kEvaluator, "lost"}),
              IsOkAndHolds(false));
}

TEST_F(SqliteRegistrarStorageTest, SaysWhatIsNotThere) {
  EXPECT_THAT(storage_->FindIssued("01"), IsOkAndHolds(std::nullopt));
  EXPECT_THAT(storage_->FindTask(DigestOf("x")), IsOkAndHolds(std::nullopt));
  EXPECT_THAT(storage_->FindStatement(DigestOf("x"), 1),
              IsOkAndHolds(std::nullopt));
  EXPECT_THAT(storage_->FindSetsStatement(DigestOf("x"), 1, 0),
              IsOkAndHolds(std::nullopt));
  EXPECT_THAT(storage_->FindVersionLogHead(DigestOf("x")),
              IsOkAndHolds(std::nullopt));
  EXPECT_THAT(storage_->FindRevocationList(), IsOkAndHolds(std::nullopt));
  EXPECT_THAT(storage_->FindToken(DigestOf("x")), IsOkAndHolds(std::nullopt));
}

TEST_F(SqliteRegistrarStorageTest, StatementsAndHeadsAreWrittenOnce) {
  RegistrarTransaction transaction;
  transaction.statement = Statement(3);
  ASSERT_THAT(storage_->Commit(transaction), IsOk());
  // The rest of the transaction does not happen either.
  transaction.statement->directory = DigestOf("another");
  transaction.task = WitnessedTask{DigestOf("task"), 3, 1, 1};
  EXPECT_THAT(storage_->Commit(transaction),
              StatusIs(StatusCode::kAlreadyExists));
  EXPECT_THAT(storage_->FindStatement(DigestOf("task"), 3),
              IsOkAndHolds(Statement(3)));
  EXPECT_THAT(storage_->FindTask(DigestOf("task")), IsOkAndHolds(std::nullopt));
}

TEST_F(SqliteRegistrarStorageTest, StatementsOverSetsAreWrittenOnce) {
  RegistrarTransaction transaction;
  transaction.sets_statement = OverSets(0);
  ASSERT_THAT(storage_->Commit(transaction), IsOk());
  transaction.sets_statement->sets = DigestOf("others");
  EXPECT_THAT(storage_->Commit(transaction),
              StatusIs(StatusCode::kAlreadyExists));
  EXPECT_THAT(storage_->FindSetsStatement(DigestOf("task"), 3, 0),
              IsOkAndHolds(OverSets(0)));
  EXPECT_THAT(storage_->FindSetsStatement(DigestOf("task"), 3, 1),
              IsOkAndHolds(std::nullopt));
  transaction.sets_statement = OverSets(1);
  EXPECT_THAT(storage_->Commit(transaction), IsOk());
}

// A registrar of the first release, with a session witnessed, is replaced by
// this one.
TEST_F(SqliteRegistrarStorageTest, MigratesFromTheFirstSchema) {
  RegistrarTransaction transaction;
  transaction.statement = Statement(3);
  transaction.issued = Issued("01", "one");
  ASSERT_THAT(storage_->Commit(transaction), IsOk());
  storage_.reset();
  {
    auto database =
        OpenRegistrarDatabase(directory_.File("state/registrar.db"));
    ASSERT_THAT(database, IsOk());
    ASSERT_THAT((*database)->Execute("DROP TABLE sets_statements"), IsOk());
    ASSERT_THAT((*database)->Execute("PRAGMA user_version = 1"), IsOk());
  }
  Open();
  EXPECT_THAT(storage_->FindStatement(DigestOf("task"), 3),
              IsOkAndHolds(Statement(3)));
  EXPECT_THAT(storage_->FindIssued("01"), IsOkAndHolds(transaction.issued));
  RegistrarTransaction next;
  next.sets_statement = OverSets(0);
  EXPECT_THAT(storage_->Commit(next), IsOk());
  Open();
  EXPECT_THAT(storage_->FindSetsStatement(DigestOf("task"), 3, 0),
              IsOkAndHolds(OverSets(0)));
}

TEST_F(SqliteRegistrarStorageTest, ListsWhatWasIssuedInOrder) {
  for (int i = 0; i < 5; ++i) {
    RegistrarTransaction transaction;
    transaction.issued = Issued(StrCat("0", 9 - i), i % 2 == 0 ? "a" : "b");
    if (i == 4) transaction.issued->not_after = kNow - absl::Seconds(1);
    ASSERT_THAT(storage_->Commit(transaction), IsOk());
  }
  const auto all = storage_->ListIssued({});
  ASSERT_THAT(all, IsOkAndHolds(SizeIs(5)));
  EXPECT_EQ(all->front().serial, "09");
  EXPECT_THAT(storage_->ListIssued({.identity = Identity{Role::kDevice, "a"}}),
              IsOkAndHolds(SizeIs(3)));
  EXPECT_THAT(storage_->ListIssued(
                  {.identity = Identity{Role::kDevice, "a"}, .valid_at = kNow}),
              IsOkAndHolds(SizeIs(2)));
  const auto page = storage_->ListIssued({.skip = 1, .limit = 2});
  ASSERT_THAT(page, IsOkAndHolds(SizeIs(2)));
  EXPECT_EQ(page->front().serial, "08");
}

TEST_F(SqliteRegistrarStorageTest, SecondProcessIsKeptOutAndToldWhoIsThere) {
  EXPECT_THAT(SqliteRegistrarStorage::Open(directory_.File("state")),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr(StrCat("process ", getpid()))));
}

TEST_F(SqliteRegistrarStorageTest, OwnerThatWasReplacedWritesNothingMore) {
  RegistrarTransaction transaction;
  transaction.statement = Statement(1);
  // As when the state lies on a file system whose locks do not work.
  ASSERT_TRUE(std::filesystem::remove(directory_.File("state/lock")));
  auto other = SqliteRegistrarStorage::Open(directory_.File("state"));
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT(
      storage_->Commit(transaction),
      StatusIs(StatusCode::kFailedPrecondition, HasSubstr("taken over")));
  EXPECT_THAT((*other)->Commit(transaction), IsOk());
}

TEST_F(SqliteRegistrarStorageTest, DamagedFileIsNamedWithTheRemedy) {
  storage_.reset();
  std::ofstream(directory_.File("state/registrar.db"), std::ios::trunc)
      << std::string(5000, 'x');
  std::filesystem::remove(directory_.File("state/registrar.db-wal"));
  EXPECT_THAT(SqliteRegistrarStorage::Open(directory_.File("state")),
              StatusIs(StatusCode::kDataLoss, HasSubstr("backup")));
}

TEST_F(SqliteRegistrarStorageTest, NewerSchemaIsLeftAlone) {
  storage_.reset();
  {
    auto database =
        OpenRegistrarDatabase(directory_.File("state/registrar.db"));
    ASSERT_THAT(database, IsOk());
    ASSERT_THAT((*database)->Execute(StrCat("PRAGMA user_version = ",
                                            LatestRegistrarSchema() + 1)),
                IsOk());
  }
  EXPECT_THAT(SqliteRegistrarStorage::Open(directory_.File("state")),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("newer")));
}

TEST_F(SqliteRegistrarStorageTest, UnwritablePlaceIsNamed) {
  const std::string file = directory_.File("file");
  ASSERT_THAT(WriteFileAtomically(file, "x"), IsOk());
  const auto opened = SqliteRegistrarStorage::Open(file);
  EXPECT_FALSE(opened.ok());
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr(file));
}

// kill -9: a child has sessions witnessed and says each signature as it gets
// it; what it said is what the next process answers.
TEST_F(SqliteRegistrarStorageTest, WhatWasSaidSurvivesKills) {
  storage_.reset();
  RegistrarHarness harness;
  std::vector<std::string> said;
  for (int round = 0; round < 8; ++round) {
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(pipes[0]);
      auto storage = SqliteRegistrarStorage::Open(directory_.File("state"));
      if (!storage.ok()) _exit(2);
      auto registrar = harness.Start(storage->get());
      if (!registrar.ok()) _exit(3);
      for (uint64_t i = said.size() + 1;; ++i) {
        // The first may have been witnessed before the last kill; then only
        // this directory gets an answer.
        const auto statement =
            (*registrar)
                ->WitnessDirectory(
                    harness.Coordinator(), DigestOf("task"), i,
                    DigestOf(StrCat(i)),
                    harness.now() + absl::Hours(static_cast<int64_t>(i)));
        if (!statement.ok()) _exit(4);
        if (write(pipes[1], statement->signature.data(), 64) != 64) _exit(5);
      }
    }
    close(pipes[1]);
    char signature[64];
    for (int i = 0; i < 3; ++i) {
      ASSERT_EQ(read(pipes[0], signature, 64), 64);
      said.emplace_back(signature, 64);
    }
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "child failed by itself: " << status;
    while (read(pipes[0], signature, 64) == 64) {
      said.emplace_back(signature, 64);
    }
    close(pipes[0]);
  }
  Open();
  const auto registrar = harness.Start(storage_.get());
  ASSERT_THAT(registrar, IsOk());
  for (size_t i = 0; i < said.size(); ++i) {
    const auto again =
        (*registrar)
            ->WitnessDirectory(harness.Coordinator(), DigestOf("task"), i + 1,
                               DigestOf(StrCat(i + 1)), harness.now());
    ASSERT_THAT(again, IsOk());
    EXPECT_EQ(again->signature, said[i]);
    EXPECT_THAT((*registrar)
                    ->WitnessDirectory(harness.Coordinator(), DigestOf("task"),
                                       i + 1, DigestOf("other"), harness.now()),
                StatusIs(StatusCode::kFailedPrecondition));
  }
}

}  // namespace
}  // namespace mledge
