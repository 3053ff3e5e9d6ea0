#include "mledge/coordinator/task_plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mledge/aggregation/secagg/parameters.h"

namespace mledge {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

}  // namespace

bool TaskPlan::EvaluationIsDue(VersionNumber version) const {
  if (evaluate_every <= 0 || version.value() <= 0) return false;
  return version.value() % evaluate_every == 0 || version.value() == rounds;
}

TaskPlan ResolveTask(const v1::Task& task) {
  TaskPlan plan;
  plan.task = TaskId(task.name());
  plan.seed = task.seed();
  plan.population = task.population();
  const v1::Cohort& cohort = task.cohort();
  plan.target = cohort.size();
  plan.minimum = cohort.minimum() > 0 ? cohort.minimum() : cohort.size();
  const double over =
      cohort.has_over_selection() ? cohort.over_selection() : 1.0;
  // A product such as 10 · 1.1 lies a little above the number that is meant.
  plan.assigned = std::max(
      plan.target, static_cast<int64_t>(std::ceil(
                       static_cast<double>(cohort.size()) * over - 1e-9)));
  plan.minimum_waiting =
      cohort.minimum_waiting() > 0 ? cohort.minimum_waiting() : plan.assigned;
  plan.deadline = ToDuration(cohort.deadline());
  if (cohort.selection() == v1::Cohort::POISSON) {
    plan.sampling_probability = static_cast<double>(plan.target) /
                                static_cast<double>(plan.minimum_waiting);
    plan.minimum = 0;
    plan.deadline = absl::InfiniteDuration();
  }
  plan.minimum_interval = ToDuration(cohort.minimum_interval());
  plan.secure = task.secure_aggregation().mode() == v1::SecureAggregation::ON;
  const v1::Evaluation& evaluation = task.evaluation();
  plan.evaluate_every = evaluation.has_every() ? evaluation.every() : 1;
  plan.evaluate_on_devices = evaluation.where() == v1::Evaluation::DEVICES;
  plan.evaluation_devices = !plan.evaluate_on_devices  ? 1
                            : evaluation.devices() > 0 ? evaluation.devices()
                                                       : cohort.size();
  if (plan.secure && plan.evaluate_on_devices) {
    plan.evaluation_minimum = std::max(
        {secagg::kFewestClients, task.secure_aggregation().least_alive(),
         std::min(plan.minimum, plan.evaluation_devices)});
  }
  plan.evaluation_deadline = ToDuration(evaluation.deadline());
  plan.rounds = task.stop().rounds();
  if (task.stop().has_target_metric()) {
    plan.target_metric = task.stop().target_metric();
  }
  return plan;
}

double LearningRateOfRound(const v1::LocalTraining& training, int64_t nth) {
  const double rate = training.has_adam() ? training.adam().learning_rate()
                                          : training.sgd().learning_rate();
  const v1::LearningRateSchedule& schedule = training.learning_rate_schedule();
  const double passed = static_cast<double>(nth - 1);
  const double every =
      static_cast<double>(std::max<int64_t>(1, schedule.every()));
  switch (schedule.kind()) {
    case v1::LearningRateSchedule::STEP:
      return rate * std::pow(schedule.factor(), std::floor(passed / every));
    case v1::LearningRateSchedule::COSINE: {
      const double way = std::min(1.0, passed / every);
      const double share = 0.5 * (1.0 + std::cos(std::numbers::pi * way));
      return rate * (schedule.factor() + (1.0 - schedule.factor()) * share);
    }
    default:
      return rate;
  }
}

Digest RoundSeed(uint64_t task_seed, const TaskId& task, RoundNumber round) {
  return Sha256()
      .UpdateField("mledge/v1/round-seed")
      .UpdateU64(task_seed)
      .UpdateField(task.value())
      .UpdateU64(static_cast<uint64_t>(round.value()))
      .Finish();
}

}  // namespace mledge
