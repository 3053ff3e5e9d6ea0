// The registrar dies at each of its commits, which then happened or did not,
// and comes back: what it has said it never contradicts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
#include <string>

#include "mledge/core/training_random.h"
#include "mledge/identity/revocation_list.h"
#include "mledge/tests/identity/registrar/registrar_harness.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/test_seed.h"

namespace mledge {
namespace {

using ::absl::StatusCode;

class RegistrarCrashTest : public ::testing::TestWithParam<bool>,
                           protected RegistrarHarness {
 protected:
  void Restart() {
    storage_.Restart();
    registrar_ = Start(&storage_).value();
  }
  // Runs `call` with a crash at its commit; then restarts.
  void Crash(const std::function<absl::Status()>& call) {
    storage_.CrashAt(0, GetParam());
    EXPECT_THAT(call(), StatusIs(StatusCode::kUnavailable));
    EXPECT_TRUE(storage_.crashed());
    Restart();
  }
  absl::StatusOr<WitnessStatement> Ask(uint64_t number,
                                       const std::string& directory) {
    return registrar_->WitnessDirectory(Coordinator(), task_, number,
                                        DigestOf(directory), now());
  }
  absl::StatusOr<SetsStatement> AskSets(uint64_t number,
                                        const std::string& sets) {
    return registrar_->WitnessSets(Coordinator(), task_, number, 0,
                                   DigestOf("session"), DigestOf(sets), now());
  }
  absl::StatusOr<VersionLogHead> Append(uint64_t version,
                                        const std::string& entry) {
    return registrar_->AppendVersion(Coordinator(), task_, version,
                                     DigestOf(entry), now());
  }

  const Digest task_ = DigestOf("task");
  MemoryRegistrarStorage memory_;
  FaultyRegistrarStorage storage_{&memory_};
  std::unique_ptr<Registrar> registrar_ = Start(&storage_).value();
};

INSTANTIATE_TEST_SUITE_P(CommitLostOrHappened, RegistrarCrashTest,
                         ::testing::Bool());

TEST_P(RegistrarCrashTest, WitnessIsAskedAgain) {
  Crash([&] { return Ask(1, "directory").status(); });
  // Whoever comes first is witnessed; if the commit happened, that was
  // "directory".
  const bool happened = GetParam();
  const auto other = Ask(1, "other");
  EXPECT_EQ(other.ok(), !happened) << other.status();
  EXPECT_EQ(Ask(1, "directory").ok(), happened);
}

TEST_P(RegistrarCrashTest, SameQuestionGetsItsAnswer) {
  Crash([&] { return Ask(1, "directory").status(); });
  const auto answer = Ask(1, "directory");
  ASSERT_THAT(answer, IsOk());
  EXPECT_THAT(Ask(1, "directory"), IsOkAndHolds(*answer));
  EXPECT_THAT(Ask(1, "other"), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_P(RegistrarCrashTest, SetsAreWitnessedOnceWhateverWasLost) {
  ASSERT_THAT(Ask(1, "directory"), IsOk());
  Crash([&] { return AskSets(1, "sets").status(); });
  const bool happened = GetParam();
  const auto other = AskSets(1, "others");
  EXPECT_EQ(other.ok(), !happened) << other.status();
  EXPECT_EQ(AskSets(1, "sets").ok(), happened);
}

TEST_P(RegistrarCrashTest, LostAnswerCountsAgainstTheDayAtMostOnce) {
  options().sessions_per_day = 2;
  Restart();
  Crash([&] { return Ask(1, "a").status(); });
  EXPECT_THAT(Ask(1, "a"), IsOk());
  EXPECT_THAT(Ask(2, "b"), IsOk());
  EXPECT_THAT(Ask(3, "c"), StatusIs(StatusCode::kResourceExhausted));
}

TEST_P(RegistrarCrashTest, LogNeitherForksNorLosesAVersion) {
  ASSERT_THAT(Append(0, "v0"), IsOk());
  Crash([&] { return Append(1, "v1").status(); });
  const auto head = Append(1, "v1");
  ASSERT_THAT(head, IsOk());
  EXPECT_EQ(head->length, 2u);
  EXPECT_THAT(Append(1, "other"), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_P(RegistrarCrashTest, RevocationIsAskedForAgain) {
  const std::string serial(32, 'a');
  const auto revoke = [&] {
    return registrar_->RevokeSerial(Operator(), serial, "", now()).status();
  };
  const auto before = registrar_->CurrentRevocationList(now());
  ASSERT_THAT(before, IsOk());
  Crash(revoke);
  ASSERT_THAT(revoke(), IsOk());
  const auto message = registrar_->CurrentRevocationList(now());
  ASSERT_THAT(message, IsOk());
  const auto list = RevocationList::Parse(*message, pki().root().certificate(),
                                          now(), /*least_number=*/2);
  ASSERT_THAT(list, IsOk());
  EXPECT_TRUE(list->serials().contains(serial));
}

TEST_P(RegistrarCrashTest, TokenIsUsedAtMostOnce) {
  const auto token = registrar_->CreateToken(Operator(), {Role::kDevice, "new"},
                                             now() + absl::Hours(1), now());
  ASSERT_THAT(token, IsOk());
  const std::string csr = Csr(Role::kDevice, "new");
  Crash([&] { return registrar_->Enroll(*token, csr, now()).status(); });
  EXPECT_EQ(registrar_->Enroll(*token, csr, now()).ok(), !GetParam());
  EXPECT_THAT(registrar_->Enroll(*token, csr, now()),
              StatusIs(StatusCode::kPermissionDenied));
}

// A coordinator that lies, asks anything in any order and is helped by crashes
// at random commits.
TEST_P(RegistrarCrashTest, NothingThatWasSaidIsEverContradicted) {
  const uint64_t seed = TestSeed(4711);
  const auto trace = TraceSeed(seed);
  TrainingRandom random({.task_seed = seed, .purpose = "crashing registrar"});
  std::map<uint64_t, std::set<std::string>> signatures;
  std::map<uint64_t, std::set<std::string>> sets_signatures;
  std::map<uint64_t, std::set<Digest>> heads;
  uint64_t longest = 0;
  int crashes = 0;
  for (int step = 0; step < 3000; ++step) {
    if (random.UniformBelow(4) == 0) {
      storage_.CrashAt(0, random.UniformBelow(2) == 0);
    }
    const std::string content(1,
                              static_cast<char>('a' + random.UniformBelow(3)));
    if (random.UniformBelow(2) == 0) {
      const uint64_t number = 1 + random.UniformBelow(400);
      const auto statement = Ask(number, content);
      if (statement.ok()) {
        ASSERT_THAT(statement->Verify(public_key()), IsOk());
        signatures[number].insert(statement->signature);
      }
      const auto sets = AskSets(number, content);
      if (sets.ok()) {
        ASSERT_THAT(sets->Verify(public_key()), IsOk());
        sets_signatures[number].insert(sets->signature);
      }
    } else {
      const uint64_t version = longest + random.UniformBelow(3);
      const auto head = Append(version == 0 ? 0 : version - 1, content);
      if (head.ok()) {
        ASSERT_THAT(head->Verify(public_key()), IsOk());
        heads[head->length].insert(head->head);
        ASSERT_GE(head->length, longest);
        longest = head->length;
      }
    }
    if (storage_.crashed()) {
      ++crashes;
      Restart();
    } else {
      storage_.Restart();
    }
  }
  EXPECT_GT(crashes, 20);
  EXPECT_GT(longest, 100u);
  EXPECT_GT(signatures.size(), 3u);
  for (const auto& [number, each] : signatures) EXPECT_EQ(each.size(), 1u);
  EXPECT_GT(sets_signatures.size(), 3u);
  for (const auto& [number, each] : sets_signatures) {
    EXPECT_EQ(each.size(), 1u);
  }
  for (const auto& [length, each] : heads) EXPECT_EQ(each.size(), 1u);
}

}  // namespace
}  // namespace mledge
