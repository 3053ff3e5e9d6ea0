#ifndef MLEDGE_TESTS_COORDINATOR_SUPPORT_TEST_TASK_H_
#define MLEDGE_TESTS_COORDINATOR_SUPPORT_TEST_TASK_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mledge/aggregation/update_file.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/core/training_random.h"
#include "mledge/model/package.h"
#include "mledge/model/package_file.h"
#include "mledge/tests/support/test_pki.h"

// A tiny model, tasks over it, and the updates that devices would make: all a
// test of the coordinator needs, without training. An update is a function of
// its assignment alone, so that a test can form every expected sum itself.

namespace mledge {

// Six trainable values and an averaged buffer of two.
inline ModelPackage MakeCoordinatorTestPackage() {
  ModelPackage package;
  package.name = "tiny";
  package.layout =
      ParameterLayout::Create({{.name = "fc.weight", .shape = {2, 2}},
                               {.name = "fc.bias", .shape = {2}},
                               {.name = "norm.mean",
                                .shape = {2},
                                .role = ParameterRole::kAveragedBuffer}})
          .value();
  package.code = "TorchScript would stand here";
  package.initial_parameters = ParameterVector(package.layout);
  float value = 0;
  for (float& parameter : package.initial_parameters.values()) {
    parameter = value += 0.5f;
  }
  package.input = {.shape = {2}};
  package.output = {.shape = {2}};
  return package;
}

// The package as a file; signed once a process.
inline const std::string& TestPackageFile() {
  static const std::string& file = *new std::string(
      SerializePackageFile(MakeCoordinatorTestPackage(),
                           TestPki().MakeSigner(Role::kModelSigner, "mona"))
          .value());
  return file;
}

struct TestTaskOptions {
  std::string name = "task";
  int64_t size = 2;
  int64_t minimum = 0;  // 0: size
  double over_selection = 1;
  int64_t rounds = 2;
  int64_t deadline_in_seconds = 600;
  int64_t minimum_waiting = 0;
  int64_t minimum_interval_in_seconds = 0;
  int64_t evaluate_every = 0;
  int64_t evaluation_devices = 0;  // 0: evaluators
  double momentum = 0;
  std::string population = "default";
  bool secure = false;
};

// As task/validation.h would leave it.
inline v1::Task MakeTestTask(const TestTaskOptions& options) {
  v1::Task task;
  task.set_name(options.name);
  task.set_seed(7);
  task.set_population(options.population);
  task.mutable_local_training()->set_epochs(1);
  task.mutable_local_training()->mutable_sgd()->set_learning_rate(0.1);
  v1::Cohort& cohort = *task.mutable_cohort();
  cohort.set_size(options.size);
  cohort.set_minimum(options.minimum > 0 ? options.minimum : options.size);
  cohort.set_over_selection(options.over_selection);
  cohort.mutable_deadline()->set_seconds(options.deadline_in_seconds);
  cohort.mutable_minimum_interval()->set_seconds(
      options.minimum_interval_in_seconds);
  cohort.set_minimum_waiting(options.minimum_waiting);
  v1::Aggregation& aggregation = *task.mutable_aggregation();
  aggregation.set_value_bound(16);
  aggregation.set_weight_bound(1000);
  aggregation.mutable_sgd()->set_learning_rate(1);
  aggregation.mutable_sgd()->set_momentum(options.momentum);
  v1::SecureAggregation& secure = *task.mutable_secure_aggregation();
  secure.set_mode(options.secure ? v1::SecureAggregation::ON
                                 : v1::SecureAggregation::OFF);
  if (options.secure) {
    secure.set_corrupt_fraction(0.1);
    secure.set_dropout_fraction(0.1);
    secure.mutable_step_deadline()->set_seconds(30);
  }
  v1::Evaluation& evaluation = *task.mutable_evaluation();
  evaluation.set_every(options.evaluate_every);
  evaluation.mutable_deadline()->set_seconds(options.deadline_in_seconds);
  if (options.evaluation_devices > 0) {
    evaluation.set_where(v1::Evaluation::DEVICES);
    evaluation.set_devices(options.evaluation_devices);
  }
  task.mutable_stop()->set_rounds(options.rounds);
  return task;
}

inline Coordinator::Submission MakeSubmission(v1::Task task) {
  Coordinator::Submission submission;
  v1::SignedMessage message;
  message.set_context("task");
  message.set_payload(task.SerializeAsString());
  submission.signed_task = message.SerializeAsString();
  submission.task = std::move(task);
  submission.package_file = TestPackageFile();
  submission.submitted_by = "olga";
  return submission;
}

// What the device of this assignment uploads.
inline Update MakeTestUpdate(const std::string& assignment_id, bool train) {
  TrainingRandom random({.device = assignment_id, .purpose = "test-update"});
  Update update;
  update.weight = 1 + static_cast<int64_t>(random.UniformBelow(20));
  if (train) {
    UpdateSection section;
    section.name = std::string(kDeltaSection);
    section.values =
        AlignedFloats(MakeCoordinatorTestPackage().layout->shared_size());
    for (float& value : section.values.span()) {
      value = random.UniformFloat() * 2 - 1;
    }
    update.sections.push_back(std::move(section));
  }
  const auto examples = static_cast<double>(update.weight);
  update.scalars = {{std::string(kExamplesScalar), examples},
                    {std::string(kLossSumScalar), examples * 0.5},
                    {std::string(kMetricSumScalar), examples * 0.25}};
  return update;
}

inline UpdateContext MakeTestContext(const std::string& assignment_id) {
  static const Digest& fingerprint =
      *new Digest(MakeCoordinatorTestPackage().layout->fingerprint());
  return {AssignmentId(assignment_id), fingerprint};
}

inline std::string MakeTestUpdateFile(const std::string& assignment_id,
                                      bool train) {
  return SerializeUpdate(MakeTestUpdate(assignment_id, train),
                         MakeTestContext(assignment_id))
      .value();
}

// What announces those bytes.
inline v1::UploadHeader MakeTestUploadHeader(const std::string& assignment_id,
                                             std::string_view file) {
  v1::UploadHeader header;
  header.set_assignment_id(assignment_id);
  header.set_content_sha256(Sha256Of(file).ToBytes());
  header.set_size_in_bytes(file.size());
  return header;
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_COORDINATOR_SUPPORT_TEST_TASK_H_
