#include <string>

#include "mledge/core/strings.h"
#include "mledge/task/internal/task_sections.h"

namespace mledge::task_internal {
namespace {

void ValidateSgd(v1::SgdOptimizer* sgd, Problems* problems) {
  const std::string path = "local_training.sgd";
  problems->RequirePositive(path + ".learning_rate", sgd->learning_rate(),
                            "0.1");
  problems->RequireFraction(path + ".momentum", sgd->momentum());
  problems->RequireNotNegative(path + ".weight_decay", sgd->weight_decay());
}

void ValidateAdam(v1::AdamOptimizer* adam, Problems* problems) {
  const std::string path = "local_training.adam";
  if (!adam->has_beta1()) adam->set_beta1(0.9);
  if (!adam->has_beta2()) adam->set_beta2(0.999);
  if (!adam->has_epsilon()) adam->set_epsilon(1e-8);
  problems->RequirePositive(path + ".learning_rate", adam->learning_rate(),
                            "0.001");
  problems->RequireFraction(path + ".beta1", adam->beta1());
  problems->RequireFraction(path + ".beta2", adam->beta2());
  problems->RequirePositive(path + ".epsilon", adam->epsilon(), "1e-8");
  problems->RequireNotNegative(path + ".weight_decay", adam->weight_decay());
}

void ValidateSchedule(v1::LearningRateSchedule* schedule, Problems* problems) {
  const std::string path = "local_training.learning_rate_schedule";
  if (schedule->kind() == v1::LearningRateSchedule::CONSTANT) {
    problems->Require(schedule->every() == 0 && schedule->factor() == 0, path,
                      "has `every` or `factor` but is constant; write `kind: "
                      "step` or `kind: cosine`, or leave them out");
    return;
  }
  problems->Require(schedule->every() > 0, path + ".every",
                    StrCat("is ", schedule->every(),
                           "; write a number of rounds, such as 10"));
  problems->RequirePositive(path + ".factor", schedule->factor(), "0.5");
}

}  // namespace

void ValidateLocalTraining(v1::LocalTraining* training, Problems* problems) {
  switch (training->length_case()) {
    case v1::LocalTraining::LENGTH_NOT_SET:
      training->set_epochs(1);
      break;
    case v1::LocalTraining::kEpochs:
      problems->RequirePositive("local_training.epochs", training->epochs(),
                                "1");
      break;
    case v1::LocalTraining::kSteps:
      problems->RequirePositive("local_training.steps", training->steps(),
                                "100");
      break;
  }
  if (!training->has_batch_size()) training->set_batch_size(10);
  problems->RequireNotNegative("local_training.batch_size",
                               training->batch_size());
  switch (training->optimizer_case()) {
    case v1::LocalTraining::kSgd:
      ValidateSgd(training->mutable_sgd(), problems);
      break;
    case v1::LocalTraining::kAdam:
      ValidateAdam(training->mutable_adam(), problems);
      break;
    case v1::LocalTraining::OPTIMIZER_NOT_SET:
      problems->Add("local_training",
                    "names no optimizer; write `sgd: {learning_rate: 0.1}` or "
                    "`adam: {learning_rate: 0.001}`");
      break;
  }
  ValidateSchedule(training->mutable_learning_rate_schedule(), problems);
  problems->RequireNotNegative("local_training.proximal_coefficient",
                               training->proximal_coefficient());
  problems->RequireNotNegative("local_training.clip_norm",
                               training->clip_norm());
  problems->RequireNotNegative("local_training.max_examples",
                               training->max_examples());
}

}  // namespace mledge::task_internal
