// What the registrar witnesses: sessions, their sets, and versions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/identity/registrar/local_witness.h"
#include "mledge/identity/registrar/registrar.h"
#include "mledge/tests/identity/registrar/registrar_fixture.h"
#include "mledge/tests/support/fake_clock.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;

class RegistrarWitnessTest : public RegistrarFixture {
 protected:
  absl::StatusOr<WitnessStatement> Ask(uint64_t number,
                                       const std::string& directory,
                                       absl::Time when) {
    return registrar_->WitnessDirectory(Coordinator(), task_, number,
                                        DigestOf(directory), when);
  }
  absl::StatusOr<SetsStatement> AskSets(uint64_t number, uint32_t group,
                                        const std::string& session,
                                        const std::string& sets) {
    return registrar_->WitnessSets(Coordinator(), task_, number, group,
                                   DigestOf(session), DigestOf(sets), now());
  }
  absl::StatusOr<VersionLogHead> Append(uint64_t version,
                                        const std::string& entry) {
    return registrar_->AppendVersion(Coordinator(), task_, version,
                                     DigestOf(entry), now());
  }

  const Digest task_ = DigestOf("task");
};

TEST_F(RegistrarWitnessTest, SessionGetsOneDirectoryEver) {
  const auto first = Ask(1, "directory", now());
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(first->Verify(public_key()), IsOk());
  EXPECT_EQ(first->directory, DigestOf("directory"));
  EXPECT_THAT(Ask(1, "other", now()), StatusIs(StatusCode::kFailedPrecondition,
                                               HasSubstr("another directory")));
  // The same bytes again, also later and after a restart.
  EXPECT_THAT(Ask(1, "directory", now() + absl::Hours(50)),
              IsOkAndHolds(*first));
  Restart();
  EXPECT_THAT(Ask(1, "directory", now()), IsOkAndHolds(*first));
  EXPECT_THAT(Ask(1, "other", now()),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(RegistrarWitnessTest, SessionNumbersOnlyGoUp) {
  ASSERT_THAT(Ask(5, "five", now()), IsOk());
  EXPECT_THAT(Ask(4, "four", now()), StatusIs(StatusCode::kFailedPrecondition,
                                              HasSubstr("only go up")));
  EXPECT_THAT(Ask(9, "nine", now()), IsOk());
  EXPECT_THAT(Ask(5, "five", now()), IsOk());
  EXPECT_THAT(Ask(0, "zero", now()), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(Ask(UINT64_MAX, "huge", now()),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(RegistrarWitnessTest, OneStatementOverSetsForEachGroupOfASession) {
  ASSERT_THAT(Ask(1, "directory", now()), IsOk());
  const auto first = AskSets(1, 0, "session", "sets");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(first->Verify(public_key()), IsOk());
  EXPECT_EQ(first->session, DigestOf("session"));
  EXPECT_EQ(first->sets, DigestOf("sets"));
  for (const bool restarted : {false, true}) {
    if (restarted) Restart();
    EXPECT_THAT(AskSets(1, 0, "session", "sets"), IsOkAndHolds(*first));
    EXPECT_THAT(AskSets(1, 0, "session", "others"),
                StatusIs(StatusCode::kFailedPrecondition,
                         HasSubstr("never gets second ones")));
    EXPECT_THAT(AskSets(1, 0, "another session", "sets"),
                StatusIs(StatusCode::kFailedPrecondition));
  }
  // Other groups, and later sessions, have their own.
  EXPECT_THAT(AskSets(1, 1, "session", "others"), IsOk());
  ASSERT_THAT(Ask(2, "directory", now()), IsOk());
  EXPECT_THAT(AskSets(2, 0, "session", "others"), IsOk());
}

TEST_F(RegistrarWitnessTest, SetsNeedAWitnessedDirectory) {
  EXPECT_THAT(AskSets(1, 0, "session", "sets"),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("no witnessed directory")));
  ASSERT_THAT(Ask(2, "directory", now()), IsOk());
  EXPECT_THAT(AskSets(1, 0, "session", "sets"),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(registrar_->WitnessSets(Coordinator(), DigestOf("other task"), 2,
                                      0, DigestOf("s"), DigestOf("t"), now()),
              StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(RegistrarWitnessTest, SetsOfNoSessionOrGroupAreRefused) {
  ASSERT_THAT(Ask(1, "directory", now()), IsOk());
  for (const uint64_t number : {uint64_t{0}, UINT64_MAX}) {
    EXPECT_THAT(AskSets(number, 0, "session", "sets"),
                StatusIs(StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(AskSets(1, 1'000'000, "session", "sets"),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(AskSets(1, 999'999, "session", "sets"), IsOk());
}

TEST_F(RegistrarWitnessTest, TasksCountForThemselves) {
  ASSERT_THAT(Ask(5, "five", now()), IsOk());
  EXPECT_THAT(registrar_->WitnessDirectory(Coordinator(), DigestOf("other"), 1,
                                           DigestOf("x"), now()),
              IsOk());
}

TEST_F(RegistrarWitnessTest, SessionsOfADayAreLimited) {
  options().sessions_per_day = 2;
  Restart();
  const auto first = Ask(1, "a", now());
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(Ask(2, "b", now() + absl::Hours(23)), IsOk());
  EXPECT_THAT(Ask(3, "c", now() + absl::Hours(23)),
              StatusIs(StatusCode::kResourceExhausted));
  // What was witnessed may still be asked for.
  EXPECT_THAT(Ask(1, "a", now()), IsOkAndHolds(*first));
  Restart();
  EXPECT_THAT(Ask(3, "c", now() + absl::Hours(23)),
              StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(Ask(3, "c", now() + absl::Hours(24)), IsOk());
  EXPECT_THAT(Ask(4, "d", now() + absl::Hours(24)), IsOk());
  // A clock that is set back opens no day again.
  EXPECT_THAT(Ask(5, "e", now()), StatusIs(StatusCode::kResourceExhausted));
}

TEST_F(RegistrarWitnessTest, OnlyNamedCoordinatorsHaveThingsWitnessed) {
  for (const RegistrarCaller& caller :
       {Operator(), Caller(Role::kCoordinator, "rogue"),
        Caller(Role::kDevice, "main")}) {
    EXPECT_THAT(
        registrar_->WitnessDirectory(caller, task_, 1, DigestOf("d"), now()),
        StatusIs(StatusCode::kPermissionDenied));
    EXPECT_THAT(
        registrar_->AppendVersion(caller, task_, 0, DigestOf("v"), now()),
        StatusIs(StatusCode::kPermissionDenied));
    EXPECT_THAT(registrar_->WitnessSets(caller, task_, 1, 0, DigestOf("s"),
                                        DigestOf("t"), now()),
                StatusIs(StatusCode::kPermissionDenied));
  }
}

TEST_F(RegistrarWitnessTest, RevokedCoordinatorHasNothingWitnessed) {
  ASSERT_THAT(
      registrar_->RevokeIdentity(Operator(), Coordinator().identity, "", now()),
      IsOk());
  EXPECT_THAT(Ask(1, "d", now()), StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(RegistrarWitnessTest, VersionLogGrowsByOneAndNeverForks) {
  const auto first = Append(0, "v0");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(first->Verify(public_key()), IsOk());
  EXPECT_EQ(first->length, 1u);
  EXPECT_THAT(first->CheckEnd(EmptyVersionLog(task_),
                              std::vector<Digest>{DigestOf("v0")}),
              IsOk());
  EXPECT_THAT(Append(0, "v0"), IsOkAndHolds(*first));
  EXPECT_THAT(Append(0, "other"), StatusIs(StatusCode::kFailedPrecondition,
                                           HasSubstr("never forks")));
  EXPECT_THAT(Append(2, "v2"), StatusIs(StatusCode::kFailedPrecondition));
  Restart();
  const auto second = Append(1, "v1");
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(
      second->CheckEnd(first->head, std::vector<Digest>{DigestOf("v1")}),
      IsOk());
  // It does not go back, not even to what it said itself.
  EXPECT_THAT(Append(0, "v0"), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(Append(1, "v1"), IsOkAndHolds(*second));
  EXPECT_THAT(Append(UINT64_MAX, "x"), StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(RegistrarWitnessTest, LocalWitnessAsksInTheCoordinatorsName) {
  FakeClock clock(now());
  LocalWitness witness(registrar_.get(), &clock, Coordinator());
  absl::StatusOr<WitnessStatement> statement;
  witness.WitnessDirectory(task_, 1, DigestOf("d"),
                           [&](auto answer) { statement = answer; });
  ASSERT_THAT(statement, IsOk());
  EXPECT_EQ(statement->time, now());
  absl::StatusOr<SetsStatement> sets;
  witness.WitnessSets(task_, 1, 4, DigestOf("session"), DigestOf("sets"),
                      [&](auto answer) { sets = answer; });
  ASSERT_THAT(sets, IsOk());
  EXPECT_EQ(sets->group, 4u);
  EXPECT_THAT(sets->Verify(public_key()), IsOk());
  absl::StatusOr<VersionLogHead> head;
  witness.AppendVersion(task_, 0, DigestOf("v"),
                        [&](auto answer) { head = answer; });
  ASSERT_THAT(head, IsOk());
  EXPECT_THAT(head->Verify(public_key()), IsOk());
}

}  // namespace
}  // namespace mledge
