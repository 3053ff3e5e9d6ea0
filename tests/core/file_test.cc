#include "mledge/core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <iterator>

#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::AllOf;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;

size_t FilesIn(const std::string& directory) {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator(directory), {}));
}

// For children that end with an exit code: 0 when `ok`, else what was seen.
[[noreturn]] void ExitWith(bool ok, const absl::Status& seen) {
  if (!ok) std::cerr << "unexpected: " << seen << std::endl;
  std::_Exit(ok ? 0 : 1);
}

// The superuser passes every permission check: become somebody else.
void DropPrivileges() {
  if (geteuid() == 0 && setuid(65534) != 0) std::_Exit(2);
}

TEST(ReadFileTest, ReadsBackWhatWasWritten) {
  const TempDirectory directory;
  const std::string contents("bytes\0and more\n", 15);
  ASSERT_THAT(WriteFileAtomically(directory.File("f"), contents), IsOk());
  EXPECT_THAT(ReadFile(directory.File("f")), IsOkAndHolds(contents));
}

TEST(ReadFileTest, ReadsAnEmptyFile) {
  const TempDirectory directory;
  ASSERT_THAT(WriteFileAtomically(directory.File("f"), ""), IsOk());
  EXPECT_THAT(ReadFile(directory.File("f")), IsOkAndHolds(std::string()));
}

TEST(ReadFileTest, ReadsFilesThatTellNoSize) {
  EXPECT_THAT(ReadFile("/proc/self/status"), IsOkAndHolds(HasSubstr("Pid:")));
}

TEST(ReadFileTest, NamesAMissingFile) {
  const TempDirectory directory;
  EXPECT_THAT(
      ReadFile(directory.File("missing")),
      StatusIs(StatusCode::kNotFound, HasSubstr(directory.File("missing"))));
}

TEST(ReadFileTest, RefusesAFileAboveTheLimit) {
  const TempDirectory directory;
  ASSERT_THAT(WriteFileAtomically(directory.File("f"), "12345"), IsOk());
  EXPECT_THAT(ReadFile(directory.File("f"), 5), IsOkAndHolds("12345"));
  EXPECT_THAT(ReadFile(directory.File("f"), 4),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("4 bytes")));
}

