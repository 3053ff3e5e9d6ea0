#include "mledge/client/training_plan.h"

#include <utility>

namespace mledge {

TrainingPlan MakeTrainingPlan(const v1::Task& task,
                              const v1::Assignment& assignment,
                              const DeviceId& device) {
  const v1::LocalTraining& training = task.local_training();
  TrainingPlan plan;
  plan.kind = assignment.kind() == v1::Assignment::EVALUATE
                  ? TrainingPlan::Kind::kEvaluate
                  : TrainingPlan::Kind::kTrain;
  plan.task_seed = task.seed();
  plan.device = device.value();
  plan.ordinal = assignment.ordinal();
  plan.epochs = training.has_steps() ? 0 : training.epochs();
  plan.steps = training.has_steps() ? training.steps() : 0;
  plan.batch_size = training.batch_size();
  plan.max_examples = training.max_examples();
  plan.learning_rate = assignment.learning_rate();
  if (training.has_adam()) {
    const v1::AdamOptimizer& adam = training.adam();
    plan.optimizer = AdamPlan{.beta1 = adam.beta1(),
                              .beta2 = adam.beta2(),
                              .epsilon = adam.epsilon(),
                              .weight_decay = adam.weight_decay()};
  } else {
    plan.optimizer = SgdPlan{.momentum = training.sgd().momentum(),
                             .weight_decay = training.sgd().weight_decay()};
  }
  plan.proximal_coefficient = training.proximal_coefficient();
  return plan;
}

UpdatePipeline::Options MakePipelineOptions(
    const v1::Task& task, const v1::Assignment& assignment,
    std::shared_ptr<const PrivateTask> privacy) {
  const v1::Aggregation& aggregation = task.aggregation();
  UpdatePipeline::Options options = {
      .clip_norm = assignment.clip_norm(),
      .uniform_weight = aggregation.weighting() == v1::Aggregation::UNIFORM,
      // Secure aggregation clips each value to the bound.
      .value_bound = assignment.has_secure() ? 0 : aggregation.value_bound(),
      // An evaluation's weight plays no part.
      .weight_bound = assignment.kind() == v1::Assignment::EVALUATE
                          ? 0
                          : aggregation.weight_bound()};
  if (privacy != nullptr) {
    options.value_bound = assignment.has_secure() ? 0 : privacy->value_bound;
    options.privacy = std::move(privacy);
    // Its size was checked with the assignment.
    options.rotation_seed =
        Digest::FromBytes(assignment.round_seed()).value_or(Digest());
  }
  return options;
}

secagg::UpdateCodecOptions MakeCodecOptions(
    const v1::SecureAssignment& secure) {
  secagg::UpdateCodecOptions options = {
      .shared_size = secure.shared_size(),
      .value_bound = secure.value_bound(),
      .weight_bound = secure.weight_bound(),
      .uniform_weight = secure.uniform_weight(),
      .maximum_updates = secure.maximum_updates(),
      .value_bits = secure.value_bits(),
      .clip_bit = secure.clip_bit()};
  if (secure.has_grid()) {
    options.grid = {.fraction_bits = secure.grid().fraction_bits(),
                    .modulus_bits = secure.grid().modulus_bits()};
  }
  return options;
}

}  // namespace mledge
