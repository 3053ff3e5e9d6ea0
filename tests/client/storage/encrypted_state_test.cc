// The state on the disk says nothing without its key, is never begun afresh
// because the key is not there, and takes over what older versions left.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mledge/aggregation/update_file.h"
#include "mledge/client/storage/journal_database.h"
#include "mledge/client/storage/sealed_file.h"
#include "mledge/client/storage/sqlite_device_storage.h"
#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::Pair;
using ::testing::Pointee;

const Digest kTask = Sha256Of(std::string_view("task"));

class EncryptedStateTest : public ::testing::Test {
 protected:
  EncryptedStateTest() {
    assignment_.set_assignment_id("assignment-in-the-clear");
    assignment_.set_task_id("task-in-the-clear");
    UpdateSection section;
    section.name = std::string(kDeltaSection);
    section.values = AlignedFloats(100'000);
    for (size_t i = 0; i < 100'000; ++i) {
      section.values.span()[i] = static_cast<float>(i) * 1.25f;
    }
    update_.sections.push_back(std::move(section));
    update_.weight = 4;
    update_bytes_ = *SerializeUpdate(update_, context_);
    finished_ = {Sha256Of(update_bytes_), update_bytes_.size()};
  }

  std::string state(std::string_view file = "") const {
    return directory_.File(StrCat("state/", file));
  }
  std::string key_path() const { return directory_.File("state.key"); }

  absl::StatusOr<std::unique_ptr<DeviceStorage>> Open() {
    const auto key = MakeFileStateKey(key_path());
    return OpenSqliteDeviceStorage({.directory = state(),
                                    .device = DeviceId("device-1"),
                                    .state_key = key.get()});
  }
  std::unique_ptr<DeviceStorage> MustOpen() {
    auto storage = Open();
    EXPECT_THAT(storage, IsOk());
    return *std::move(storage);
  }

  // One of everything that a device keeps, each with words to look for.
  void FillState() {
    auto storage = MustOpen();
    auto writer = storage->OpenBlobWriter(Sha256Of(kBlob), kBlob.size());
    ASSERT_THAT((*writer)->Append(kBlob), IsOk());
    ASSERT_THAT((*writer)->Commit(), IsOk());
    writer = storage->OpenBlobWriter(kTask, 300'000);
    ASSERT_THAT((*writer)->Append(std::string(200'000, 'f')), IsOk());
    writer->reset();
    ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
    ASSERT_THAT(storage->SaveSnapshot(
                    context_.assignment_id,
                    StrCat("snapshot-in-the-clear", std::string(9000, 's'))),
                IsOk());
    ASSERT_THAT(
        storage->SaveSecaggJournal(
            kTask,
            SecretBytes::CopyFrom(std::string_view("secret-in-the-clear")),
            MaskedInputAction::kStore,
            std::make_shared<const std::string>("masked-in-the-clear")),
        IsOk());
    ASSERT_THAT(storage->SaveListNumber(7), IsOk());
    CopyFiles();
    ASSERT_THAT(SaveChargedUpdate(*storage), IsOk());
    CopyFiles();
  }
  absl::Status SaveChargedUpdate(DeviceStorage& storage) {
    return storage.SaveUpdate(finished_, context_, update_,
                              PrivacyCharge{kTask, "spent-in-the-clear"});
  }
  void GiveUp() {
    fs::remove_all(state());
    fs::remove(key_path());
  }
  void CopyFiles() {
    fs::copy(state(), directory_.File(StrCat("seen-", ++copies_)),
             fs::copy_options::recursive);
  }

  std::map<std::string, std::string> Files() {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(state())) {
      if (entry.is_regular_file() && entry.path().filename() != "lock") {
        files[entry.path()] = *ReadFile(entry.path());
      }
    }
    return files;
  }

  // The state as the last version that did not encrypt wrote it.
  void WriteFormat3(bool with_update) {
    fs::create_directories(state("blobs"));
    sqlite3* old = nullptr;
    ASSERT_EQ(sqlite3_open(state("device.sqlite").c_str(), &old), SQLITE_OK);
    const std::string tables = R"(
      CREATE TABLE owner (device TEXT NOT NULL);
      CREATE TABLE journal (
        slot INTEGER PRIMARY KEY CHECK (slot = 1),
        assignment BLOB NOT NULL, update_sha256 BLOB, update_size INTEGER);
      CREATE TABLE secagg (task BLOB PRIMARY KEY, journal BLOB NOT NULL,
                           masked_sha256 BLOB);
      CREATE TABLE revocation_list (
        slot INTEGER PRIMARY KEY CHECK (slot = 1), number INTEGER NOT NULL);
      CREATE TABLE privacy (task BLOB PRIMARY KEY, record BLOB NOT NULL);
      INSERT INTO owner VALUES ('device-1');
      PRAGMA user_version = 3;)";
    const std::string masked = "masked-in-the-clear";
    std::string rows = StrCat(
        "PRAGMA journal_mode = WAL; INSERT INTO journal VALUES (1, ",
        Blob(assignment_.SerializeAsString()), ", ",
        with_update ? StrCat(Blob(finished_.content_sha256.ToBytes()), ", ",
                             finished_.size_in_bytes)
                    : "NULL, NULL",
        "); INSERT INTO secagg VALUES (", Blob(kTask.ToBytes()), ", ",
        Blob("secret-in-the-clear"), ", ", Blob(Sha256Of(masked).ToBytes()),
        "); INSERT INTO revocation_list VALUES (1, 7);"
        "INSERT INTO privacy VALUES (",
        Blob(kTask.ToBytes()), ", ", Blob("spent-in-the-clear"), ");");
    ASSERT_EQ(sqlite3_exec(old, tables.c_str(), nullptr, nullptr, nullptr),
              SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(old, rows.c_str(), nullptr, nullptr, nullptr),
              SQLITE_OK);
    // Its last rows are in the log only.
    sqlite3_db_config(old, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_close(old);
    const auto write = [this](const std::string& name, std::string_view bytes) {
      ASSERT_THAT(WriteFileAtomically(state(name), bytes), IsOk());
    };
    write(StrCat("masked-", Sha256Of(masked).ToHex()), masked);
    write(StrCat("blobs/", Sha256Of(kBlob).ToHex()), kBlob);
    if (with_update) {
      write("update", update_bytes_);
    } else {
      write("snapshot",
            StrCat(assignment_.assignment_id(), "\nsnapshot-in-the-clear"));
      write("update.tmp", "torn-in-the-clear");
    }
  }
  static std::string Blob(std::string_view bytes) {
    constexpr std::string_view kHex = "0123456789abcdef";
    std::string text = "x'";
    for (const char c : bytes) {
      text += kHex[static_cast<uint8_t>(c) >> 4];
      text += kHex[static_cast<uint8_t>(c) & 15];
    }
    return StrCat(text, "'");
  }

  void ExpectTakenOver(bool with_update) {
    auto storage = MustOpen();
    const auto journal = storage->LoadJournal();
    ASSERT_THAT(journal, IsOk());
    ASSERT_TRUE(journal->has_value());
    EXPECT_THAT((*journal)->assignment, EqualsProto(assignment_));
    if (with_update) {
      EXPECT_EQ((*journal)->update, finished_);
      const auto source = storage->OpenUpdate(context_.assignment_id);
      ASSERT_THAT(source, IsOk());
      EXPECT_THAT((*source)->Read(0, update_bytes_.size()),
                  IsOkAndHolds(update_bytes_));
    } else {
      EXPECT_FALSE((*journal)->update.has_value());
      EXPECT_THAT(*storage->LoadSnapshot(context_.assignment_id),
                  Optional(Eq("snapshot-in-the-clear")));
    }
    const auto secagg = storage->LoadSecaggJournal(kTask);
    ASSERT_THAT(secagg.status(), IsOk());
    const auto bytes = secagg->bytes.bytes(RevealSecret());
    EXPECT_EQ(std::string(bytes.begin(), bytes.end()), "secret-in-the-clear");
    EXPECT_THAT(secagg->masked_input, Pointee(Eq("masked-in-the-clear")));
    EXPECT_THAT(storage->LoadListNumber(), IsOkAndHolds(7u));
    EXPECT_THAT(storage->LoadPrivacyRecords(),
                IsOkAndHolds(ElementsAre(
                    Pair(kTask, std::string("spent-in-the-clear")))));
  }
  void ExpectNothingInTheClear() {
    for (const auto& [path, bytes] : Files()) {
      EXPECT_EQ(bytes.find("in-the-clear"), std::string::npos) << path;
      EXPECT_EQ(bytes.find(update_bytes_.substr(5000, 64)), std::string::npos)
          << path;
      EXPECT_EQ(bytes.find(kTask.ToBytes()), std::string::npos) << path;
      for (const Digest& digest : {kTask, Sha256Of(kBlob)}) {
        EXPECT_EQ(path.find(digest.ToHex()), std::string::npos);
      }
    }
  }

  static constexpr std::string_view kBlob = "a package, in-the-clear";

  TempDirectory directory_;
  v1::Assignment assignment_;
  Update update_;
  const UpdateContext context_ = {AssignmentId("assignment-in-the-clear"),
                                  Digest()};
  std::string update_bytes_;
  FinishedUpdate finished_;
  int copies_ = 0;
};

TEST_F(EncryptedStateTest, NothingThatMattersStandsInTheClear) {
  FillState();
  ExpectNothingInTheClear();
  // Nor while it was written.
  int files = 0;
  for (const auto& entry :
       fs::recursive_directory_iterator(directory_.path())) {
    if (!entry.is_regular_file()) continue;
    ++files;
    EXPECT_EQ(ReadFile(entry.path())->find("in-the-clear"), std::string::npos)
        << entry.path();
  }
  EXPECT_GT(files, 10);
  ExpectTakenOver(true);
}

TEST_F(EncryptedStateTest, MissingKeyIsNamedAndNothingIsTouched) {
  FillState();
  const auto before = Files();
  fs::rename(key_path(), directory_.File("elsewhere"));
  EXPECT_THAT(
      Open(),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr(key_path()), HasSubstr("missing"),
                     HasSubstr("restore the key"), HasSubstr("state_key"))));
  EXPECT_FALSE(fs::exists(key_path())) << "a new key opens nothing";
  EXPECT_EQ(Files(), before);
  fs::rename(directory_.File("elsewhere"), key_path());
  ExpectTakenOver(true);
}

TEST_F(EncryptedStateTest, WrongKeyIsNamedAndNothingIsTouched) {
  FillState();
  const auto before = Files();
  fs::rename(key_path(), directory_.File("elsewhere"));
  ASSERT_THAT(MakeFileStateKey(key_path())->Create(), IsOk());
  EXPECT_THAT(Open(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(key_path()), HasSubstr("another"),
                             HasSubstr("restore the key"))));
  EXPECT_EQ(Files(), before);
}

TEST_F(EncryptedStateTest, KeyThatOthersMayReadIsRefused) {
  FillState();
  fs::permissions(key_path(), fs::perms::group_read, fs::perm_options::add);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("chmod 600")));
}

