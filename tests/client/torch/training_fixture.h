#ifndef MLEDGE_TESTS_CLIENT_TORCH_TRAINING_FIXTURE_H_
#define MLEDGE_TESTS_CLIENT_TORCH_TRAINING_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mledge/client/local_trainer.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/core/training_random.h"
#include "mledge/model/torch/built_in_models.h"

// Small data sets and whole trainings for tests of the trainer. Plain header.

namespace mledge {

// Examples held as they are given, also wrong ones, which real sources refuse.
struct FakeStore final : public ExampleStore {
  TensorSpec spec;
  int64_t class_count = 0;
  int64_t width = 1;
  std::vector<float> inputs;
  std::vector<int64_t> labels;
  std::vector<float> values;

  int64_t size() const override {
    return class_count > 0 ? static_cast<int64_t>(labels.size())
                           : static_cast<int64_t>(values.size()) / width;
  }
  const TensorSpec& input() const override { return spec; }
  int64_t classes() const override { return class_count; }
  int64_t label_width() const override { return width; }
  absl::Status Read(std::span<const int64_t> positions,
                    ExampleBatch* batch) const override {
    batch->size = static_cast<int64_t>(positions.size());
    batch->inputs.clear();
    batch->index_inputs.clear();
    batch->class_labels.clear();
    batch->label_values.clear();
    const int64_t row = spec.element_count();
    for (const int64_t position : positions) {
      for (int64_t i = 0; i < row; ++i) {
        const float value = inputs[position * row + i];
        if (spec.kind == TensorSpec::Kind::kIndex) {
          batch->index_inputs.push_back(static_cast<int64_t>(value));
        } else {
          batch->inputs.push_back(value);
        }
      }
      if (class_count > 0) batch->class_labels.push_back(labels[position]);
      for (int64_t i = 0; i < width && !values.empty(); ++i) {
        batch->label_values.push_back(values[position * width + i]);
      }
    }
    return absl::OkStatus();
  }
};

// `size` examples with uniform inputs; the label is the largest of some linear
// functions of them.
inline FakeStore MakeStore(std::vector<int64_t> shape, int64_t classes,
                           int64_t size, uint64_t seed = 1) {
  FakeStore store;
  store.spec.shape = std::move(shape);
  store.class_count = classes;
  TrainingRandom random({.task_seed = seed, .purpose = "test data"});
  const int64_t row = store.spec.element_count();
  for (int64_t i = 0; i < size; ++i) {
    std::vector<double> scores(classes);
    for (int64_t k = 0; k < row; ++k) {
      const float value = 2 * random.UniformFloat() - 1;
      store.inputs.push_back(value);
      for (int64_t c = 0; c < classes; ++c) {
        scores[c] += value * static_cast<double>((3 * k + 2 * c) % 5 - 2);
      }
    }
    store.labels.push_back(std::max_element(scores.begin(), scores.end()) -
                           scores.begin());
  }
  return store;
}

inline TrainingPlan MakePlan(SgdPlan sgd = {}) {
  TrainingPlan plan;
  plan.task_seed = 42;
  plan.device = "device-1";
  plan.ordinal = 3;
  plan.epochs = 2;
  plan.batch_size = 8;
  plan.learning_rate = 0.1;
  plan.optimizer = sgd;
  return plan;
}

inline ModelPackage MustCreate(const BuiltInModelOptions& options) {
  auto package = CreateBuiltInModel(options, 5);
  EXPECT_TRUE(package.ok()) << package.status();
  return *std::move(package);
}

inline std::unique_ptr<LocalTrainer> MustMakeTrainer(
    const ModelPackage& package, TorchTrainerOptions options = {}) {
  auto trainer = CreateTorchTrainerFactory(options)->CreateTrainer(package);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  return *std::move(trainer);
}

// Steps a started trainer to its end, `stride` steps a call.
inline absl::StatusOr<Update> RunToEnd(LocalTrainer* trainer,
                                       int64_t stride = 1000) {
  while (true) {
    const auto progress = trainer->Step(stride);
    if (!progress.ok()) return progress.status();
    if (*progress == LocalTrainer::Progress::kDone) return trainer->Finish();
  }
}

inline absl::StatusOr<Update> TrainWith(LocalTrainer* trainer,
                                        const ModelPackage& package,
                                        const TrainingPlan& plan,
                                        const ExampleStore& store,
                                        int64_t stride = 1000) {
  const absl::Status started =
      trainer->Start(plan, package.initial_parameters, &store);
  if (!started.ok()) return started;
  return RunToEnd(trainer, stride);
}

// Section and scalars as comparable values.
inline std::vector<double> Flatten(const Update& update) {
  std::vector<double> all;
  for (const UpdateSection& section : update.sections) {
    all.insert(all.end(), section.values.span().begin(),
               section.values.span().end());
  }
  for (const UpdateScalar& scalar : update.scalars) all.push_back(scalar.value);
  all.push_back(static_cast<double>(update.weight));
  return all;
}

inline std::vector<double> MustTrain(const ModelPackage& package,
                                     const TrainingPlan& plan,
                                     const ExampleStore& store) {
  const auto update =
      TrainWith(MustMakeTrainer(package).get(), package, plan, store);
  EXPECT_TRUE(update.ok()) << update.status();
  return update.ok() ? Flatten(*update) : std::vector<double>();
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_CLIENT_TORCH_TRAINING_FIXTURE_H_
