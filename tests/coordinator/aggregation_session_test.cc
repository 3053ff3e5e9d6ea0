#include "mledge/coordinator/aggregation_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

AssignmentId Id(int i) { return AssignmentId(StrCat("u", i)); }

AggregationSession MakeSession() {
  return AggregationSession({.updates_per_fold = 2,
                             .maximum_updates_per_fold = 3,
                             .updates_per_checkpoint = 3});
}

TEST(AggregationSessionTest, AdmitsEachUpdateOnce) {
  AggregationSession session = MakeSession();
  EXPECT_THAT(session.Admit(Id(1)), IsOk());
  EXPECT_THAT(session.Admit(Id(1)), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(session.admitted(), 1);
}

TEST(AggregationSessionTest, ClosedSessionAdmitsNobody) {
  AggregationSession session = MakeSession();
  session.Close();
  EXPECT_THAT(session.Admit(Id(1)),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_TRUE(session.complete());
}

TEST(AggregationSessionTest, FoldsWaitForCompanyUntilClosed) {
  AggregationSession session = MakeSession();
  ASSERT_THAT(session.Admit(Id(1)), IsOk());
  EXPECT_THAT(session.BeginFold(), IsEmpty());
  session.Close();
  EXPECT_FALSE(session.complete());
  EXPECT_THAT(session.BeginFold(), ElementsAre(Id(1)));
  EXPECT_FALSE(session.complete());
  EXPECT_THAT(session.FinishFold(), IsOk());
  EXPECT_TRUE(session.complete());
}

TEST(AggregationSessionTest, FoldsEachUpdateOnceInBatches) {
  AggregationSession session = MakeSession();
  for (int i = 0; i < 5; ++i) ASSERT_THAT(session.Admit(Id(i)), IsOk());
  EXPECT_THAT(session.BeginFold(), ElementsAre(Id(0), Id(1), Id(2)));
  EXPECT_THAT(session.BeginFold(), IsEmpty());  // one at a time
  EXPECT_THAT(session.BeginCheckpoint(), IsEmpty());
  ASSERT_THAT(session.FinishFold(), IsOk());
  EXPECT_THAT(session.BeginFold(), ElementsAre(Id(3), Id(4)));
  ASSERT_THAT(session.FinishFold(), IsOk());
  EXPECT_THAT(session.BeginFold(), IsEmpty());
}

TEST(AggregationSessionTest, CheckpointFreesWhatNoEarlierOneHeld) {
  AggregationSession session = MakeSession();
  for (int i = 0; i < 3; ++i) ASSERT_THAT(session.Admit(Id(i)), IsOk());
  session.BeginFold();
  EXPECT_THAT(session.BeginCheckpoint(), IsEmpty());
  ASSERT_THAT(session.FinishFold(), IsOk());
  EXPECT_THAT(session.BeginCheckpoint(), ElementsAre(Id(0), Id(1), Id(2)));
  EXPECT_THAT(session.FinishCheckpoint(),
              IsOkAndHolds(ElementsAre(Id(0), Id(1), Id(2))));
  EXPECT_THAT(session.Spooled(), IsEmpty());
  for (int i = 3; i < 6; ++i) ASSERT_THAT(session.Admit(Id(i)), IsOk());
  session.BeginFold();
  ASSERT_THAT(session.FinishFold(), IsOk());
  EXPECT_EQ(session.BeginCheckpoint().size(), 6u);
  EXPECT_THAT(session.FinishCheckpoint(),
              IsOkAndHolds(ElementsAre(Id(3), Id(4), Id(5))));
}

TEST(AggregationSessionTest, AbandonedFoldBeginsAgain) {
  AggregationSession session = MakeSession();
  for (int i = 0; i < 2; ++i) ASSERT_THAT(session.Admit(Id(i)), IsOk());
  EXPECT_EQ(session.BeginFold().size(), 2u);
  session.Abandon();
  EXPECT_EQ(session.BeginFold().size(), 2u);
}

TEST(AggregationSessionTest, FinishWithoutBeginIsRefused) {
  AggregationSession session = MakeSession();
  EXPECT_THAT(session.FinishFold(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(session.FinishCheckpoint(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(AggregationSessionTest, AfterARestartSavedUpdatesAreNotFoldedAgain) {
  const AssignmentId saved[] = {Id(0), Id(1)};
  AggregationSession session({.updates_per_fold = 1}, saved);
  EXPECT_THAT(session.Admit(Id(0)), StatusIs(absl::StatusCode::kAlreadyExists));
  ASSERT_THAT(session.Admit(Id(2)), IsOk());
  EXPECT_THAT(session.BeginFold(), ElementsAre(Id(2)));
  EXPECT_THAT(session.Spooled(), ElementsAre(Id(2)));
}

}  // namespace
}  // namespace mledge
