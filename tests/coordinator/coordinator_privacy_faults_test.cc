// Whatever happens around charging and publishing: what is spent is never
// forgotten, and of one sum no two noisings are kept or shown.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "mledge/core/strings.h"
#include "mledge/tests/coordinator/support/private_fleet.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Blobs of the storage that no record names.
size_t Nameless(MemoryStorage& memory) {
  const size_t before = memory.blobs();
  EXPECT_THAT(memory.CollectGarbage(), IsOk());
  return before - memory.blobs();
}

PrivateFleet MakeFleet(v1::Privacy::Mechanism mechanism) {
  return PrivateFleet({.size = 2, .rounds = 3, .momentum = 0.9},
                      {.mechanism = mechanism, .participations = 3}, 2);
}

class KillTest : public ::testing::TestWithParam<v1::Privacy::Mechanism> {};

// The process dies at each operation of the storage in turn, with and without
// its effect, in the round that is charged and published.
TEST_P(KillTest, SpendingIsNeverLostNorASumNoisedTwice) {
  int64_t moments = 0;
  for (const bool happens : {false, true}) {
    for (int64_t n = 0;; ++n) {
      SCOPED_TRACE(StrCat("operation ", n, happens ? ", done" : ", not done"));
      PrivateFleet fleet = MakeFleet(GetParam());
      ASSERT_THAT(fleet.Submit(), IsOk());
      ASSERT_EQ(fleet.DoRound(), 2);
      fleet.harness.storage.CrashAfter(n, happens);
      fleet.DoRound();
      const bool crashed = fleet.harness.storage.crashed();
      // What could be seen before the end: the version, if at all, is paid for.
      const auto shown =
          fleet.harness.coordinator->OpenModel(TaskId("task"), std::nullopt);
      const int64_t seen = shown.ok() ? shown->version.version() : 0;
      fleet.harness.coordinator.reset();
      fleet.harness.storage.Restart();
      // Before anything is drawn again, nothing is left of what was not
      // published.
      bool looked = false;
      fleet.harness.storage.fail = [&](const std::string& operation) {
        if (!looked && operation == "PutBlob") {
          looked = true;
          EXPECT_EQ(Nameless(fleet.harness.memory), 0u);
        }
        return absl::OkStatus();
      };
      fleet.harness.Start();
      const int64_t version = fleet.harness.Summary().version();
      EXPECT_EQ(fleet.Charges(), version);
      EXPECT_LE(seen, version);
      for (int round = 0; round < 4; ++round) fleet.DoRound();
      EXPECT_EQ(fleet.harness.Summary().state(), v1::COMPLETED);
      EXPECT_EQ(fleet.harness.Summary().version(), 3);
      EXPECT_THAT(fleet.ChargedSteps(), ElementsAre(0, 1, 2));
      if (!crashed) break;
      ++moments;
    }
  }
  EXPECT_GT(moments, 10);
}

INSTANTIATE_TEST_SUITE_P(Mechanisms, KillTest,
                         ::testing::Values(v1::Privacy::CENTRAL,
                                           v1::Privacy::CORRELATED),
                         [](const auto& info) {
                           return info.param == v1::Privacy::CENTRAL
                                      ? "Central"
                                      : "Correlated";
                         });

// It would take the noise off versions that were released.
TEST(OldNoiseTest, IsGoneWithTheNextVersion) {
  PrivateFleet fleet = MakeFleet(v1::Privacy::CORRELATED);
  ASSERT_THAT(fleet.Submit(), IsOk());
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(fleet.DoRound(), 2);
    EXPECT_EQ(Nameless(fleet.harness.memory), 0u) << "round " << round;
  }
}

class FullDiskWhilePublishingTest
    : public ::testing::TestWithParam<const char*> {};

// Whatever cannot be written, the retry writes the same noised sum.
TEST_P(FullDiskWhilePublishingTest, NoiseIsDrawnOnce) {
  PrivateFleet fleet = MakeFleet(v1::Privacy::CENTRAL);
  ASSERT_THAT(fleet.Submit(), IsOk());
  fleet.harness.CheckIn("0");
  const auto b = fleet.harness.CheckIn("1");
  const auto a = fleet.harness.CheckIn("0");
  ASSERT_THAT(fleet.Upload("0", a->assignment()), IsOk());
  const std::string before = fleet.harness.Parameters();
  const size_t blobs = fleet.harness.memory.blobs();
  int refused = 0;
  int put = 0;
  fleet.harness.storage.fail = [&](const std::string& operation) {
    // The update itself is recorded; what its publication writes is not.
    if (operation == "PutBlob") ++put;
    if (put > 0 && operation == GetParam()) {
      ++refused;
      return absl::ResourceExhaustedError("no space left on device");
    }
    return absl::OkStatus();
  };
  fleet.Upload("1", b->assignment()).IgnoreError();
  for (int i = 0; i < 5; ++i) {
    fleet.harness.Advance(absl::Seconds(2));
    // Nothing is shown of what is not paid for.
    EXPECT_EQ(fleet.harness.Parameters(), before);
    EXPECT_THAT(
        fleet.harness.coordinator->OpenModel(TaskId("task"), VersionNumber(1)),
        StatusIs(absl::StatusCode::kNotFound));
    EXPECT_EQ(
        fleet.harness.coordinator->GetTask(TaskId("task"))->versions_size(), 1);
  }
  EXPECT_GT(refused, 3);
  fleet.harness.storage.fail = nullptr;
  fleet.harness.Advance(absl::Seconds(2));
  EXPECT_EQ(fleet.harness.Summary().version(), 1);
  EXPECT_NE(fleet.harness.Parameters(), before);
  // Parameters and moments, once each: no second draw was ever put.
  EXPECT_EQ(fleet.harness.memory.blobs(), blobs + 2);
  EXPECT_EQ(Nameless(fleet.harness.memory), 0u);
  EXPECT_EQ(fleet.Charges(), 1);
}

