#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "mledge/client/memory_device_storage.h"
#include "mledge/client/storage/sqlite_device_storage.h"
#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

// What a device keeps of secure aggregation: the same of every storage first,
// then what only files and databases can get wrong.

namespace mledge {
namespace {

namespace fs = std::filesystem;

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::Pointee;
using ::testing::UnorderedElementsAre;

const Digest kTask = Sha256Of(std::string_view("task"));
const Digest kOther = Sha256Of(std::string_view("another task"));

SecretBytes Secret(std::string_view bytes) {
  return SecretBytes::CopyFrom(bytes);
}
std::string Text(const SecretBytes& bytes) {
  const auto view = bytes.bytes(RevealSecret());
  return {view.begin(), view.end()};
}
std::shared_ptr<const std::string> Masked(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

struct Store {
  TempDirectory directory;
  std::unique_ptr<DeviceStorage> storage;
};

// A storage, and the same after its process ended.
struct Kind {
  const char* name;
  std::function<void(Store&)> open;
};

absl::StatusOr<std::unique_ptr<DeviceStorage>> OpenSqlite(
    const TempDirectory& directory) {
  const auto key = MakeFileStateKey(directory.File("state.key"));
  return OpenSqliteDeviceStorage({.directory = directory.File("state"),
                                  .device = DeviceId("device-1"),
                                  .state_key = key.get()});
}

class SecaggJournalTest : public ::testing::TestWithParam<Kind> {
 protected:
  SecaggJournalTest() { GetParam().open(store_); }

  DeviceStorage& storage() { return *store_.storage; }
  void Restart() { GetParam().open(store_); }
  SecaggJournal Load(const Digest& task) {
    auto journal = storage().LoadSecaggJournal(task);
    EXPECT_THAT(journal.status(), IsOk());
    return journal.ok() ? *std::move(journal) : SecaggJournal();
  }
  void Save(const Digest& task, std::string_view journal,
            MaskedInputAction action = MaskedInputAction::kKeep,
            std::shared_ptr<const std::string> masked = nullptr) {
    EXPECT_THAT(storage().SaveSecaggJournal(task, Secret(journal), action,
                                            std::move(masked)),
                IsOk());
  }

  Store store_;
};

TEST_P(SecaggJournalTest, NothingIsThereAtFirst) {
  const SecaggJournal journal = Load(kTask);
  EXPECT_TRUE(journal.bytes.empty());
  EXPECT_EQ(journal.masked_input, nullptr);
  EXPECT_EQ(*storage().LoadListNumber(), 0u);
}

TEST_P(SecaggJournalTest, EachTaskHasItsOwnAndKeepsItOverARestart) {
  Save(kTask, "one");
  Save(kOther, "two", MaskedInputAction::kStore, Masked("masked"));
  Restart();
  EXPECT_EQ(Text(Load(kTask).bytes), "one");
  EXPECT_EQ(Load(kTask).masked_input, nullptr);
  EXPECT_EQ(Text(Load(kOther).bytes), "two");
  EXPECT_THAT(Load(kOther).masked_input, Pointee(std::string("masked")));
}

TEST_P(SecaggJournalTest, MaskedInputIsKeptReplacedAndErased) {
  Save(kTask, "1", MaskedInputAction::kStore, Masked("first"));
  Save(kTask, "2");
  EXPECT_THAT(Load(kTask).masked_input, Pointee(std::string("first")));
  Save(kTask, "3", MaskedInputAction::kStore, Masked("second"));
  Restart();
  EXPECT_EQ(Text(Load(kTask).bytes), "3");
  EXPECT_THAT(Load(kTask).masked_input, Pointee(std::string("second")));
  Save(kTask, "4", MaskedInputAction::kErase);
  EXPECT_EQ(Load(kTask).masked_input, nullptr);
  Restart();
  EXPECT_EQ(Text(Load(kTask).bytes), "4");
  EXPECT_EQ(Load(kTask).masked_input, nullptr);
}

TEST_P(SecaggJournalTest, OutlivesTheAssignment) {
  v1::Assignment assignment;
  assignment.set_assignment_id("a1");
  ASSERT_THAT(storage().SaveAssignment(assignment), IsOk());
  Save(kTask, "spent", MaskedInputAction::kStore, Masked("masked"));
  ASSERT_THAT(storage().Forget(AssignmentId("a1")), IsOk());
  assignment.set_assignment_id("a2");
  ASSERT_THAT(storage().SaveAssignment(assignment), IsOk());
  Restart();
  EXPECT_EQ(Text(Load(kTask).bytes), "spent");
  EXPECT_THAT(Load(kTask).masked_input, Pointee(std::string("masked")));
}

TEST_P(SecaggJournalTest, EmptyJournalIsNoError) {
  Save(kTask, "");
  Restart();
  EXPECT_TRUE(Load(kTask).bytes.empty());
}

TEST_P(SecaggJournalTest, ListNumberOnlyGoesUp) {
  ASSERT_THAT(storage().SaveListNumber(7), IsOk());
  ASSERT_THAT(storage().SaveListNumber(3), IsOk());
  Restart();
  EXPECT_EQ(*storage().LoadListNumber(), 7u);
}

TEST_P(SecaggJournalTest, PrivacyRecordsAreReplacedAndKept) {
  EXPECT_THAT(storage().LoadPrivacyRecords(), IsOkAndHolds(IsEmpty()));
  const std::string binary("\0\x80 one", 6);
  Update update;
  update.weight = 1;
  const UpdateContext context = {AssignmentId("a1"), Digest()};
  const std::string bytes = *SerializeUpdate(update, context);
  for (const PrivacyCharge& charge :
       {PrivacyCharge{kTask, "first"}, PrivacyCharge{kOther, ""},
        PrivacyCharge{kTask, binary}}) {
    v1::Assignment assignment;
    assignment.set_assignment_id("a1");
    ASSERT_THAT(storage().SaveAssignment(assignment), IsOk());
    ASSERT_THAT(storage().SaveUpdate({Sha256Of(bytes), bytes.size()}, context,
                                     update, charge),
                IsOk());
    ASSERT_THAT(storage().Forget(AssignmentId("a1")), IsOk());
  }
  Restart();
  EXPECT_THAT(storage().LoadPrivacyRecords(),
              IsOkAndHolds(
                  UnorderedElementsAre(Pair(kTask, binary), Pair(kOther, ""))));
}

INSTANTIATE_TEST_SUITE_P(
    Storages, SecaggJournalTest,
    ::testing::Values(Kind{"memory",
                           [](Store& store) {
                             auto* old = static_cast<MemoryDeviceStorage*>(
                                 store.storage.get());
                             store.storage =
                                 old == nullptr
                                     ? std::make_unique<MemoryDeviceStorage>()
                                     : MemoryDeviceStorage::AfterCrash(*old);
                           }},
                      Kind{"sqlite",
                           [](Store& store) {
                             store.storage.reset();
                             store.storage =
                                 OpenSqlite(store.directory).value();
                           }}),
    [](const auto& info) { return info.param.name; });

TEST(MemorySecaggJournalTest, FullStorageKeepsTheOldJournal) {
  MemoryDeviceStorage storage;
  ASSERT_THAT(storage.SaveSecaggJournal(kTask, Secret("old"),
                                        MaskedInputAction::kErase, nullptr),
              IsOk());
  storage.set_capacity(3);
  EXPECT_THAT(
      storage.SaveSecaggJournal(kTask, Secret("new"), MaskedInputAction::kStore,
                                Masked("1234")),
      StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(Text(storage.LoadSecaggJournal(kTask)->bytes), "old");
}

class SqliteSecaggJournalTest : public ::testing::Test {
 protected:
  std::string state(std::string_view file = "") {
    return directory_.File(StrCat("state/", file));
  }
  std::unique_ptr<DeviceStorage> Open() {
    auto storage = OpenSqlite(directory_);
    EXPECT_THAT(storage.status(), IsOk());
    return storage.ok() ? *std::move(storage) : nullptr;
  }
  std::vector<std::string> MaskedFiles() {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(state())) {
      const std::string name = entry.path().filename();
      if (name.starts_with("masked-")) files.push_back(name);
    }
    return files;
  }

  // As it lies in the table, read past the storage.
  std::string SealedSecaggRecord() {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open_v2(state("device.sqlite").c_str(), &database,
                              SQLITE_OPEN_READONLY, nullptr),
              SQLITE_OK);
    sqlite3_stmt* row = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(database,
                                 "SELECT sealed FROM records WHERE name LIKE "
                                 "'secagg-%'",
                                 -1, &row, nullptr),
              SQLITE_OK);
    EXPECT_EQ(sqlite3_step(row), SQLITE_ROW);
    const std::string sealed(
        static_cast<const char*>(sqlite3_column_blob(row, 0)),
        static_cast<size_t>(sqlite3_column_bytes(row, 0)));
    sqlite3_finalize(row);
    sqlite3_close(database);
    return sealed;
  }

