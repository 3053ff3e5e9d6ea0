#include "mledge/coordinator/task_plan.h"

#include <gtest/gtest.h>

#include <set>

namespace mledge {
namespace {

v1::LocalTraining MakeTraining(v1::LearningRateSchedule::Kind kind) {
  v1::LocalTraining training;
  training.mutable_sgd()->set_learning_rate(0.8);
  training.mutable_learning_rate_schedule()->set_kind(kind);
  training.mutable_learning_rate_schedule()->set_every(10);
  training.mutable_learning_rate_schedule()->set_factor(0.5);
  return training;
}

TEST(LearningRateOfRoundTest, Constant) {
  const auto training = MakeTraining(v1::LearningRateSchedule::CONSTANT);
  EXPECT_EQ(LearningRateOfRound(training, 1), 0.8);
  EXPECT_EQ(LearningRateOfRound(training, 1000), 0.8);
}

TEST(LearningRateOfRoundTest, Step) {
  const auto training = MakeTraining(v1::LearningRateSchedule::STEP);
  EXPECT_EQ(LearningRateOfRound(training, 10), 0.8);
  EXPECT_EQ(LearningRateOfRound(training, 11), 0.4);
  EXPECT_EQ(LearningRateOfRound(training, 21), 0.2);
}

TEST(LearningRateOfRoundTest, Cosine) {
  const auto training = MakeTraining(v1::LearningRateSchedule::COSINE);
  EXPECT_DOUBLE_EQ(LearningRateOfRound(training, 1), 0.8);
  EXPECT_DOUBLE_EQ(LearningRateOfRound(training, 6), 0.6);
  EXPECT_DOUBLE_EQ(LearningRateOfRound(training, 11), 0.4);
  EXPECT_DOUBLE_EQ(LearningRateOfRound(training, 100), 0.4);
}

TEST(LearningRateOfRoundTest, Adam) {
  v1::LocalTraining training;
  training.mutable_adam()->set_learning_rate(0.01);
  EXPECT_EQ(LearningRateOfRound(training, 3), 0.01);
}

TEST(ResolveTaskTest, OverSelectionIsRoundedUp) {
  v1::Task task;
  task.mutable_cohort()->set_size(10);
  task.mutable_cohort()->set_over_selection(1.1);
  EXPECT_EQ(ResolveTask(task).assigned, 11);
  task.mutable_cohort()->set_over_selection(1.11);
  EXPECT_EQ(ResolveTask(task).assigned, 12);
  EXPECT_EQ(ResolveTask(task).minimum_waiting, 12);
  EXPECT_EQ(ResolveTask(task).minimum, 10);
}

TEST(ResolveTaskTest, EvaluationIsDueEverySoManyVersionsAndAfterTheLast) {
  v1::Task task;
  task.mutable_evaluation()->set_every(3);
  task.mutable_stop()->set_rounds(7);
  const TaskPlan plan = ResolveTask(task);
  std::set<int64_t> due;
  for (int64_t v = 0; v <= 7; ++v) {
    if (plan.EvaluationIsDue(VersionNumber(v))) due.insert(v);
  }
  EXPECT_EQ(due, (std::set<int64_t>{3, 6, 7}));
  task.mutable_evaluation()->set_every(0);
  EXPECT_FALSE(ResolveTask(task).EvaluationIsDue(VersionNumber(7)));
}

TEST(RoundSeedTest, DiffersByTaskSeedAndRound) {
  std::set<Digest> seeds;
  for (uint64_t seed : {1, 2}) {
    for (const char* task : {"a", "b"}) {
      for (int round : {1, 2}) {
        seeds.insert(RoundSeed(seed, TaskId(task), RoundNumber(round)));
      }
    }
  }
  EXPECT_EQ(seeds.size(), 8u);
}

}  // namespace
}  // namespace mledge