INSTANTIATE_TEST_SUITE_P(Operations, FullDiskWhilePublishingTest,
                         ::testing::Values("Commit", "PutBlob"));

// What others do to the state directory.

class AlteredLedgerTest : public ::testing::Test {
 protected:
  AlteredLedgerTest() {
    EXPECT_THAT(fleet_.Submit(), IsOk());
    EXPECT_EQ(fleet_.DoRound(), 2);
    EXPECT_EQ(fleet_.DoRound(), 2);
  }
  // What the operator sees of the task after a start with altered records.
  v1::TaskSummary StartWith(std::function<void(StoredState*)> alter) {
    fleet_.harness.storage.alter = std::move(alter);
    fleet_.harness.Crash();
    const std::vector<v1::TaskSummary> tasks =
        fleet_.harness.coordinator->ListTasks();
    EXPECT_EQ(tasks.size(), 1u);
    EXPECT_EQ(fleet_.DoRound(), 0);
    return tasks.front();
  }
  PrivateFleet fleet_ = MakeFleet(v1::Privacy::CENTRAL);
};

TEST_F(AlteredLedgerTest, ChangedEntryIsNamedWithWhatToDo) {
  const v1::TaskSummary task = StartWith(
      [](StoredState* state) { state->ledger[1].entry.entry.back() ^= 1; });
  EXPECT_EQ(task.state(), v1::SET_ASIDE);
  EXPECT_THAT(task.reason(), HasSubstr("privacy ledger, entry 2"));
  EXPECT_THAT(task.reason(), HasSubstr("restore the newest backup"));
  // Put right again, it goes on.
  fleet_.harness.storage.alter = nullptr;
  fleet_.harness.Crash();
  EXPECT_EQ(fleet_.DoRound(), 2);
}

TEST_F(AlteredLedgerTest, MissingEntriesAreFound) {
  EXPECT_THAT(
      StartWith([](StoredState* state) { state->ledger.pop_back(); }).reason(),
      HasSubstr("it ends with entry 2, and the task's record says 3"));
  EXPECT_THAT(
      StartWith([](StoredState* state) { state->ledger.clear(); }).reason(),
      HasSubstr("ends with entry 0"));
  // Also where the head was taken back with them.
  EXPECT_THAT(StartWith([](StoredState* state) {
                state->ledger.pop_back();
                state->tasks[0].ledger = {2, state->ledger[1].entry.hash};
              }).reason(),
              HasSubstr("version 2 was published and no entry pays for it"));
  EXPECT_THAT(StartWith([](StoredState* state) {
                state->ledger.clear();
                state->tasks[0].ledger = {};
              }).reason(),
              HasSubstr("is private and has no privacy ledger"));
}

TEST_F(AlteredLedgerTest, EntryOfANewerVersionIsRefused) {
  EXPECT_THAT(StartWith([](StoredState* state) {
                v1::LedgerEntry entry;
                entry.ParseFromString(state->ledger[2].entry.entry);
                entry.GetReflection()->MutableUnknownFields(&entry)->AddVarint(
                    77, 1);
                StoredLedgerEntry& written = state->ledger[2].entry;
                written.entry = entry.SerializeAsString();
                written.hash = ExtendLedger({2, state->ledger[1].entry.hash}, 3,
                                            Sha256Of(written.entry))
                                   .hash;
                state->tasks[0].ledger.hash = written.hash;
              }).reason(),
              HasSubstr("entry 3: unknown field in LedgerEntry: a newer "
                        "version wrote it"));
}

TEST_F(AlteredLedgerTest, ImpossibleParticipationsAreFound) {
  EXPECT_THAT(StartWith([](StoredState* state) {
                state->participations[0].record.participations = 9;
              }).reason(),
              HasSubstr("stored participations of device 0"));
}

}  // namespace
}  // namespace mledge
