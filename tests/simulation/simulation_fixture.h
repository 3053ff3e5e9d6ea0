#ifndef MLEDGE_TESTS_SIMULATION_SIMULATION_FIXTURE_H_
#define MLEDGE_TESTS_SIMULATION_SIMULATION_FIXTURE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "google/protobuf/text_format.h"
#include "mledge/client/memory_store.h"
#include "mledge/simulation/simulator.h"
#include "mledge/task/validation.h"
#include "mledge/tests/support/fake_trainer.h"
#include "mledge/tests/support/status_matchers.h"

// A small task for twenty simulated devices with a trainer that needs no
// LibTorch, and what two runs of it must have in common.

namespace mledge {

// `count` examples of four values, labels by turns.
inline std::shared_ptr<const ExampleStore> Examples(int64_t count) {
  MemoryStore::Contents contents;
  contents.input.shape = {4};
  contents.classes = 2;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < 4; ++j) {
      contents.inputs.push_back(
          1 + 0.25f * std::sin(static_cast<float>(i * 4 + j)));
    }
    contents.class_labels.push_back(i % 2);
  }
  return *MemoryStore::Create(std::move(contents));
}

inline v1::Task MakeTask(const std::string& more = "") {
  v1::Task task;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        name: "test"
        seed: 3
        model { built_in { architecture: "2nn" } }
        local_training {
          epochs: 2
          batch_size: 4
          sgd { learning_rate: 0.1 }
        }
        cohort { size: 5 }
        secure_aggregation { mode: OFF }
        stop { rounds: 6 }
        simulation {
          devices: 20
          training_data { idx { images: "i" labels: "l" } }
          test_data { idx { images: "i" labels: "l" } }
          partition { iid {} }
        })pb",
      &task));
  // Fields given twice in text format are an error; merged, the later wins.
  v1::Task overrides;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(more, &overrides));
  task.MergeFrom(overrides);
  EXPECT_THAT(ValidateTask(&task), IsOk());
  return task;
}

inline Simulator::Options MakeOptions(const v1::Task& task) {
  Simulator::Options options;
  options.task = task;
  options.package = MakeFakePackage(300);
  options.training_data = Examples(200);
  options.test_data = Examples(2500);
  options.workers = 1;
  return options;
}

inline absl::StatusOr<SimulationResult> Simulate(
    Simulator::Options options, TrainerFactory* factory = nullptr) {
  FakeTrainerFactory fake;
  absl::StatusOr<std::unique_ptr<Simulator>> simulator = Simulator::Create(
      std::move(options), factory == nullptr ? &fake : factory);
  if (!simulator.ok()) return simulator.status();
  return (*simulator)->Run();
}

// Everything about a run that must not depend on the machine.
inline void ExpectSameRun(const SimulationResult& a,
                          const SimulationResult& b) {
  EXPECT_EQ(a.parameters_sha256, b.parameters_sha256);
  EXPECT_EQ(a.virtual_time, b.virtual_time);
  ASSERT_EQ(a.rounds.size(), b.rounds.size());
  for (size_t i = 0; i < a.rounds.size(); ++i) {
    EXPECT_EQ(a.rounds[i].virtual_seconds, b.rounds[i].virtual_seconds);
    EXPECT_EQ(a.rounds[i].training_loss, b.rounds[i].training_loss);
    EXPECT_EQ(a.rounds[i].evaluation_loss, b.rounds[i].evaluation_loss);
    EXPECT_EQ(a.rounds[i].evaluation_metric, b.rounds[i].evaluation_metric);
    EXPECT_EQ(a.rounds[i].devices, b.rounds[i].devices);
    EXPECT_EQ(a.rounds[i].failures, b.rounds[i].failures);
  }
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_SIMULATION_SIMULATION_FIXTURE_H_
