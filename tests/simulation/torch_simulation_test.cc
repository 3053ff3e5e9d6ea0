#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mledge/client/memory_store.h"
#include "mledge/client/torch/torch_trainer.h"
#include "mledge/core/training_random.h"
#include "mledge/model/torch/built_in_models.h"
#include "mledge/model/torch/torch_runtime.h"
#include "mledge/model/torch/torchscript_import.h"
#include "mledge/simulation/simulator.h"
#include "mledge/task/validation.h"
#include "mledge/tests/model/torch/script_fixture.h"
#include "mledge/tests/support/status_matchers.h"

// Same seed, same bits, on real models: however many workers there are, with
// messages serialized or not, and when a run is repeated.

namespace mledge {
namespace {

constexpr int64_t kDevices = 6;
constexpr int64_t kExamples = 96;

std::shared_ptr<const ExampleStore> RandomExamples(std::vector<int64_t> shape,
                                                   int64_t classes) {
  MemoryStore::Contents contents;
  contents.input.shape = std::move(shape);
  contents.classes = classes;
  TrainingRandom random({.task_seed = 5, .purpose = "test-data"});
  contents.inputs.resize(kExamples * contents.input.element_count());
  for (float& value : contents.inputs) value = random.UniformFloat();
  for (int64_t i = 0; i < kExamples; ++i) {
    contents.class_labels.push_back(
        static_cast<int64_t>(random.UniformBelow(classes)));
  }
  auto store = MemoryStore::Create(std::move(contents));
  EXPECT_THAT(store, IsOk());
  return *std::move(store);
}

v1::Task MakeTask() {
  v1::Task task;
  task.set_name("bits");
  task.set_seed(11);
  task.mutable_model()->mutable_built_in()->set_architecture("2nn");
  task.mutable_local_training()->set_epochs(1);
  task.mutable_local_training()->set_batch_size(5);
  task.mutable_local_training()->mutable_sgd()->set_learning_rate(0.05);
  task.mutable_cohort()->set_size(3);
  task.mutable_cohort()->set_over_selection(1.5);
  task.mutable_secure_aggregation()->set_mode(v1::SecureAggregation::OFF);
  task.mutable_stop()->set_rounds(2);
  v1::Simulation* simulation = task.mutable_simulation();
  simulation->set_devices(kDevices);
  simulation->mutable_training_data()->mutable_idx()->set_images("given");
  simulation->mutable_training_data()->mutable_idx()->set_labels("given");
  *simulation->mutable_test_data() = simulation->training_data();
  simulation->mutable_partition()->mutable_iid();
  simulation->mutable_device_model()->set_spread(0.5);
  EXPECT_THAT(ValidateTask(&task), IsOk());
  return task;
}

SimulationResult Simulate(const ModelPackage& package,
                          const std::shared_ptr<const ExampleStore>& data,
                          int workers, bool wire) {
  Simulator::Options options;
  options.task = MakeTask();
  options.package = package;
  options.training_data = data;
  options.test_data = data;
  options.workers = workers;
  options.wire = wire;
  options.on_worker_start = PrepareTrainingThread;
  const std::unique_ptr<TrainerFactory> factory = CreateTorchTrainerFactory();
  auto simulator = Simulator::Create(std::move(options), factory.get());
  EXPECT_THAT(simulator, IsOk());
  if (!simulator.ok()) return {};
  absl::StatusOr<SimulationResult> result = (*simulator)->Run();
  EXPECT_THAT(result, IsOk());
  return result.ok() ? *std::move(result) : SimulationResult();
}

void ExpectSameBits(const ModelPackage& package, std::vector<int64_t> shape,
                    int64_t classes) {
  const auto data = RandomExamples(std::move(shape), classes);
  const SimulationResult first = Simulate(package, data, 1, false);
  ASSERT_EQ(first.rounds.size(), 2u);
  EXPECT_NE(first.parameters_sha256, package.initial_parameters.ContentHash());
  for (const auto& [workers, wire] :
       std::vector<std::pair<int, bool>>{{1, false}, {2, false}, {2, true}}) {
    const SimulationResult other = Simulate(package, data, workers, wire);
    EXPECT_EQ(first.parameters_sha256, other.parameters_sha256)
        << workers << " workers, wire " << wire;
    ASSERT_EQ(other.rounds.size(), 2u);
    EXPECT_EQ(first.rounds[1].evaluation_loss, other.rounds[1].evaluation_loss);
  }
}

absl::StatusOr<ModelPackage> Import(const absl::StatusOr<std::string>& code,
                                    TensorSpec input) {
  if (!code.ok()) return code.status();
  auto model = ImportTorchScript(*code, {.name = "fixture", .input = input});
  if (!model.ok()) return model.status();
  return std::move(model->package);
}

TEST(TorchSimulationTest, TwoLayerNetworkHasTheSameBits) {
  const auto package = CreateBuiltInModel({.architecture = "2nn"}, 3);
  ASSERT_THAT(package, IsOk());
  ExpectSameBits(*package, {28, 28}, 10);
}

TEST(TorchSimulationTest, ConvolutionalNetworkHasTheSameBits) {
  const auto package = CreateBuiltInModel({.architecture = "fedavg-cnn"}, 3);
  ASSERT_THAT(package, IsOk());
  ExpectSameBits(*package, {28, 28}, 10);
}

TEST(TorchSimulationTest, ImportedLstmWithDropoutHasTheSameBits) {
  const auto package = Import(CompileLstmModel(), {.shape = {6, 4}});
  ASSERT_THAT(package, IsOk());
  ExpectSameBits(*package, {6, 4}, 3);
}

TEST(TorchSimulationTest, ImportedAttentionWithDropoutHasTheSameBits) {
  const auto code = CompileAttentionModel();
  if (!code.ok()) GTEST_SKIP() << code.status().message();
  const auto package = Import(code, {.shape = {6, 8}});
  ASSERT_THAT(package, IsOk());
  ExpectSameBits(*package, {6, 8}, 3);
}

}  // namespace
}  // namespace mledge