TEST_F(EncryptedStateTest, KeyThatCannotBeMadeIsNamed) {
  const auto key = MakeFileStateKey(directory_.File("no/such/key"));
  EXPECT_THAT(OpenSqliteDeviceStorage({.directory = state(),
                                       .device = DeviceId("device-1"),
                                       .state_key = key.get()}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/such/key")));
  EXPECT_THAT(
      OpenSqliteDeviceStorage(
          {.directory = state(), .device = DeviceId("device-1")}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("state_key")));
}

TEST_F(EncryptedStateTest, KeyOfAnEmptyStateIsUsedAndNotReplaced) {
  for (const bool confirmed : {false, true}) {
    SCOPED_TRACE(confirmed);
    // As after a start that was cut off between the two; or the state was given
    // up.
    const auto key = MakeFileStateKey(key_path());
    const auto made = key->Create();
    ASSERT_THAT(made, IsOk());
    if (confirmed) {
      ASSERT_THAT(key->Confirm(), IsOk());
    }
    ::testing::internal::CaptureStderr();
    FillState();
    const std::string log = ::testing::internal::GetCapturedStderr();
    // Whoever lost the state without knowing is told what went with it.
    EXPECT_EQ(log.find("how much privacy it has spent") != std::string::npos,
              confirmed)
        << log;
    EXPECT_TRUE(key->Load()->EqualsConstantTime(*made));
    GiveUp();
  }
}

TEST_F(EncryptedStateTest, RecordThatWasAlteredSaysWhatToDo) {
  FillState();
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(state("device.sqlite").c_str(), &database), SQLITE_OK);
  // A sealed record in another's place.
  ASSERT_EQ(sqlite3_exec(database,
                         "UPDATE records SET sealed = (SELECT sealed FROM "
                         "records WHERE name = 'revocation-list') WHERE name = "
                         "'assignment'",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(database);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr("altered"),
                                     HasSubstr("move the state directory"))));
}