TEST(ReadFileTest, RefusesAnEndlessFile) {
  EXPECT_THAT(ReadFile("/dev/zero", 100'000),
              StatusIs(StatusCode::kResourceExhausted));
}

TEST(ReadFileTest, RefusesAFolder) {
  const TempDirectory directory;
  EXPECT_THAT(ReadFile(directory.path()),
              StatusIs(StatusCode::kUnavailable, HasSubstr(directory.path())));
}

TEST(WriteFileAtomicallyTest, ReplacesAndLeavesNothingBeside) {
  const TempDirectory directory;
  ASSERT_THAT(WriteFileAtomically(directory.File("f"), "old"), IsOk());
  ASSERT_THAT(WriteFileAtomically(directory.File("f"), "new"), IsOk());
  EXPECT_THAT(ReadFile(directory.File("f")), IsOkAndHolds("new"));
  EXPECT_EQ(FilesIn(directory.path()), 1u);
}

TEST(WriteFileAtomicallyTest, PrivateFilesAreForTheOwnerOnly) {
  const TempDirectory directory;
  ASSERT_THAT(
      WriteFileAtomically(directory.File("key"), "k", FileMode::kPrivate),
      IsOk());
  struct stat info;
  ASSERT_EQ(stat(directory.File("key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(WriteFileAtomicallyTest, NamesAMissingFolder) {
  const TempDirectory directory;
  EXPECT_THAT(WriteFileAtomically(directory.File("no/f"), "x"),
              StatusIs(StatusCode::kNotFound, HasSubstr("no/f")));
}

TEST(WriteFileAtomicallyTest, RefusesAFolderOrADevice) {
  const TempDirectory directory;
  EXPECT_THAT(WriteFileAtomically(directory.path(), "x"),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("not a regular file")));
  EXPECT_THAT(WriteFileAtomically("/dev/full", "x"),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST(WriteFileAtomicallyDeathTest, KeepsTheOldFileWhenThereIsNoRoom) {
  const TempDirectory directory;
  const std::string path = directory.File("f");
  ASSERT_THAT(WriteFileAtomically(path, "old"), IsOk());
  EXPECT_EXIT(
      {
        // The kernel refuses to let files of this process grow past the limit.
        signal(SIGXFSZ, SIG_IGN);
        rlimit limit;
        limit.rlim_cur = limit.rlim_max = 1000;
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) std::_Exit(2);
        const absl::Status status =
            WriteFileAtomically(path, std::string(5000, 'x'));
        ExitWith(status.code() == StatusCode::kResourceExhausted, status);
      },
      ExitedWithCode(0), "");
  EXPECT_THAT(ReadFile(path), IsOkAndHolds("old"));
  EXPECT_EQ(FilesIn(directory.path()), 1u);
}

TEST(WriteFileAtomicallyDeathTest, SaysThatTheFolderIsNotOurs) {
  const TempDirectory directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0500), 0);
  EXPECT_EXIT(
      {
        DropPrivileges();
        const absl::Status status =
            WriteFileAtomically(directory.File("f"), "x");
        ExitWith(status.code() == StatusCode::kPermissionDenied, status);
      },
      ExitedWithCode(0), "");
}

TEST(EnsureWritableDirectoryTest, CreatesParents) {
  const TempDirectory directory;
  EXPECT_THAT(EnsureWritableDirectory(directory.File("a/b/c")), IsOk());
  EXPECT_EQ(FilesIn(directory.File("a/b/c")), 0u);
  EXPECT_THAT(EnsureWritableDirectory(directory.File("a/b/c")), IsOk());
}

TEST(EnsureWritableDirectoryTest, RefusesAPathThroughAFile) {
  const TempDirectory directory;
  ASSERT_THAT(WriteFileAtomically(directory.File("f"), "x"), IsOk());
  EXPECT_THAT(EnsureWritableDirectory(directory.File("f/sub")),
              StatusIs(StatusCode::kNotFound, HasSubstr("f/sub")));
  EXPECT_THAT(EnsureWritableDirectory(directory.File("f")),
              StatusIs(StatusCode::kNotFound, HasSubstr("Not a directory")));
}

TEST(EnsureWritableDirectoryDeathTest, RefusesAFolderThatCannotBeWritten) {
  const TempDirectory directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0500), 0);
  EXPECT_EXIT(
      {
        DropPrivileges();
        const absl::Status status = EnsureWritableDirectory(directory.path());
        ExitWith(status.code() == StatusCode::kPermissionDenied, status);
      },
      ExitedWithCode(0), "");
}

TEST(SyncDirectoryTest, NamesAMissingFolder) {
  EXPECT_THAT(SyncDirectory("/no/such/folder"),
              StatusIs(StatusCode::kNotFound, HasSubstr("/no/such/folder")));
}

TEST(ErrnoToStatusTest, TellsTheKindsApart) {
  EXPECT_THAT(ErrnoToStatus(ENOENT, "open", "/x"),
              StatusIs(StatusCode::kNotFound,
                       AllOf(HasSubstr("open /x: "), HasSubstr("No such"))));
  EXPECT_THAT(ErrnoToStatus(EACCES, "open", "/x"),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(ErrnoToStatus(EROFS, "open", "/x"),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(ErrnoToStatus(ENOSPC, "write", "/x"),
              StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(ErrnoToStatus(EDQUOT, "write", "/x"),
              StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(ErrnoToStatus(EIO, "read", "/x"),
              StatusIs(StatusCode::kUnavailable));
}

}  // namespace
}  // namespace mledge
