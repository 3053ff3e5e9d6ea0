#include "mledge/task/validation.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "mledge/core/ids.h"
#include "mledge/core/strings.h"
#include "mledge/task/internal/problems.h"
#include "mledge/task/internal/task_sections.h"

namespace mledge {
namespace {

using task_internal::InSeconds;
using task_internal::kLargestCohort;
using task_internal::Problems;

constexpr int64_t kLargestWeight = (int64_t{1} << 31) - 1;

void RequireId(std::string_view field, const std::string& id,
               Problems* problems) {
  if (absl::Status status = ValidateId("name", id); !status.ok()) {
    problems->Add(field, ToStdView(status.message()));
  }
}

void ValidateAggregation(v1::Aggregation* aggregation, int64_t cohort_size,
                         bool secure, Problems* problems) {
  if (aggregation->value_bound() == 0) {
    aggregation->set_value_bound(secure ? 1 : 16);
  }
  if (aggregation->weight_bound() == 0) {
    aggregation->set_weight_bound(secure ? 8192 : 1048576);
  }
  problems->RequirePositive("aggregation.value_bound",
                            aggregation->value_bound(), secure ? "1" : "16");
  problems->Require(aggregation->weight_bound() >= 1 &&
                        aggregation->weight_bound() <= kLargestWeight,
                    "aggregation.weight_bound",
                    StrCat("is ", aggregation->weight_bound(), "; write 1 to ",
                           kLargestWeight));
  // Leaves at least the 16 fraction bits that aggregation/fixed_point.h asks
  // for, whatever rounding the bounds up to powers of two costs.
  const double weight = aggregation->weighting() == v1::Aggregation::UNIFORM
                            ? 1.0
                            : static_cast<double>(aggregation->weight_bound());
  problems->Require(
      !(aggregation->value_bound() > 0) ||
          (aggregation->value_bound() <= 0x1p31 &&
           aggregation->value_bound() * weight *
                   static_cast<double>(cohort_size) <=
               0x1p43),
      "aggregation",
      StrCat("value_bound ", aggregation->value_bound(), ", weight_bound ",
             aggregation->weight_bound(), " and cohort.size ", cohort_size,
             " together are too large to be added up precisely; their "
             "product may be 8.7e12, value_bound alone 2.1e9"));
  switch (aggregation->server_optimizer_case()) {
    case v1::Aggregation::SERVER_OPTIMIZER_NOT_SET:
    case v1::Aggregation::kSgd: {
      v1::ServerSgd* sgd = aggregation->mutable_sgd();
      if (!sgd->has_learning_rate()) sgd->set_learning_rate(1);
      problems->RequirePositive("aggregation.sgd.learning_rate",
                                sgd->learning_rate(), "1");
      problems->RequireFraction("aggregation.sgd.momentum", sgd->momentum());
      return;
    }
    case v1::Aggregation::kAdam: {
      v1::ServerAdam* adam = aggregation->mutable_adam();
      if (!adam->has_beta1()) adam->set_beta1(0.9);
      if (!adam->has_beta2()) adam->set_beta2(0.99);
      if (!adam->has_tau()) adam->set_tau(1e-3);
      problems->RequirePositive("aggregation.adam.learning_rate",
                                adam->learning_rate(), "0.01");
      problems->RequireFraction("aggregation.adam.beta1", adam->beta1());
      problems->RequireFraction("aggregation.adam.beta2", adam->beta2());
      problems->RequirePositive("aggregation.adam.tau", adam->tau(), "1e-3");
      return;
    }
  }
}

// Whether the parameters are feasible for the cohort, and its sums have room,
// is for those to say who know the protocol: coordinator and devices.
void ValidateSecureAggregation(v1::Task* task, Problems* problems) {
  v1::SecureAggregation* secure = task->mutable_secure_aggregation();
  if (secure->mode() == v1::SecureAggregation::MODE_UNSPECIFIED) {
    secure->set_mode(v1::SecureAggregation::ON);
  }
  if (secure->mode() == v1::SecureAggregation::OFF) {
    v1::SecureAggregation nothing_else;
    nothing_else.set_mode(v1::SecureAggregation::OFF);
    problems->Require(
        secure->SerializeAsString() == nothing_else.SerializeAsString(),
        "secure_aggregation",
        "is off and has settings; leave them out, or leave `mode: off` out");
    return;
  }
  problems->Require(secure->value_bits() == 0 || (secure->value_bits() >= 2 &&
                                                  secure->value_bits() <= 24),
                    "secure_aggregation.value_bits",
                    StrCat("is ", secure->value_bits(), "; write 2 to 24"));
  if (!secure->has_corrupt_fraction()) secure->set_corrupt_fraction(0.1);
  problems->RequireFraction("secure_aggregation.corrupt_fraction",
                            secure->corrupt_fraction());
  if (!secure->has_dropout_fraction()) secure->set_dropout_fraction(0.1);
  problems->RequireFraction("secure_aggregation.dropout_fraction",
                            secure->dropout_fraction());
  const int64_t size = task->cohort().size();
  problems->Require(
      size == 0 || size >= 3, "cohort.size",
      StrCat("is ", size,
             "; secure aggregation takes at least 3 devices: a sum of fewer "
             "hides nobody. Write 3 or more, or `secure_aggregation: "
             "{mode: off}`"));
  problems->Require(secure->least_alive() >= 0 &&
                        (size == 0 || secure->least_alive() <= size),
                    "secure_aggregation.least_alive",
                    StrCat("is ", secure->least_alive(),
                           "; write at most cohort.size, which "
                           "is ",
                           size));
  problems->Require(secure->group_size() == 0 || secure->group_size() >= 3,
                    "secure_aggregation.group_size",
                    StrCat("is ", secure->group_size(), "; write 3 or more"));
  if (!secure->has_step_deadline()) {
    secure->mutable_step_deadline()->set_seconds(30);
  }
  problems->RequirePositive("secure_aggregation.step_deadline",
                            InSeconds(secure->step_deadline()), "30s");
}

void ValidateEvaluation(v1::Evaluation* evaluation, int64_t cohort_size,
                        bool secure, Problems* problems) {
  if (!evaluation->has_every()) evaluation->set_every(1);
  problems->RequireNotNegative("evaluation.every", evaluation->every());
  if (evaluation->where() == v1::Evaluation::DEVICES) {
    if (evaluation->devices() == 0) evaluation->set_devices(cohort_size);
    problems->Require(
        evaluation->devices() >= 1 && evaluation->devices() <= kLargestCohort,
        "evaluation.devices",
        StrCat("is ", evaluation->devices(), "; write 1 to ", kLargestCohort));
    problems->Require(!secure || evaluation->devices() >= 3,
                      "evaluation.devices",
                      StrCat("is ", evaluation->devices(),
                             "; with secure aggregation write 3 or more: a sum "
                             "of fewer hides nobody"));
  } else {
    problems->Require(evaluation->devices() == 0, "evaluation.devices",
                      "goes with `where: devices` only; leave it out");
  }
  if (!evaluation->has_deadline()) {
    evaluation->mutable_deadline()->set_seconds(600);
  }
  problems->RequirePositive("evaluation.deadline",
                            InSeconds(evaluation->deadline()), "10m");
}

}  // namespace

absl::Status ValidateTask(v1::Task* task) {
  Problems problems;
  if (task->name().empty()) {
    problems.Add("name", "is missing; name the task, such as my-task");
  } else {
    RequireId("name", task->name(), &problems);
  }
  if (!task->has_seed()) task->set_seed(1);
  if (task->population().empty()) task->set_population("default");
  RequireId("population", task->population(), &problems);
  task_internal::ValidateModel(task->mutable_model(), &problems);
  task_internal::ValidateLocalTraining(task->mutable_local_training(),
                                       &problems);
  task_internal::ValidateCohort(task, &problems);
  ValidateSecureAggregation(task, &problems);
  const bool secure =
      task->secure_aggregation().mode() == v1::SecureAggregation::ON;
  ValidateAggregation(task->mutable_aggregation(), task->cohort().size(),
                      secure, &problems);
  ValidateEvaluation(task->mutable_evaluation(), task->cohort().size(), secure,
                     &problems);
  problems.RequirePositive("stop.rounds", task->stop().rounds(), "10");
  problems.Require(!task->stop().has_target_metric() ||
                       std::isfinite(task->stop().target_metric()),
                   "stop.target_metric", "is not a finite number");
  task_internal::ValidatePrivacy(task, &problems);
  if (task->has_simulation()) {
    task_internal::ValidateSimulation(task, &problems);
  }
  return problems.ToStatus();
}

}  // namespace mledge
