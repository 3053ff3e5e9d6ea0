// kill -9 at any moment: what a child process was told to be durable is there,
// and everything can be opened again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

std::string BlobOf(int64_t i) {
  return StrCat(i, std::string(static_cast<size_t>(i % 50) * 997, 'b'));
}

std::string UpdateOf(int64_t i) {
  std::string bytes(20000, '\0');
  for (size_t k = 0; k < bytes.size(); ++k) {
    bytes[k] = static_cast<char>((k * 31 + static_cast<size_t>(i)) % 251);
  }
  return bytes;
}

AssignmentId IdOf(int64_t i) { return AssignmentId(StrCat("a-", i)); }

// Writes until it is killed; says each number once all of its things are
// durable.
[[noreturn]] void WriteForever(const std::string& directory, int64_t first,
                               int pipe) {
  auto storage = SqliteStorage::Open(directory);
  if (!storage.ok()) _exit(2);
  for (int64_t i = first;; ++i) {
    const absl::StatusOr<Digest> blob = (*storage)->PutBlob(BlobOf(i));
    if (!blob.ok()) _exit(3);
    const std::string update = UpdateOf(i);
    auto writer =
        (*storage)->OpenSpoolWriter(IdOf(i), Sha256Of(update), update.size());
    if (!writer.ok()) _exit(4);
    while ((*writer)->offset() < update.size()) {
      const size_t offset = (*writer)->offset();
      const size_t size = std::min<size_t>(3000, update.size() - offset);
      const auto* data = reinterpret_cast<const uint8_t*>(update.data());
      if (!(*writer)->Append({data + offset, size}).ok()) _exit(5);
    }
    if (!(*writer)->Sync().ok()) _exit(6);
    Transaction transaction;
    TaskRecord task;
    task.id = TaskId(StrCat("task-", i));
    task.signed_task = *blob;
    task.package = *blob;
    transaction.tasks = {task};
    transaction.events = {{TaskId("t"), i, StrCat("event ", i)}};
    if (!(*storage)->Commit(transaction).ok()) _exit(7);
    if (write(pipe, &i, sizeof(i)) != sizeof(i)) _exit(8);
  }
}

class CrashTest : public ::testing::Test {
 protected:
  // Lets a child write until it has said `wanted` numbers, kills it a moment
  // later, and returns the last number it said.
  int64_t RunAndKill(int64_t first, int64_t wanted, useconds_t moment) {
    int pipes[2];
    EXPECT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(pipes[0]);
      WriteForever(directory_.path(), first, pipes[1]);
    }
    close(pipes[1]);
    int64_t last = first - 1;
    for (int64_t seen = 0; seen < wanted; ++seen) {
      if (read(pipes[0], &last, sizeof(last)) != sizeof(last)) break;
    }
    // Not waiting for anything: the kill shall fall somewhere in the middle.
    usleep(moment);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "child failed by itself: " << status;
    int64_t more = 0;
    while (read(pipes[0], &more, sizeof(more)) == sizeof(more)) last = more;
    close(pipes[0]);
    return last;
  }

  TempDirectory directory_;
};

TEST_F(CrashTest, WhatWasSaidToBeDurableSurvivesTwentyKills) {
  const uint64_t seed = TestSeed(29);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "kill moments"});
  int64_t said = 0;
  for (int kill_number = 0; kill_number < 20; ++kill_number) {
    SCOPED_TRACE(StrCat("kill ", kill_number));
    said = RunAndKill(said + 1, 1 + kill_number % 3,
                      static_cast<useconds_t>(random.UniformBelow(3000)));
    auto storage = SqliteStorage::Open(directory_.path());
    ASSERT_THAT(storage, IsOk());
    const auto events = (*storage)->ReadEvents(TaskId("t"), 0);
    ASSERT_THAT(events, IsOk());
    // One more may be durable whose word did not get out.
    ASSERT_GE(static_cast<int64_t>(events->size()), said);
    ASSERT_LE(static_cast<int64_t>(events->size()), said + 1);
    for (int64_t i = 1; i <= said; ++i) {
      ASSERT_EQ((*events)[static_cast<size_t>(i - 1)].sequence, i);
      const auto blob =
          (*storage)->OpenBlob(Sha256Of(std::string_view(BlobOf(i))));
      ASSERT_THAT(blob, IsOk());
      ASSERT_THAT((*blob)->Read(0, 1 << 20), IsOkAndHolds(BlobOf(i)));
      const std::string update = UpdateOf(i);
      auto writer =
          (*storage)->OpenSpoolWriter(IdOf(i), Sha256Of(update), update.size());
      ASSERT_THAT(writer, IsOk());
      ASSERT_EQ((*writer)->offset(), update.size());
      ASSERT_THAT((*writer)->Sync(), IsOkAndHolds(Sha256Of(update)));
    }
    said = static_cast<int64_t>(events->size());
  }
}

// Power loss takes the write-ahead log's last, unsynced pages: a log that ends
// anywhere must leave a prefix of the transactions, whole ones only.
TEST_F(CrashTest, LogCutAnywhereLeavesAPrefixOfTheTransactions) {
  const std::string log = directory_.File("live/coordinator.db-wal");
  constexpr int64_t kTransactions = 12;
  auto live = SqliteStorage::Open(directory_.File("live"));
  ASSERT_THAT(live, IsOk());
  for (int64_t i = 1; i <= kTransactions; ++i) {
    Transaction transaction;
    transaction.events = {{TaskId("a"), i, "x"}, {TaskId("b"), i, "y"}};
    ASSERT_THAT((*live)->Commit(transaction), IsOk());
  }
  const auto size = fs::file_size(log);
  size_t least = kTransactions;
  for (uint64_t cut = 0; cut <= size; cut += 1531) {
    SCOPED_TRACE(StrCat("log cut at byte ", cut));
    const fs::path copy = directory_.File("copy");
    fs::remove_all(copy);
    fs::create_directories(copy);
    fs::copy(directory_.File("live/coordinator.db"), copy / "coordinator.db");
    fs::copy(log, copy / "coordinator.db-wal");
    fs::resize_file(copy / "coordinator.db-wal", cut);
    auto storage = SqliteStorage::Open(copy);
    ASSERT_THAT(storage, IsOk());
    const auto a = (*storage)->ReadEvents(TaskId("a"), 0);
    const auto b = (*storage)->ReadEvents(TaskId("b"), 0);
    ASSERT_THAT(a, IsOk());
    ASSERT_THAT(b, IsOk());
    ASSERT_EQ(a->size(), b->size());
    for (size_t i = 0; i < a->size(); ++i) {
      ASSERT_EQ((*a)[i].sequence, static_cast<int64_t>(i) + 1);
    }
    least = std::min(least, a->size());
  }
  EXPECT_LT(least, static_cast<size_t>(kTransactions));
}

}  // namespace
}  // namespace mledge
