// kill -9 at any moment: what a device's storage said is saved is there, whole
// and readable, and the state can always be opened again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "mledge/aggregation/update_file.h"
#include "mledge/client/storage/sqlite_device_storage.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

const Digest kTask = Sha256Of(std::string_view("task"));

AssignmentId IdOf(int64_t i) { return AssignmentId(StrCat("a-", i)); }
std::string SnapshotOf(int64_t i) {
  return StrCat("snapshot ", i, std::string(150'000, 's'));
}
std::string SecretOf(int64_t i) { return StrCat("secret ", i); }
std::string MaskedOf(int64_t i) {
  return StrCat("masked ", i, std::string(90'000, 'm'));
}

struct MadeUpdate {
  Update update;
  UpdateContext context;
  std::string bytes;
  FinishedUpdate finished;
};
MadeUpdate UpdateOf(int64_t i) {
  MadeUpdate made;
  UpdateSection section;
  section.name = std::string(kDeltaSection);
  section.values = AlignedFloats(40'000);
  section.values.span()[0] = static_cast<float>(i);
  made.update.sections.push_back(std::move(section));
  made.update.weight = 1;
  made.context = {IdOf(i), Digest()};
  made.bytes = *SerializeUpdate(made.update, made.context);
  made.finished = {Sha256Of(made.bytes), made.bytes.size()};
  return made;
}

absl::StatusOr<std::unique_ptr<DeviceStorage>> Open(
    const TempDirectory& directory) {
  const auto key = MakeFileStateKey(directory.File("state.key"));
  return OpenSqliteDeviceStorage({.directory = directory.File("state"),
                                  .device = DeviceId("device-1"),
                                  .state_key = key.get()});
}

// What was last said: the assignment, and how far it has come.
struct Said {
  int64_t assignment = 0;
  int64_t step = 0;  // 1 assignment, 2 snapshot, 3 update, 4 secagg, 5 erased
};

[[noreturn]] void WriteForever(const TempDirectory& directory, int64_t first,
                               int pipe) {
  const auto storage = Open(directory);
  if (!storage.ok()) _exit(2);
  const auto say = [pipe](int64_t assignment, int64_t step) {
    const Said said = {assignment, step};
    if (write(pipe, &said, sizeof(said)) != sizeof(said)) _exit(3);
  };
  for (int64_t i = first;; ++i) {
    v1::Assignment assignment;
    assignment.set_assignment_id(IdOf(i).value());
    if (!(*storage)->SaveAssignment(assignment).ok()) _exit(4);
    say(i, 1);
    if (!(*storage)->SaveSnapshot(IdOf(i), SnapshotOf(i)).ok()) _exit(5);
    say(i, 2);
    const MadeUpdate made = UpdateOf(i);
    if (!(*storage)
             ->SaveUpdate(made.finished, made.context, made.update,
                          PrivacyCharge{kTask, IdOf(i).value()})
             .ok()) {
      _exit(6);
    }
    say(i, 3);
    if (!(*storage)
             ->SaveSecaggJournal(
                 kTask, SecretBytes::CopyFrom(SecretOf(i)),
                 MaskedInputAction::kStore,
                 std::make_shared<const std::string>(MaskedOf(i)))
             .ok()) {
      _exit(7);
    }
    say(i, 4);
    if (!(*storage)
             ->SaveSecaggJournal(kTask, SecretBytes::CopyFrom(SecretOf(-i)),
                                 MaskedInputAction::kErase, nullptr)
             .ok()) {
      _exit(8);
    }
    say(i, 5);
  }
}

// Lets a child write the assignments after the one of `last`, kills it in the
// middle of something, and returns what was said last.
Said RunAndKill(const TempDirectory& directory, Said last, int wanted,
                useconds_t moment) {
  int pipes[2];
  EXPECT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(pipes[0]);
    WriteForever(directory, last.assignment + 1, pipes[1]);
  }
  close(pipes[1]);
  for (int seen = 0; seen < wanted; ++seen) {
    if (read(pipes[0], &last, sizeof(last)) != sizeof(last)) break;
  }
  // Not waiting for anything: the kill shall fall somewhere in the middle.
  usleep(moment);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "child failed by itself: " << status;
  Said more;
  while (read(pipes[0], &more, sizeof(more)) == sizeof(more)) last = more;
  close(pipes[0]);
  return last;
}

std::string Text(const SecretBytes& bytes) {
  const auto view = bytes.bytes(RevealSecret());
  return {view.begin(), view.end()};
}

TEST(DeviceStorageCrashTest, WhatWasSaidToBeSavedSurvivesFortyKills) {
  const uint64_t seed = TestSeed(31);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "kill moments"});
  TempDirectory directory;
  Said said;
  for (int kill_number = 0; kill_number < 40; ++kill_number) {
    said = RunAndKill(directory, said, kill_number % 6,
                      static_cast<useconds_t>(random.UniformBelow(4000)));
    SCOPED_TRACE(StrCat("kill ", kill_number, ": said ", said.assignment, ".",
                        said.step));
    const auto storage = Open(directory);
    ASSERT_THAT(storage, IsOk());
    const auto journal = (*storage)->LoadJournal();
    ASSERT_THAT(journal, IsOk());
    const int64_t i = said.assignment;
    if (i == 0) continue;
    ASSERT_TRUE(journal->has_value());
    const AssignmentId id((*journal)->assignment.assignment_id());
    // The next one may be saved whose word did not get out.
    const bool is_next = id == IdOf(i + 1);
    ASSERT_TRUE(id == IdOf(i) || is_next) << id;
    const bool has_update = (*journal)->update.has_value();
    EXPECT_TRUE(has_update || said.step < 3 || is_next);
    // It is charged exactly when there is an update that may leave.
    const auto charged = (*storage)->LoadPrivacyRecords();
    ASSERT_THAT(charged, IsOk());
    EXPECT_EQ(charged->contains(kTask) && charged->at(kTask) == id.value(),
              has_update);
    if (has_update) {
      const MadeUpdate made = UpdateOf(i);
      EXPECT_EQ((*journal)->update, made.finished);
      const auto source = (*storage)->OpenUpdate(id);
      ASSERT_THAT(source, IsOk());
      EXPECT_THAT((*source)->Read(0, made.bytes.size()),
                  IsOkAndHolds(made.bytes));
    } else if (!is_next && said.step == 2) {
      const auto snapshot = (*storage)->LoadSnapshot(id);
      ASSERT_THAT(snapshot, IsOk());
      ASSERT_TRUE(snapshot->has_value());
      EXPECT_EQ(**snapshot, SnapshotOf(i));
    }
    const auto secagg = (*storage)->LoadSecaggJournal(kTask);
    ASSERT_THAT(secagg.status(), IsOk());
    const std::string secret = Text(secagg->bytes);
    if (said.step == 4) {
      EXPECT_THAT(secret, ::testing::AnyOf(SecretOf(i), SecretOf(-i)));
    } else if (said.step == 5) {
      EXPECT_EQ(secret, SecretOf(-i));
    }
    // A journal that names a masked input has it, also one that was cut short:
    // of this assignment, or of an earlier one that was killed with it.
    int64_t owner = i;
    while (owner > 0 && secret != SecretOf(owner)) --owner;
    if (owner > 0) {
      ASSERT_NE(secagg->masked_input, nullptr);
      EXPECT_EQ(*secagg->masked_input, MaskedOf(owner));
    } else {
      EXPECT_EQ(secagg->masked_input, nullptr);
    }
  }
}

}  // namespace
}  // namespace mledge
