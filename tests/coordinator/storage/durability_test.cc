// What must have reached the disk when a call returns. A kill does not show it,
// because the kernel lives on; so this program stands between the storage and
// the system, and sees which files and folders are synced and when.

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <climits>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "mledge/coordinator/storage/sqlite_storage.h"
#include "mledge/core/file.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace {

std::mutex mutex;
std::set<std::string>& SyncedPaths() {
  static auto& paths = *new std::set<std::string>();
  return paths;
}

int Recorded(int fd, const char* name) {
  char path[PATH_MAX] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (readlink(link.c_str(), path, sizeof(path) - 1) > 0) {
    const std::lock_guard<std::mutex> lock(mutex);
    SyncedPaths().insert(path);
  }
  return reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, name))(fd);
}

}  // namespace

// In place of the C library's, for everything in this program.
extern "C" int fsync(int fd) { return Recorded(fd, "fsync"); }
extern "C" int fdatasync(int fd) { return Recorded(fd, "fdatasync"); }

namespace mledge {
namespace {

namespace fs = std::filesystem;

class DurabilityTest : public ::testing::Test {
 protected:
  DurabilityTest() : root_(fs::canonical(directory_.path())) {}

  void Forget() {
    const std::lock_guard<std::mutex> lock(mutex);
    SyncedPaths().clear();
  }
  bool Synced(const fs::path& path) {
    const std::lock_guard<std::mutex> lock(mutex);
    return SyncedPaths().contains(path.string());
  }
  std::unique_ptr<SqliteStorage> OpenStorage() {
    auto storage = SqliteStorage::Open(root_ / "state");
    EXPECT_THAT(storage, IsOk());
    Forget();
    return *std::move(storage);
  }
  fs::path BlobFolder() {
    return root_ / "state/blobs" / Sha256Of(kBytes).ToHex().substr(0, 2);
  }
  std::unique_ptr<SpoolWriter> OpenWriter(SqliteStorage& storage) {
    auto writer = storage.OpenSpoolWriter(AssignmentId("a"), Sha256Of(kBytes),
                                          kBytes.size());
    EXPECT_THAT(writer, IsOk());
    return *std::move(writer);
  }
  // The spool's one file of an update.
  fs::path SpoolFile() {
    for (const auto& entry : fs::directory_iterator(root_ / "state/spool")) {
      if (entry.path().filename() != "boot-id") return entry.path();
    }
    return {};
  }

  static constexpr std::string_view kBytes = "bytes that must not be lost";
  TempDirectory directory_;
  const fs::path root_;
};

TEST_F(DurabilityTest, NewFoldersAreNamedOnTheDisk) {
  Forget();
  ASSERT_THAT(EnsureWritableDirectory(root_ / "a/b/c"), IsOk());
  EXPECT_TRUE(Synced(root_));
  EXPECT_TRUE(Synced(root_ / "a"));
  EXPECT_TRUE(Synced(root_ / "a/b"));
}

TEST_F(DurabilityTest, FileIsSyncedBeforeItsFolder) {
  Forget();
  ASSERT_THAT(WriteFileAtomically(root_ / "file", kBytes), IsOk());
  EXPECT_TRUE(Synced(root_));
  const std::lock_guard<std::mutex> lock(mutex);
  EXPECT_THAT(SyncedPaths(), ::testing::Contains(::testing::StartsWith(
                                 (root_ / "file.tmp-").string())));
}

TEST_F(DurabilityTest, StateDirectoryIsNamedOnTheDisk) {
  Forget();
  ASSERT_THAT(SqliteStorage::Open(root_ / "state"), IsOk());
  EXPECT_TRUE(Synced(root_));
  EXPECT_TRUE(Synced(root_ / "state"));
}

TEST_F(DurabilityTest, BlobsFoldersAreSynced) {
  const auto storage = OpenStorage();
  ASSERT_THAT(storage->PutBlob(kBytes), IsOk());
  EXPECT_TRUE(Synced(root_ / "state/blobs"));
  EXPECT_TRUE(Synced(BlobFolder()));
}

// The process before may have died between giving the name and syncing it, or
// another thread may be about to.
TEST_F(DurabilityTest, FoldersOfABlobThatIsThereAreSyncedToo) {
  const auto storage = OpenStorage();
  ASSERT_THAT(storage->PutBlob(kBytes), IsOk());
  Forget();
  ASSERT_THAT(storage->PutBlob(kBytes), IsOk());
  EXPECT_TRUE(Synced(root_ / "state/blobs"));
  EXPECT_TRUE(Synced(BlobFolder()));
}

TEST_F(DurabilityTest, SpoolSyncsTheBytesAndTheName) {
  const auto storage = OpenStorage();
  const auto writer = OpenWriter(*storage);
  ASSERT_THAT(writer->Append({reinterpret_cast<const uint8_t*>(kBytes.data()),
                              kBytes.size()}),
              IsOk());
  EXPECT_TRUE(Synced(root_ / "state/spool"));
  EXPECT_FALSE(Synced(SpoolFile()));
  ASSERT_THAT(writer->Sync(), IsOk());
  EXPECT_TRUE(Synced(SpoolFile()));
}

TEST_F(DurabilityTest, UploadThatGoesOnAfterARestartSyncsTheNameToo) {
  OpenWriter(*OpenStorage());
  const auto storage = OpenStorage();
  const auto writer = OpenWriter(*storage);
  EXPECT_TRUE(Synced(root_ / "state/spool"));
}

TEST_F(DurabilityTest, CommitSyncsTheLog) {
  const auto storage = OpenStorage();
  Transaction transaction;
  transaction.events = {{TaskId("task"), 1, "event"}};
  ASSERT_THAT(storage->Commit(transaction), IsOk());
  EXPECT_TRUE(Synced(root_ / "state/coordinator.db-wal"));
}

}  // namespace
}  // namespace mledge
