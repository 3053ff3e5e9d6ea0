#include "mledge/coordinator/storage/sqlite_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Transaction OneEvent(int64_t sequence) {
  Transaction transaction;
  transaction.events.push_back({TaskId("t"), sequence, "event"});
  return transaction;
}

std::unique_ptr<SqliteStorage> OpenStorage(const std::string& directory) {
  auto storage = SqliteStorage::Open(directory);
  EXPECT_THAT(storage, IsOk());
  return storage.ok() ? *std::move(storage) : nullptr;
}

TEST(SqliteStorageTest, KeepsWhatWasCommitted) {
  TempDirectory directory;
  {
    auto storage = OpenStorage(directory.path());
    ASSERT_THAT(storage->Commit(OneEvent(1)), IsOk());
  }
  auto storage = OpenStorage(directory.path());
  const auto events = storage->ReadEvents(TaskId("t"), 0);
  ASSERT_THAT(events, IsOk());
  EXPECT_THAT(*events, SizeIs(1));
}

TEST(SqliteStorageTest, SecondCoordinatorIsToldWhichProcessHoldsTheDirectory) {
  TempDirectory directory;
  auto storage = OpenStorage(directory.path());
  EXPECT_THAT(SqliteStorage::Open(directory.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(StrCat("process ", getpid())),
                             HasSubstr("state_directory"))));
}

TEST(SqliteStorageTest, CoordinatorThatLostOwnershipWritesNothingMore) {
  TempDirectory directory;
  auto first = OpenStorage(directory.path());
  ASSERT_THAT(first->Commit(OneEvent(1)), IsOk());
  // What the lock cannot see: the lock file was removed.
  fs::remove(directory.File("lock"));
  auto second = OpenStorage(directory.path());
  EXPECT_THAT(
      first->Commit(OneEvent(2)),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("taken over")));
  EXPECT_THAT(first->CollectGarbage(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  // Nor may it write into an upload that the other one takes, or remove it.
  const AssignmentId upload("upload");
  const std::string bytes = "an update";
  {
    const auto writer = second->OpenSpoolWriter(
        upload, Sha256Of(std::string_view(bytes)), bytes.size());
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT(
        (*writer)->Append(
            {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}),
        IsOk());
    ASSERT_THAT((*writer)->Sync(), IsOk());
  }
  EXPECT_THAT(
      first->OpenSpoolWriter(upload, Sha256Of(std::string_view("other")), 5),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("taken over")));
  EXPECT_THAT(first->DiscardSpooled(std::span(&upload, 1)),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(second->ReadSpooled(upload), IsOkAndHolds(bytes));
  EXPECT_THAT(second->Commit(OneEvent(3)), IsOk());
  const auto events = second->ReadEvents(TaskId("t"), 0);
  ASSERT_THAT(events, IsOk());
  ASSERT_THAT(*events, SizeIs(2));
  EXPECT_EQ((*events)[1].sequence, 3);
}

TEST(SqliteStorageTest, UnwritableDirectoryIsNamed) {
  TempDirectory directory;
  chmod(directory.path().c_str(), 0500);
  // Root may write everywhere: a child gives that up.
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(2);
    const absl::Status status = SqliteStorage::Open(directory.path()).status();
    const std::string message(status.message());
    const bool right = absl::IsPermissionDenied(status) &&
                       message.find(directory.path()) != std::string::npos &&
                       message.find("state_directory") != std::string::npos;
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  chmod(directory.path().c_str(), 0700);
}

TEST(SqliteStorageTest, DirectoryThatIsAFileIsNamed) {
  TempDirectory directory;
  std::ofstream(directory.File("file")) << "x";
  const auto storage = SqliteStorage::Open(directory.File("file"));
  EXPECT_FALSE(storage.ok());
  EXPECT_THAT(std::string(storage.status().message()),
              HasSubstr(directory.File("file")));
}

TEST(SqliteStorageTest, DamagedDatabaseIsDataLossWithRemedy) {
  TempDirectory directory;
  std::ofstream(directory.File("coordinator.db")) << std::string(10000, '?');
  EXPECT_THAT(
      SqliteStorage::Open(directory.path()),
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr("coordinator.db"), HasSubstr("backup"))));
}

