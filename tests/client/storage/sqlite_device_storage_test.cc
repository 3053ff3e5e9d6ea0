#include "mledge/client/storage/sqlite_device_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "mledge/client/storage/sealed_file.h"
#include "mledge/core/file.h"
#include "mledge/core/strings.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Optional;

class SqliteDeviceStorageTest : public ::testing::Test {
 protected:
  SqliteDeviceStorageTest() : path_(directory_.File("state")) {
    assignment_.set_assignment_id("a1");
    assignment_.set_task_id("task-1");
    assignment_.set_round(3);
    UpdateSection section;
    section.name = std::string(kDeltaSection);
    section.values = AlignedFloats(1000);
    section.values.span()[7] = 1.5;
    update_.sections.push_back(std::move(section));
    update_.weight = 4;
    const std::string bytes = *SerializeUpdate(update_, context_);
    finished_ = {Sha256Of(bytes), bytes.size()};
  }

  absl::StatusOr<std::unique_ptr<DeviceStorage>> Open(
      const std::string& path, uint64_t cache = 1 << 20,
      const std::string& device = "device-1") {
    const auto key = MakeFileStateKey(directory_.File("state.key"));
    return OpenSqliteDeviceStorage({.directory = path,
                                    .device = DeviceId(device),
                                    .state_key = key.get(),
                                    .maximum_cache_bytes = cache});
  }
  std::unique_ptr<DeviceStorage> MustOpen(const std::string& path,
                                          uint64_t cache = 1 << 20) {
    auto storage = Open(path, cache);
    EXPECT_THAT(storage, IsOk());
    return *std::move(storage);
  }
  // The folder as power loss would leave it now: what other processes see is
  // what was written, and everything that counts was synced before.
  std::string CopyOfState() {
    const std::string copy = directory_.File(StrCat("copy", ++copies_));
    fs::copy(path_, copy, fs::copy_options::recursive);
    return copy;
  }
  static std::string UpdateBytes(DeviceStorage& storage) {
    auto source = storage.OpenUpdate(AssignmentId("a1"));
    EXPECT_THAT(source, IsOk());
    if (!source.ok()) return "";
    return *(*source)->Read(0, (*source)->size_in_bytes());
  }
  absl::Status PutBlob(DeviceStorage& storage, const std::string& bytes) {
    auto writer = storage.OpenBlobWriter(Sha256Of(bytes), bytes.size());
    if (!writer.ok()) return writer.status();
    if (absl::Status status = (*writer)->Append(bytes); !status.ok()) {
      return status;
    }
    return (*writer)->Commit();
  }
  // Precondition: there is exactly one.
  std::string OnlyCachedFile() {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(StrCat(path_, "/cache"))) {
      files.push_back(entry.path());
    }
    EXPECT_EQ(files.size(), 1u);
    return files.empty() ? "" : files[0];
  }
  static void Overwrite(const std::string& path, std::streamoff offset,
                        const std::string& bytes) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset);
    file << bytes;
  }

  TempDirectory directory_;
  const std::string path_;
  v1::Assignment assignment_;
  Update update_;
  const UpdateContext context_ = {AssignmentId("a1"), Digest()};
  FinishedUpdate finished_;
  int copies_ = 0;
};

