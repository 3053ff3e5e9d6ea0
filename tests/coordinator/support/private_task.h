#ifndef MLEDGE_TESTS_COORDINATOR_SUPPORT_PRIVATE_TASK_H_
#define MLEDGE_TESTS_COORDINATOR_SUPPORT_PRIVATE_TASK_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mledge/coordinator/coordinator.h"
#include "mledge/core/update.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/tests/coordinator/support/test_task.h"

// Private tasks over the tiny model of test_task.h, and the updates of devices
// that follow them.

namespace mledge {

struct PrivateTaskTestOptions {
  v1::Privacy::Mechanism mechanism = v1::Privacy::CENTRAL;
  double noise_multiplier = 1;
  int64_t participations = 1;
  int64_t separation = 1;
  std::optional<double> epsilon_limit;
  bool adaptive_clipping = false;
  double clip_norm = 0.5;
  // Instead of `clip_norm`, where there are any.
  std::vector<std::pair<std::string, double>> layer_clip_norms;
  bool poisson = false;  // of TestTaskOptions.minimum_waiting devices
};

// As task/validation.h would leave it.
inline v1::Task MakePrivateTask(const TestTaskOptions& task_options,
                                const PrivateTaskTestOptions& options) {
  v1::Task task = MakeTestTask(task_options);
  if (options.layer_clip_norms.empty()) {
    task.mutable_local_training()->set_clip_norm(options.clip_norm);
  }
  for (const auto& [name, clip_norm] : options.layer_clip_norms) {
    v1::LayerClipNorm& layer = *task.mutable_privacy()->add_layer_clip_norms();
    layer.set_layer(name);
    layer.set_clip_norm(clip_norm);
  }
  task.mutable_aggregation()->set_weighting(v1::Aggregation::UNIFORM);
  v1::Privacy& privacy = *task.mutable_privacy();
  privacy.set_mechanism(options.mechanism);
  privacy.set_noise_multiplier(options.noise_multiplier);
  privacy.set_delta(1e-6);
  privacy.set_population_size(1000);
  privacy.set_participations(options.participations);
  privacy.set_separation(options.separation);
  if (options.poisson) {
    v1::Cohort& cohort = *task.mutable_cohort();
    cohort.set_selection(v1::Cohort::POISSON);
    cohort.clear_minimum();
    cohort.clear_deadline();
    privacy.set_participations(task_options.rounds);
  }
  if (options.epsilon_limit.has_value()) {
    privacy.set_epsilon_limit(*options.epsilon_limit);
  }
  if (options.mechanism == v1::Privacy::CORRELATED) {
    privacy.mutable_correlated()->set_kind(v1::CorrelatedNoise::SQUARE_ROOT);
    privacy.mutable_correlated()->set_bands(2);
  }
  if (options.adaptive_clipping) {
    v1::AdaptiveClipping& clipping = *privacy.mutable_adaptive_clipping();
    clipping.set_target_quantile(0.5);
    clipping.set_learning_rate(0.2);
    clipping.set_count_noise(0.01);
    clipping.set_largest_change(2);
  }
  return task;
}

// The update of a device that follows `task`: a vector of norm about 0.7 of the
// clip norm, on the grid.
inline Update MakePrivateTestUpdate(const v1::Task& task) {
  const int64_t size = MakeCoordinatorTestPackage().layout->shared_size();
  Update update;
  update.weight = 1;
  UpdateSection section;
  section.name = std::string(kDeltaSection);
  section.values = AlignedFloats(size);
  for (float& value : section.values.span()) value = 0.25f;
  update.sections.push_back(std::move(section));
  for (const std::string_view name :
       {kExamplesScalar, kLossSumScalar, kMetricSumScalar}) {
    update.scalars.push_back({std::string(name), 0});
  }
  if (task.privacy().has_adaptive_clipping()) {
    update.scalars.push_back({std::string(kClipBitScalar), 0.5});
  }
  return update;
}

inline std::string MakePrivateTestUpdateFile(const v1::Task& task,
                                             const std::string& assignment_id) {
  return SerializeUpdate(MakePrivateTestUpdate(task),
                         MakeTestContext(assignment_id))
      .value();
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_SUPPORT_PRIVATE_TASK_H_