TEST_F(EncryptedStateTest, StateInTheClearIsTakenOverAndEncrypted) {
  for (const bool with_update : {false, true}) {
    SCOPED_TRACE(with_update);
    WriteFormat3(with_update);
    ExpectTakenOver(with_update);
    ExpectNothingInTheClear();
    EXPECT_FALSE(fs::exists(state("blobs")));
    ExpectTakenOver(with_update);
    GiveUp();
  }
}

// Who can write to the directory could have made it up.
TEST_F(EncryptedStateTest, StateInTheClearIsRefusedWhereThereIsAKey) {
  FillState();
  fs::remove_all(state());
  WriteFormat3(true);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr("is not encrypted"),
                                     HasSubstr(key_path()),
                                     HasSubstr("Move the state directory"))));
  // It is as it was: an operator who knows better moves the key away.
  fs::remove(key_path());
  ExpectTakenOver(true);
}

TEST_F(EncryptedStateTest, FilesInTheClearAreNotTakenUpLater) {
  {
    auto storage = MustOpen();
    ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  }
  ASSERT_THAT(
      WriteFileAtomically(state("snapshot"),
                          StrCat(assignment_.assignment_id(), "\nmade up")),
      IsOk());
  auto storage = MustOpen();
  EXPECT_THAT(storage->LoadSnapshot(context_.assignment_id),
              IsOkAndHolds(Eq(std::nullopt)));
  EXPECT_FALSE(fs::exists(state("snapshot")));
}