  TempDirectory directory_;
};

TEST_F(SqliteSecaggJournalTest, NobodyElseMayReadIt) {
  // Also where an older version left it readable.
  Open().reset();
  ASSERT_EQ(::chmod(state("device.sqlite").c_str(), 0644), 0);
  auto storage = Open();
  ASSERT_THAT(
      storage->SaveSecaggJournal(kTask, Secret("secret"),
                                 MaskedInputAction::kStore, Masked("masked")),
      IsOk());
  int files = 0;
  for (const auto& entry : fs::directory_iterator(state())) {
    if (!entry.is_regular_file()) continue;
    ++files;
    EXPECT_EQ(entry.status().permissions() &
                  (fs::perms::group_all | fs::perms::others_all),
              fs::perms::none)
        << entry.path();
  }
  EXPECT_GE(files, 3);
}

// Whoever gets the key one day must not find in the file what is over.
TEST_F(SqliteSecaggJournalTest, SealedSecretsAreOverwrittenWhenTheSessionEnds) {
  // A restart in between moves what the WAL holds to the database.
  for (const bool restart : {false, true}) {
    auto storage = Open();
    ASSERT_THAT(
        storage->SaveSecaggJournal(kTask, Secret(std::string(200, 's')),
                                   MaskedInputAction::kStore, Masked("masked")),
        IsOk());
    if (restart) {
      storage.reset();
      storage = Open();
    }
    const std::string sealed = SealedSecaggRecord();
    ASSERT_GT(sealed.size(), 200u);
    const std::string part = sealed.substr(100, 100);
    const char* const holder = restart ? "device.sqlite" : "device.sqlite-wal";
    EXPECT_NE(ReadFile(state(holder))->find(part), std::string::npos);
    ASSERT_THAT(storage->SaveSecaggJournal(kTask, Secret("over"),
                                           MaskedInputAction::kErase, nullptr),
                IsOk());
    for (const char* file : {"device.sqlite", "device.sqlite-wal"}) {
      EXPECT_EQ(ReadFile(state(file))->find(part), std::string::npos)
          << file << (restart ? " after a restart" : "");
    }
  }
}

TEST_F(SqliteSecaggJournalTest, EveryStepSurvivesPowerLoss) {
  const auto copy_of_state = [this](const TempDirectory& to) {
    fs::copy(state(), to.File("state"), fs::copy_options::recursive);
    fs::copy(directory_.File("state.key"), to.File("state.key"));
  };
  TempDirectory stored;
  TempDirectory erased;
  auto storage = Open();
  ASSERT_THAT(
      storage->SaveSecaggJournal(kTask, Secret("made"),
                                 MaskedInputAction::kStore, Masked("masked")),
      IsOk());
  copy_of_state(stored);
  ASSERT_THAT(storage->SaveSecaggJournal(kTask, Secret("over"),
                                         MaskedInputAction::kErase, nullptr),
              IsOk());
  copy_of_state(erased);
  const auto first = OpenSqlite(stored).value()->LoadSecaggJournal(kTask);
  EXPECT_EQ(Text(first->bytes), "made");
  EXPECT_THAT(first->masked_input, Pointee(std::string("masked")));
  const auto second = OpenSqlite(erased).value()->LoadSecaggJournal(kTask);
  EXPECT_EQ(Text(second->bytes), "over");
  EXPECT_EQ(second->masked_input, nullptr);
}

TEST_F(SqliteSecaggJournalTest, MaskedInputThatNoJournalNamesIsRemoved) {
  auto storage = Open();
  ASSERT_THAT(
      storage->SaveSecaggJournal(kTask, Secret("j"), MaskedInputAction::kStore,
                                 Masked("masked")),
      IsOk());
  ASSERT_THAT(WriteFileAtomically(state("masked-cut-off.tmp"), "x"), IsOk());
  storage.reset();
  storage = Open();
  EXPECT_EQ(MaskedFiles().size(), 1u);
  EXPECT_THAT(storage->LoadSecaggJournal(kTask)->masked_input,
              Pointee(std::string("masked")));
  ASSERT_THAT(storage->SaveSecaggJournal(kTask, Secret("k"),
                                         MaskedInputAction::kErase, nullptr),
              IsOk());
  EXPECT_THAT(MaskedFiles(), IsEmpty());
}

TEST_F(SqliteSecaggJournalTest, AlteredMaskedInputIsNone) {
  auto storage = Open();
  ASSERT_THAT(
      storage->SaveSecaggJournal(kTask, Secret("j"), MaskedInputAction::kStore,
                                 Masked("masked")),
      IsOk());
  std::ofstream(state(MaskedFiles().at(0))) << "MASKED";
  const auto journal = storage->LoadSecaggJournal(kTask);
  ASSERT_THAT(journal.status(), IsOk());
  EXPECT_EQ(Text(journal->bytes), "j");
  EXPECT_EQ(journal->masked_input, nullptr);
}

}  // namespace
}  // namespace mledge
