#include "mledge/coordinator/training_assignment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;

constexpr AssignmentState kAll[] = {
    AssignmentState::kIssued, AssignmentState::kAcknowledged,
    AssignmentState::kFailed, AssignmentState::kExpired};

AssignmentRecord MakeRecord(AssignmentState state = AssignmentState::kIssued) {
  AssignmentRecord record;
  record.id = AssignmentId("x");
  record.task = TaskId("task");
  record.device = DeviceId("a");
  record.state = state;
  return record;
}

absl::Status MoveTo(TrainingAssignment& assignment, AssignmentState to) {
  switch (to) {
    case AssignmentState::kAcknowledged:
      return assignment.Acknowledge(Digest());
    case AssignmentState::kFailed:
      return assignment.Fail("broken");
    default:
      return assignment.Expire();
  }
}

TEST(TrainingAssignmentTest, EveryMoveIsLegalOrRefusedAsTheTableSays) {
  for (const AssignmentState from : kAll) {
    for (const AssignmentState to : kAll) {
      EXPECT_EQ(
          TrainingAssignment::IsLegalMove(from, to),
          from == AssignmentState::kIssued && to != AssignmentState::kIssued);
      if (to == AssignmentState::kIssued) continue;  // no such call
      TrainingAssignment assignment(MakeRecord(from));
      const absl::Status moved = MoveTo(assignment, to);
      if (TrainingAssignment::IsLegalMove(from, to)) {
        EXPECT_THAT(moved, IsOk());
        EXPECT_EQ(assignment.record().state, to);
      } else {
        EXPECT_THAT(moved, StatusIs(absl::StatusCode::kFailedPrecondition,
                                    HasSubstr(std::string(ToString(from)))));
        EXPECT_EQ(assignment.record().state, from);
      }
    }
  }
}

TEST(TrainingAssignmentTest, JudgesUpdatesOfEndedAssignments) {
  const Digest one = Sha256Of(std::string_view("one"));
  const Digest two = Sha256Of(std::string_view("two"));
  AssignmentRecord record = MakeRecord(AssignmentState::kAcknowledged);
  record.content = one;
  EXPECT_EQ(JudgeUpdate(record, one), UpdateOutcome::kAgain);
  EXPECT_EQ(JudgeUpdate(record, two), UpdateOutcome::kOtherContent);
  EXPECT_EQ(JudgeUpdate(MakeRecord(AssignmentState::kFailed), one),
            UpdateOutcome::kGivenUp);
  EXPECT_EQ(JudgeUpdate(MakeRecord(AssignmentState::kExpired), one),
            UpdateOutcome::kTooLate);
}

TEST(TrainingAssignmentTest, IdsDifferByTaskDeviceOrdinalAndKind) {
  const AssignmentRecord base = MakeRecord();
  const AssignmentId id = MakeAssignmentId(base);
  EXPECT_EQ(id, MakeAssignmentId(base));
  EXPECT_EQ(id.value().size(), 32u);
  AssignmentRecord other = base;
  other.task = TaskId("task2");
  EXPECT_NE(id, MakeAssignmentId(other));
  other = base;
  other.device = DeviceId("b");
  EXPECT_NE(id, MakeAssignmentId(other));
  other = base;
  other.ordinal = AssignmentOrdinal(1);
  EXPECT_NE(id, MakeAssignmentId(other));
  other = base;
  other.kind = AssignmentKind::kEvaluate;
  EXPECT_NE(id, MakeAssignmentId(other));
}

}  // namespace
}  // namespace mledge