TEST_F(SqliteDeviceStorageTest, NewFolderHoldsNothing) {
  auto storage = MustOpen(path_);
  EXPECT_EQ((*storage->LoadJournal()).has_value(), false);
  EXPECT_THAT(storage->OpenUpdate(AssignmentId("a1")),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(storage->ReadBlob(Digest()),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(SqliteDeviceStorageTest, EveryStepSurvivesPowerLoss) {
  std::vector<std::string> copies;
  {
    auto storage = MustOpen(path_);
    copies.push_back(CopyOfState());
    ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
    copies.push_back(CopyOfState());
    ASSERT_THAT(storage->SaveSnapshot(AssignmentId("a1"), "step 5"), IsOk());
    copies.push_back(CopyOfState());
    ASSERT_THAT(storage->SaveUpdate(finished_, context_, update_, std::nullopt),
                IsOk());
    copies.push_back(CopyOfState());
    ASSERT_THAT(storage->Forget(AssignmentId("a1")), IsOk());
    copies.push_back(CopyOfState());
  }
  const AssignmentId id("a1");
  {
    auto storage = MustOpen(copies[0]);
    EXPECT_FALSE((*storage->LoadJournal()).has_value());
  }
  {
    auto storage = MustOpen(copies[1]);
    EXPECT_THAT((*storage->LoadJournal())->assignment,
                EqualsProto(assignment_));
    EXPECT_FALSE((*storage->LoadSnapshot(id)).has_value());
  }
  {
    auto storage = MustOpen(copies[2]);
    EXPECT_THAT(*storage->LoadSnapshot(id), Optional(Eq("step 5")));
    EXPECT_FALSE((*storage->LoadJournal())->update.has_value());
  }
  {
    auto storage = MustOpen(copies[3]);
    EXPECT_EQ((*storage->LoadJournal())->update, finished_);
    EXPECT_EQ(UpdateBytes(*storage), *SerializeUpdate(update_, context_));
    EXPECT_FALSE((*storage->LoadSnapshot(id)).has_value());
  }
  {
    auto storage = MustOpen(copies[4]);
    EXPECT_FALSE((*storage->LoadJournal()).has_value());
    EXPECT_FALSE(fs::exists(StrCat(copies[4], "/update.sealed")));
  }
}

TEST_F(SqliteDeviceStorageTest, UpdateFileThatTheJournalDoesNotNameIsRemoved) {
  {
    auto storage = MustOpen(path_);
    ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  }
  // As if power had gone between renaming the file and the journal's commit.
  ASSERT_THAT(WriteFileAtomically(StrCat(path_, "/update.sealed"), "torn"),
              IsOk());
  ASSERT_THAT(WriteFileAtomically(StrCat(path_, "/update.sealed.tmp"), "torn"),
              IsOk());
  auto storage = MustOpen(path_);
  EXPECT_FALSE((*storage->LoadJournal())->update.has_value());
  EXPECT_FALSE(fs::exists(StrCat(path_, "/update.sealed")));
  EXPECT_FALSE(fs::exists(StrCat(path_, "/update.sealed.tmp")));
}

TEST_F(SqliteDeviceStorageTest, SnapshotOfAnotherAssignmentIsNotTaken) {
  auto storage = MustOpen(path_);
  ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  ASSERT_THAT(storage->SaveSnapshot(AssignmentId("a1"), "step 5"), IsOk());
  EXPECT_FALSE((*storage->LoadSnapshot(AssignmentId("a2"))).has_value());
  EXPECT_THAT(storage->SaveSnapshot(AssignmentId("a2"), "step 5"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(SqliteDeviceStorageTest, NewAssignmentReplacesEverything) {
  auto storage = MustOpen(path_);
  ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  ASSERT_THAT(storage->SaveUpdate(finished_, context_, update_, std::nullopt),
              IsOk());
  assignment_.set_assignment_id("a2");
  ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  EXPECT_THAT(storage->OpenUpdate(AssignmentId("a1")),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_FALSE((*storage->LoadJournal())->update.has_value());
  ASSERT_THAT(storage->Forget(AssignmentId("a1")), IsOk());
  EXPECT_TRUE((*storage->LoadJournal()).has_value()) << "not that one";
}

TEST_F(SqliteDeviceStorageTest, UpdateAlteredWhileItWaitedIsNotUploaded) {
  {
    auto storage = MustOpen(path_);
    ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
    ASSERT_THAT(storage->SaveUpdate(finished_, context_, update_, std::nullopt),
                IsOk());
  }
  Overwrite(StrCat(path_, "/update.sealed"), 500, "x");
  auto storage = MustOpen(path_);
  EXPECT_THAT(storage->OpenUpdate(AssignmentId("a1")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("altered")));
}

TEST_F(SqliteDeviceStorageTest, TruncatedUpdateIsNotUploaded) {
  auto storage = MustOpen(path_);
  ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  ASSERT_THAT(storage->SaveUpdate(finished_, context_, update_, std::nullopt),
              IsOk());
  fs::resize_file(StrCat(path_, "/update.sealed"), 100);
  EXPECT_THAT(storage->OpenUpdate(AssignmentId("a1")),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(SqliteDeviceStorageTest, SecondAgentOnTheFolderIsRefused) {
  auto storage = MustOpen(path_);
  EXPECT_THAT(Open(path_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("in use"), HasSubstr(path_))));
  storage.reset();
  EXPECT_THAT(Open(path_), IsOk());
}

TEST_F(SqliteDeviceStorageTest, FolderOfAnotherDeviceIsRefused) {
  MustOpen(path_).reset();
  EXPECT_THAT(Open(path_, 1 << 20, "device-2"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("belongs to device 'device-1'"),
                             HasSubstr("its own state directory"))));
}

TEST_F(SqliteDeviceStorageTest, DamagedDatabaseSaysWhatToDo) {
  {
    auto storage = MustOpen(path_);
    ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  }
  Overwrite(StrCat(path_, "/device.sqlite"), 0, std::string(4096, 'x'));
  EXPECT_THAT(Open(path_),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("device.sqlite"),
                             HasSubstr("move the state directory away"))));
}

TEST_F(SqliteDeviceStorageTest, DamagedPageIsFoundAtTheStart) {
  {
    auto storage = MustOpen(path_);
    ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  }
  const auto size = fs::file_size(StrCat(path_, "/device.sqlite"));
  ASSERT_GT(size, 4096);
  Overwrite(StrCat(path_, "/device.sqlite"), 4096,
            std::string(size - 4096, '\xff'));
  EXPECT_THAT(Open(path_), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(SqliteDeviceStorageTest, FileThatIsNoDatabaseSaysWhatToDo) {
  ASSERT_TRUE(fs::create_directories(path_));
  std::ofstream(StrCat(path_, "/device.sqlite"))
      << "this is a text file and not a database, and a rather long one too, "
         "so that it does not pass for an empty one";
  EXPECT_THAT(Open(path_), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(SqliteDeviceStorageTest, FolderThatCannotBeCreatedIsNamed) {
  std::ofstream(directory_.File("file")) << "x";
  EXPECT_THAT(Open(directory_.File("file/state")), ::testing::Not(IsOk()));
}

TEST_F(SqliteDeviceStorageTest, BlobComesBackAlsoAfterARestart) {
  {
    auto storage = MustOpen(path_);
    ASSERT_THAT(PutBlob(*storage, "package"), IsOk());
  }
  auto storage = MustOpen(path_);
  auto blob = storage->ReadBlob(Sha256Of(std::string_view("package")));
  ASSERT_THAT(blob, IsOk());
  EXPECT_EQ(**blob, "package");
}

TEST_F(SqliteDeviceStorageTest, FetchGoesOnBehindTheWholePiecesThatAreThere) {
  std::string bytes(3 * kSealedPieceBytes, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(i * 7 % 251);
  }
  const Digest digest = Sha256Of(bytes);
  const std::string_view view = bytes;
  {
    auto storage = MustOpen(path_);
    auto writer = storage->OpenBlobWriter(digest, bytes.size());
    ASSERT_THAT((*writer)->Append(view.substr(0, 2 * kSealedPieceBytes + 100)),
                IsOk());
    EXPECT_EQ((*writer)->offset(), 2 * kSealedPieceBytes + 100);
  }
  auto storage = MustOpen(path_);
  auto writer = storage->OpenBlobWriter(digest, bytes.size());
  ASSERT_THAT(writer, IsOk());
  ASSERT_EQ((*writer)->offset(), 2 * kSealedPieceBytes);
  ASSERT_THAT((*writer)->Append(view.substr(2 * kSealedPieceBytes)), IsOk());
  ASSERT_THAT((*writer)->Commit(), IsOk());
  EXPECT_EQ(**storage->ReadBlob(digest), bytes);
}

TEST_F(SqliteDeviceStorageTest, WrongBytesAreThrownAway) {
  const Digest digest = Sha256Of(std::string_view("0123456789"));
  auto storage = MustOpen(path_);
  auto writer = storage->OpenBlobWriter(digest, 10);
  ASSERT_THAT((*writer)->Append("012345678X"), IsOk());
  EXPECT_THAT((*writer)->Commit(), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(storage->ReadBlob(digest), StatusIs(absl::StatusCode::kNotFound));
  auto again = storage->OpenBlobWriter(digest, 10);
  EXPECT_EQ((*again)->offset(), 0);
}

TEST_F(SqliteDeviceStorageTest, MoreBytesThanAnnouncedAreRefused) {
  auto storage = MustOpen(path_);
  auto writer = storage->OpenBlobWriter(Digest(), 3);
  EXPECT_THAT((*writer)->Append("0123"),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(SqliteDeviceStorageTest, DamagedBlobCountsAsAbsent) {
  const Digest digest = Sha256Of(std::string_view("package"));
  auto storage = MustOpen(path_);
  ASSERT_THAT(PutBlob(*storage, "package"), IsOk());
  Overwrite(OnlyCachedFile(), 40, "X");
  EXPECT_THAT(storage->ReadBlob(digest), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(SqliteDeviceStorageTest, CacheDropsWhatWasUsedLongestAgo) {
  // What is on the disk counts, seals included.
  auto storage = MustOpen(path_, 2 * SealedSize(1000) + 500);
  const std::string a(1000, 'a'), b(1000, 'b'), c(1000, 'c');
  ASSERT_THAT(PutBlob(*storage, b), IsOk());
  const std::string path_b = OnlyCachedFile();
  ASSERT_THAT(PutBlob(*storage, a), IsOk());
  // File times may be as coarse as a timer tick: set what a later reading of
  // `a` would set.
  fs::last_write_time(path_b,
                      fs::last_write_time(path_b) - std::chrono::hours(1));
  ASSERT_THAT(storage->ReadBlob(Sha256Of(a)), IsOk());
  ASSERT_THAT(PutBlob(*storage, c), IsOk());
  EXPECT_THAT(storage->ReadBlob(Sha256Of(a)), IsOk());
  EXPECT_THAT(storage->ReadBlob(Sha256Of(b)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(storage->ReadBlob(Sha256Of(c)), IsOk());
}

TEST_F(SqliteDeviceStorageTest, BlobLargerThanTheCacheNamesTheSetting) {
  auto storage = MustOpen(path_, 100);
  EXPECT_THAT(storage->OpenBlobWriter(Digest(), 101),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("maximum_state_bytes")));
}

// Many assignments, each with another model: what lies on the disk does not
// grow with their number.
TEST_F(SqliteDeviceStorageTest, StateIsBounded) {
  constexpr uint64_t kCache = 300'000;
  auto storage = MustOpen(path_, kCache);
  const auto size_of = [this](const std::string& folder) {
    uint64_t total = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) total += entry.file_size();
    }
    return total;
  };
  uint64_t early = 0;
  for (int i = 0; i < 60; ++i) {
    ASSERT_THAT(PutBlob(*storage, StrCat(i, std::string(70'000, 'm'))), IsOk());
    {
      // A fetch that is broken off and never taken up again.
      const std::string never = StrCat("never", i);
      auto writer = storage->OpenBlobWriter(Sha256Of(never), 80'000);
      ASSERT_THAT(writer, IsOk());
      ASSERT_THAT((*writer)->Append(std::string(70'000, 'n')), IsOk());
    }
    const AssignmentId id(StrCat("a", i));
    assignment_.set_assignment_id(id.value());
    ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
    ASSERT_THAT(storage->SaveSnapshot(id, std::string(5000, 's')), IsOk());
    ASSERT_THAT(
        storage->SaveUpdate(finished_, {id, Digest()}, update_, std::nullopt),
        IsOk());
    ASSERT_LE(size_of(StrCat(path_, "/cache")), kCache);
    if (i == 20) early = size_of(path_);
  }
  EXPECT_LE(size_of(path_), early + 300'000);
}

TEST_F(SqliteDeviceStorageTest, FullDiskKeepsWhatWasThere) {
  auto storage = MustOpen(path_);
  ASSERT_THAT(storage->SaveAssignment(assignment_), IsOk());
  // A limit on the size of files stands in for a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit tight = before;
  tight.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  const absl::Status update =
      storage->SaveUpdate(finished_, context_, update_, std::nullopt);
  const absl::Status snapshot =
      storage->SaveSnapshot(AssignmentId("a1"), std::string(5000, 's'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_THAT(update, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(snapshot, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE((*storage->LoadJournal()).has_value());
  EXPECT_FALSE((*storage->LoadJournal())->update.has_value());
  EXPECT_THAT(storage->SaveUpdate(finished_, context_, update_, std::nullopt),
              IsOk());
}

}  // namespace
}  // namespace mledge
