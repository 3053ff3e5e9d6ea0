#include "mledge/coordinator/storage/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>

#include "mledge/coordinator/storage/records.h"
#include "mledge/core/storage/schema_migrations.h"
#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;

class SchemaTest : public ::testing::Test {
 protected:
  std::unique_ptr<Database> OpenDatabase() {
    absl::StatusOr<std::unique_ptr<Database>> database =
        mledge::OpenDatabase(directory_.File("test.db"));
    EXPECT_THAT(database, IsOk());
    return *std::move(database);
  }

  TempDirectory directory_;
};

TEST_F(SchemaTest, StartsEmptyAtVersionZero) {
  EXPECT_THAT(SchemaVersion(*OpenDatabase()), IsOkAndHolds(0));
}

TEST_F(SchemaTest, MigratesFromEveryOlderVersionWithoutLosingRows) {
  for (int from = 0; from <= LatestSchemaVersion(); ++from) {
    SCOPED_TRACE(StrCat("from version ", from));
    const std::string path = directory_.File(StrCat("from-", from, ".db"));
    {
      auto database = mledge::OpenDatabase(path);
      ASSERT_THAT(database, IsOk());
      ASSERT_THAT(MigrateSchema(**database, from), IsOk());
      ASSERT_THAT(SchemaVersion(**database), IsOkAndHolds(from));
      if (from >= 1) {
        ASSERT_THAT(
            (*database)->Execute(
                "INSERT INTO tasks (id, signed_task, package, submitted_by, "
                "submitted_at, state, reason, round, version, "
                "bytes_received, bytes_sent) VALUES ('t', zeroblob(32), "
                "zeroblob(32), "
                "'op', 5, 0, '', 3, 2, 7, 8);"
                "INSERT INTO rounds VALUES ('t', 3, 0, 2, 1, 9);"
                "INSERT INTO assignments VALUES ('t-3-0', 't', 'd', 3, 0, 4, "
                "2, 1, 9, 1, zeroblob(32));"
                "INSERT INTO devices (id, role, population, software, "
                "last_seen, assignments, acknowledged, failed) VALUES "
                "('d', 'device', 'default', '', 5, 't=4', 3, 1);"),
            IsOk());
      }
    }
    auto database = mledge::OpenDatabase(path);
    ASSERT_THAT(database, IsOk());
    ASSERT_THAT(MigrateSchema(**database), IsOk());
    EXPECT_THAT(SchemaVersion(**database), IsOkAndHolds(LatestSchemaVersion()));
    const absl::StatusOr<StoredState> state = LoadRecords(**database);
    ASSERT_THAT(state, IsOk());
    ASSERT_EQ(state->tasks.size(), from >= 1 ? 1u : 0u);
    if (from >= 1) {
      EXPECT_EQ(state->tasks[0].round, RoundNumber(3));
      ASSERT_EQ(state->assignments.size(), 1u);
      EXPECT_EQ(state->assignments[0].ordinal, AssignmentOrdinal(4));
      ASSERT_EQ(state->devices.size(), 1u);
      EXPECT_TRUE(state->devices[0].last_assigned.empty());
    }
  }
}

TEST_F(SchemaTest, RefusesADatabaseOfANewerProgram) {
  std::unique_ptr<Database> database = OpenDatabase();
  ASSERT_THAT(database->Execute("PRAGMA user_version = 999"), IsOk());
  EXPECT_THAT(MigrateSchema(*database),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("newer mledge-coordinator")));
}

TEST_F(SchemaTest, VersionThatIsNoneIsDataLossWithRemedy) {
  std::unique_ptr<Database> database = OpenDatabase();
  ASSERT_THAT(database->Execute("PRAGMA user_version = -1"), IsOk());
  EXPECT_THAT(MigrateSchema(*database),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("backup")));
}

TEST_F(SchemaTest, FullDatabaseIsResourceExhaustedAndRollsBack) {
  std::unique_ptr<Database> database = OpenDatabase();
  ASSERT_THAT(MigrateSchema(*database), IsOk());
  ASSERT_THAT(database->Execute("PRAGMA max_page_count = 40"), IsOk());
  absl::Status status = absl::OkStatus();
  int64_t committed = 0;
  for (; status.ok() && committed < 1000; ++committed) {
    status = database->InTransaction([&] {
      Transaction transaction;
      transaction.events.push_back(
          {TaskId("t"), committed + 1, std::string(4096, 'x')});
      return WriteRecords(*database, transaction);
    });
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("test.db")));
  const auto events = LoadEvents(*database, TaskId("t"), 0);
  ASSERT_THAT(events, IsOk());
  EXPECT_EQ(static_cast<int64_t>(events->size()), committed - 1);
}

TEST_F(SchemaTest, FileThatIsNoDatabaseIsDataLossWithRemedy) {
  std::ofstream(directory_.File("test.db")) << std::string(8192, 'n');
  EXPECT_THAT(mledge::OpenDatabase(directory_.File("test.db")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("backup")));
}

TEST_F(SchemaTest, DamagedPageIsDataLossWithRemedy) {
  {
    std::unique_ptr<Database> database = OpenDatabase();
    ASSERT_THAT(MigrateSchema(*database), IsOk());
    ASSERT_THAT(database->Execute("PRAGMA wal_checkpoint(TRUNCATE)"), IsOk());
  }
  {
    std::fstream file(directory_.File("test.db"),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    file << std::string(3 * 4096, '\x7f');
  }
  const auto database = mledge::OpenDatabase(directory_.File("test.db"));
  EXPECT_THAT(database,
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("backup")));
}

}  // namespace
}  // namespace mledge
