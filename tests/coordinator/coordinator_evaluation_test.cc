// Evaluations of published versions, by evaluators and by devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mledge/coordinator/coordinator.h"
#include "mledge/tests/coordinator/support/coordinator_harness.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kEvaluator = Peer::Role::kEvaluator;
constexpr auto ACKNOWLEDGED = v1::UploadResult::ACKNOWLEDGED;
constexpr auto TOO_LATE = v1::UploadResult::TOO_LATE;

TEST(CoordinatorEvaluationTest, NextEvaluatorThatChecksInEvaluatesTheVersion) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 1, .evaluate_every = 1}),
              IsOk());
  EXPECT_FALSE(
      harness.CheckIn("e", absl::ZeroDuration(), kEvaluator)->has_assignment());
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  EXPECT_EQ(harness.Summary().state(), v1::RUNNING);
  const auto call = harness.CheckIn("e", absl::Hours(1), kEvaluator);
  ASSERT_TRUE(call->has_assignment());
  EXPECT_EQ(call->assignment().kind(), v1::Assignment::EVALUATE);
  EXPECT_EQ(harness.Upload("e", call->assignment(), kEvaluator)->outcome(),
            ACKNOWLEDGED);
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(harness.Summary().loss(), 0.5);
  EXPECT_EQ(harness.Summary().metric(), 0.25);
  EXPECT_EQ(harness.Summary().metric_name(), "accuracy");
}

TEST(CoordinatorEvaluationTest, EvaluatorThatWaitsGetsEachVersionInTurn) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 3, .evaluate_every = 1}),
              IsOk());
  auto evaluator = harness.CheckIn("e", absl::Hours(1), kEvaluator);
  for (int round = 1; round <= 3; ++round) {
    ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()),
                IsOk());
  }
  // The rounds did not wait for it.
  EXPECT_EQ(harness.Summary().version(), 3);
  for (int version = 1; version <= 3; ++version) {
    ASSERT_TRUE(evaluator->has_assignment());
    ASSERT_THAT(harness.Upload("e", evaluator->assignment(), kEvaluator),
                IsOk());
    evaluator = harness.CheckIn("e", absl::Hours(1), kEvaluator);
  }
  std::vector<int64_t> versions;
  for (const v1::TaskEvent& event : harness.Events()) {
    if (event.has_evaluated()) versions.push_back(event.evaluated().version());
  }
  EXPECT_THAT(versions, ElementsAre(1, 2, 3));
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
}

TEST(CoordinatorEvaluationTest, EvaluationThatTakesTooLongIsDoneWithout) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1, .rounds = 1, .evaluate_every = 1}),
              IsOk());
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  const auto call = harness.CheckIn("e", absl::Hours(1), kEvaluator);
  harness.Advance(absl::Minutes(10));
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  EXPECT_EQ(harness.Upload("e", call->assignment(), kEvaluator)->outcome(),
            TOO_LATE);
}

TEST(CoordinatorEvaluationTest, DevicesEvaluateBesideTheNextRound) {
  CoordinatorHarness harness;
  ASSERT_THAT(harness.Submit({.size = 1,
                              .rounds = 2,
                              .evaluate_every = 1,
                              .evaluation_devices = 2}),
              IsOk());
  const auto a = harness.CheckIn("a");
  const auto b = harness.CheckIn("b");
  const auto c = harness.CheckIn("c");
  ASSERT_THAT(harness.Upload("a", a->assignment()), IsOk());
  // One of them trains round 2, the other evaluates.
  ASSERT_TRUE(b->has_assignment());
  ASSERT_TRUE(c->has_assignment());
  EXPECT_NE(b->assignment().kind(), c->assignment().kind());
  const auto a2 = harness.CheckIn("a");
  ASSERT_TRUE(a2->has_assignment());
  EXPECT_EQ(a2->assignment().kind(), v1::Assignment::EVALUATE);
  // Evaluations do not move the counter that training is seeded with.
  EXPECT_EQ(a2->assignment().ordinal(), 1);
  ASSERT_THAT(harness.Upload("a", a2->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("b", b->assignment()), IsOk());
  ASSERT_THAT(harness.Upload("c", c->assignment()), IsOk());
  EXPECT_EQ(harness.Summary().version(), 2);
  EXPECT_TRUE(harness.Summary().has_loss());
}

TEST(CoordinatorEvaluationTest, TargetMetricEndsTheTask) {
  CoordinatorHarness harness;
  v1::Task task = MakeTestTask({.size = 1, .rounds = 100, .evaluate_every = 1});
  task.mutable_stop()->set_target_metric(0.2);
  harness.coordinator->SubmitTask(harness.now, MakeSubmission(task),
                                  [](absl::StatusOr<TaskId>) {});
  ASSERT_THAT(harness.Upload("a", harness.CheckIn("a")->assignment()), IsOk());
  const auto running = harness.CheckIn("a");  // round 2 is under way
  const auto call = harness.CheckIn("e", absl::Hours(1), kEvaluator);
  ASSERT_THAT(harness.Upload("e", call->assignment(), kEvaluator), IsOk());
  EXPECT_EQ(harness.Summary().state(), v1::COMPLETED);
  EXPECT_THAT(harness.Summary().reason(), HasSubstr("accuracy 0.25"));
  EXPECT_EQ(harness.Upload("a", running->assignment())->outcome(), TOO_LATE);
}

}  // namespace
}  // namespace mledge
