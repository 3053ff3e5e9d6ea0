#include "mledge/coordinator/storage/update_spool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "mledge/aggregation/update_file.h"
#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class UpdateSpoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (size_t i = 0; i < 1000; ++i) {
      content_ += static_cast<char>('a' + i * i % 23);
    }
    Reopen();
  }
  void Reopen() {
    spool_.reset();
    auto spool = UpdateSpool::Open(directory_.File("spool"));
    ASSERT_THAT(spool, IsOk());
    spool_ = *std::move(spool);
  }
  absl::StatusOr<std::unique_ptr<SpoolWriter>> OpenWriter() {
    return spool_->OpenWriter(id_, Sha256Of(content_), content_.size());
  }
  // The spool's one file of an update.
  fs::path File() {
    for (const auto& entry : fs::directory_iterator(directory_.File("spool"))) {
      if (entry.path().filename() != "boot-id") return entry.path();
    }
    return {};
  }
  void AppendFirst(size_t size) {
    auto writer = OpenWriter();
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT((*writer)->Append(Bytes(content_).first(size)), IsOk());
  }

  TempDirectory directory_;
  std::unique_ptr<UpdateSpool> spool_;
  std::string content_;
  const AssignmentId id_{"task-1/device 7"};
};

TEST_F(UpdateSpoolTest, HashesWhatArrives) {
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), 0u);
  for (size_t i = 0; i < content_.size(); i += 100) {
    ASSERT_THAT((*writer)->Append(Bytes(content_).subspan(i, 100)), IsOk());
  }
  EXPECT_THAT((*writer)->Sync(), IsOkAndHolds(Sha256Of(content_)));
}

TEST_F(UpdateSpoolTest, ResumesAtAnyOffsetAfterARestart) {
  for (size_t cut = 0; cut <= content_.size(); cut += 37) {
    SCOPED_TRACE(StrCat("cut after ", cut));
    AppendFirst(cut);
    Reopen();
    {
      auto writer = OpenWriter();
      ASSERT_THAT(writer, IsOk());
      ASSERT_EQ((*writer)->offset(), cut);
      ASSERT_THAT((*writer)->Append(Bytes(content_).subspan(cut)), IsOk());
      ASSERT_THAT((*writer)->Sync(), IsOkAndHolds(Sha256Of(content_)));
    }
    ASSERT_THAT(spool_->Discard({{id_}}), IsOk());
  }
}

TEST_F(UpdateSpoolTest, CompleteFileNeedsNoMoreBytes) {
  AppendFirst(content_.size());
  Reopen();
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), content_.size());
  EXPECT_THAT((*writer)->Sync(), IsOkAndHolds(Sha256Of(content_)));
}

TEST_F(UpdateSpoolTest, CompleteFileWithOtherContentStartsOver) {
  AppendFirst(content_.size());
  std::fstream(File(), std::ios::in | std::ios::out) << "!";
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), 0u);
}

TEST_F(UpdateSpoolTest, TruncatedFileGoesOnWhereItEnds) {
  AppendFirst(800);
  fs::resize_file(File(), 123);
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), 123u);
  ASSERT_THAT((*writer)->Append(Bytes(content_).subspan(123)), IsOk());
  EXPECT_THAT((*writer)->Sync(), IsOkAndHolds(Sha256Of(content_)));
}

TEST_F(UpdateSpoolTest, FileThatIsTooLongStartsOver) {
  AppendFirst(10);
  fs::resize_file(File(), 5000);
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), 0u);
}

TEST_F(UpdateSpoolTest, OtherContentOrSizeStartsOver) {
  AppendFirst(10);
  {
    auto writer = spool_->OpenWriter(id_, Sha256Of(std::string_view("other")),
                                     content_.size());
    ASSERT_THAT(writer, IsOk());
    EXPECT_EQ((*writer)->offset(), 0u);
    ASSERT_THAT((*writer)->Append(Bytes("other")), IsOk());
  }
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), 0u);
}

TEST_F(UpdateSpoolTest, UnfinishedBytesAreForgottenAfterAReboot) {
  AppendFirst(10);
  std::ofstream(directory_.File("spool/boot-id")) << "another boot";
  Reopen();
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), 0u);
}

TEST_F(UpdateSpoolTest, CompleteBytesSurviveAReboot) {
  AppendFirst(content_.size());
  std::ofstream(directory_.File("spool/boot-id")) << "another boot";
  Reopen();
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ((*writer)->offset(), content_.size());
}

TEST_F(UpdateSpoolTest, SecondWriterIsRefusedWhileTheFirstIsOpen) {
  auto first = OpenWriter();
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(OpenWriter(), StatusIs(absl::StatusCode::kAborted));
  first->reset();
  EXPECT_THAT(OpenWriter(), IsOk());
}

TEST_F(UpdateSpoolTest, MoreBytesThanAnnouncedAreRefused) {
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT((*writer)->Append(Bytes(content_)), IsOk());
  EXPECT_THAT((*writer)->Append(Bytes("x")),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(UpdateSpoolTest, IncompleteUpdateCannotBeSynced) {
  auto writer = OpenWriter();
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT((*writer)->Append(Bytes("x")), IsOk());
  EXPECT_THAT((*writer)->Sync(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(UpdateSpoolTest, MapsACompleteUpdate) {
  Update update;
  update.weight = 7;
  update.scalars.push_back({std::string(kExamplesScalar), 7});
  update.sections.push_back({std::string(kDeltaSection), AlignedFloats(1000)});
  update.sections[0].values.span()[999] = 2.5f;
  const absl::StatusOr<std::string> file = SerializeUpdate(
      update, {AssignmentId("assignment-1"), Sha256Of(std::string_view("x"))});
  ASSERT_THAT(file, IsOk());
  {
    auto writer = spool_->OpenWriter(id_, Sha256Of(*file), file->size());
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT((*writer)->Append(Bytes(*file)), IsOk());
    ASSERT_THAT((*writer)->Sync(), IsOk());
  }
  const auto spooled = spool_->OpenUpdate(id_);
  ASSERT_THAT(spooled, IsOk());
  EXPECT_EQ((*spooled)->view().weight, 7);
  // The mapping outlives the file's name.
  ASSERT_THAT(spool_->Discard({{id_}}), IsOk());
  EXPECT_EQ((*spooled)->view().FindSection(kDeltaSection)->values[999], 2.5f);
  EXPECT_THAT(spool_->OpenUpdate(id_), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(UpdateSpoolTest, IncompleteUpdateCannotBeMapped) {
  AppendFirst(500);
  EXPECT_THAT(spool_->OpenUpdate(id_),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(UpdateSpoolTest, DiscardedBytesAreGone) {
  AppendFirst(10);
  ASSERT_THAT(spool_->Discard({{id_, AssignmentId("unknown")}}), IsOk());
  EXPECT_THAT(spool_->Idle(), IsEmpty());
  EXPECT_EQ(File(), fs::path());
}

TEST_F(UpdateSpoolTest, FileThatMayNotGrowIsResourceExhaustedWithItsPath) {
  // The limit on file sizes stands in for a full disk; it is the process's, so
  // the test happens in a child.
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{600, 600};
    setrlimit(RLIMIT_FSIZE, &limit);
    auto writer = OpenWriter();
    absl::Status status = writer.status();
    if (status.ok()) status = (*writer)->Append(Bytes(content_));
    const bool right = absl::IsResourceExhausted(status) &&
                       std::string(status.message()).find(directory_.path()) !=
                           std::string::npos;
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace mledge