// The process may die at any step of it; only whole steps show.
TEST_F(EncryptedStateTest, TakingOverMayBeCutOffAnywhere) {
  // After the key was made.
  WriteFormat3(true);
  ASSERT_THAT(MakeFileStateKey(key_path())->Create(), IsOk());
  ExpectTakenOver(true);
  GiveUp();
  // After the journal was sealed, before the key was confirmed: all files are
  // still there, one of them sealed as well, another one torn.
  WriteFormat3(true);
  {
    const auto key = MakeFileStateKey(key_path());
    const auto journal = JournalDatabase::Open(state("device.sqlite"),
                                               DeviceId("device-1"), *key);
    ASSERT_THAT(journal, IsOk());
    ASSERT_THAT(WriteSealedFile((*journal)->cipher(), state("update.sealed"),
                                "update", update_bytes_),
                IsOk());
    ASSERT_THAT(WriteFileAtomically(state("update.sealed.tmp"), "torn"),
                IsOk());
    CopyFiles();
  }
  // What the journal's closing did to the database is undone.
  fs::copy(directory_.File(StrCat("seen-", copies_)), state(),
           fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  fs::rename(key_path(), StrCat(key_path(), ".new"));
  {
    auto storage = MustOpen();
    // Already now, and not when SQLite happens to clean up.
    ExpectNothingInTheClear();
    EXPECT_FALSE(fs::exists(state("update.sealed.tmp")));
  }
  EXPECT_TRUE(fs::exists(key_path()));
  ExpectTakenOver(true);
}

TEST_F(EncryptedStateTest, StateOfTheFirstFormatIsTakenOver) {
  fs::create_directory(state());
  sqlite3* old = nullptr;
  ASSERT_EQ(sqlite3_open(state("device.sqlite").c_str(), &old), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(old,
                         "CREATE TABLE owner (device TEXT NOT NULL);"
                         "CREATE TABLE journal ("
                         "  slot INTEGER PRIMARY KEY CHECK (slot = 1),"
                         "  assignment BLOB NOT NULL, update_sha256 BLOB,"
                         "  update_size INTEGER);"
                         "INSERT INTO owner VALUES ('device-1');"
                         "INSERT INTO journal VALUES (1, x'0a026131', NULL, "
                         "NULL);"
                         "PRAGMA user_version = 1;",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(old);
  auto storage = MustOpen();
  const auto journal = storage->LoadJournal();
  ASSERT_THAT(journal, IsOk());
  ASSERT_TRUE(journal->has_value());
  EXPECT_EQ((*journal)->assignment.assignment_id(), "a1");
  EXPECT_THAT(storage->LoadListNumber(), IsOkAndHolds(0u));
}

TEST_F(EncryptedStateTest, StateOfTheSecondFormatIsTakenOver) {
  WriteFormat3(true);
  sqlite3* old = nullptr;
  ASSERT_EQ(sqlite3_open(state("device.sqlite").c_str(), &old), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(old, "DROP TABLE privacy; PRAGMA user_version = 2;",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(old);
  {
    auto storage = MustOpen();
    EXPECT_THAT(storage->LoadPrivacyRecords(), IsOkAndHolds(IsEmpty()));
    ASSERT_THAT(SaveChargedUpdate(*storage), IsOk());
  }
  ExpectTakenOver(true);
  ExpectNothingInTheClear();
}

TEST_F(EncryptedStateTest, StateOfAnotherDeviceIsNotTakenOver) {
  WriteFormat3(true);
  const auto key = MakeFileStateKey(key_path());
  EXPECT_THAT(OpenSqliteDeviceStorage({.directory = state(),
                                       .device = DeviceId("device-2"),
                                       .state_key = key.get()}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("belongs to device 'device-1'")));
  ExpectTakenOver(true);
}

TEST_F(EncryptedStateTest, NewerFormatIsRefused) {
  FillState();
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(state("device.sqlite").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "PRAGMA user_version = 5", nullptr, nullptr,
                         nullptr),
            SQLITE_OK);
  sqlite3_close(database);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("has format 5")));
}

}  // namespace
}  // namespace mledge