TEST(SqliteStorageTest, BlobThatTheDiskDamagedIsDataLossWithRemedy) {
  TempDirectory directory;
  auto storage = OpenStorage(directory.path());
  const std::string bytes(3'000'000, 'b');
  const auto name = storage->PutBlob(bytes);
  ASSERT_THAT(name, IsOk());
  EXPECT_THAT(ReadVerifiedBlob(*storage, *name), IsOkAndHolds(bytes));
  EXPECT_THAT(VerifyBlob(*storage, *name), IsOk());
  const std::string place = StrCat("blobs/", name->ToHex().substr(0, 2), "/",
                                   name->ToHex().substr(2));
  {
    std::fstream file(directory.File(place));
    file.seekp(2'000'000);
    file.put('c');
    ASSERT_TRUE(file.good());
  }
  const auto damaged =
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr(name->ToHex()), HasSubstr("damaged"),
                     HasSubstr(place), HasSubstr("backup")));
  EXPECT_THAT(ReadVerifiedBlob(*storage, *name), damaged);
  EXPECT_THAT(VerifyBlob(*storage, *name), damaged);
  fs::remove(directory.File(place));
  EXPECT_THAT(ReadVerifiedBlob(*storage, *name),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("missing")));
}

TEST(SqliteStorageTest, GarbageCollectionKeepsBlobsOfRecordsOnly) {
  TempDirectory directory;
  auto storage = OpenStorage(directory.path());
  const Digest kept = *storage->PutBlob("kept");
  const Digest replaced = *storage->PutBlob("replaced");
  Transaction transaction;
  TaskRecord task;
  task.id = TaskId("t");
  task.signed_task = kept;
  task.package = replaced;
  transaction.tasks = {task};
  ASSERT_THAT(storage->Commit(transaction), IsOk());
  transaction.tasks[0].package = kept;
  ASSERT_THAT(storage->Commit(transaction), IsOk());
  ASSERT_THAT(storage->CollectGarbage(), IsOk());
  EXPECT_THAT(storage->OpenBlob(kept), IsOk());
  EXPECT_THAT(storage->OpenBlob(replaced),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(SqliteStorageTest, GarbageCollectionDropsSpooledBytesNobodyWaitsFor) {
  TempDirectory directory;
  auto storage = OpenStorage(directory.path());
  TaskRecord task;
  task.id = TaskId("t");
  AssignmentRecord waiting;
  waiting.id = AssignmentId("waiting");
  waiting.task = TaskId("t");
  AssignmentRecord expired = waiting;
  expired.id = AssignmentId("expired");
  expired.state = AssignmentState::kExpired;
  ASSERT_THAT(
      storage->Commit({.tasks = {task}, .assignments = {waiting, expired}}),
      IsOk());
  for (const char* id : {"waiting", "expired", "unknown"}) {
    auto writer = storage->OpenSpoolWriter(AssignmentId(id), Digest(), 10);
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT((*writer)->Append(std::vector<uint8_t>(5, 1)), IsOk());
  }
  ASSERT_THAT(storage->CollectGarbage(), IsOk());
  const auto offset = [&](const char* id) {
    return (*storage->OpenSpoolWriter(AssignmentId(id), Digest(), 10))
        ->offset();
  };
  EXPECT_EQ(offset("waiting"), 5u);
  EXPECT_EQ(offset("expired"), 0u);
  EXPECT_EQ(offset("unknown"), 0u);
}

TEST(SqliteStorageTest, EmptyDirectoryLoadsAsNothing) {
  TempDirectory directory;
  const auto state = OpenStorage(directory.File("new/folder"))->Load();
  ASSERT_THAT(state, IsOk());
  EXPECT_THAT(state->tasks, IsEmpty());
}

}  // namespace
}  // namespace mledge
