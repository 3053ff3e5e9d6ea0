// One task file, run by the simulator and by a fleet of real processes, gives
// the same bits: for a built-in model and for models that were scripted in
// Python and imported, without recompiling anything.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "mledge/core/file.h"
#include "mledge/core/sha256.h"
#include "mledge/core/strings.h"
#include "mledge/tests/integration/fleet.h"

namespace mledge {
namespace {

constexpr int kDevices = 3;

// Runs `model` (the lines of the task's `model` section) both ways.
void ExpectSameBits(Fleet& fleet, const std::string& model, int side) {
  const std::string train = fleet.WriteData("train", 240, 1, side);
  const std::string test = fleet.WriteData("held-out", 100, 2, side);
  const std::string task = fleet.PathOf("same-bits.yaml");
  const auto source = [](const std::string& data) {
    return StrCat("{idx: {images: ", data, "-images, labels: ", data,
                  "-labels}}");
  };
  std::ofstream(task) << "name: same-bits\nseed: 7\nmodel: " << model << R"(
local_training:
  epochs: 2
  batch_size: 16
  sgd: {learning_rate: 0.05, momentum: 0.9}
cohort: {size: 3, deadline: 10m}
secure_aggregation: {mode: off}
evaluation: {every: 1, deadline: 10m}
stop: {rounds: 3}
simulation:
  devices: 3
  training_data: )" << source(train)
                      << "\n  test_data: " << source(test)
                      << "\n  partition: {dirichlet: {alpha: 1, "
                         "minimum_examples: 10}}\n";

  const std::string simulated = fleet.PathOf("simulated");
  const Finished simulation =
      fleet.Mledge({"simulate", task, "--out", simulated}, /*connected=*/false);
  ASSERT_EQ(simulation.status, 0) << simulation.output;
  const auto expected = ReadFile(simulated + "/parameters.f32");
  ASSERT_TRUE(expected.ok()) << expected.status();

  const std::string shares = fleet.PathOf("shares");
  const Finished partition = fleet.Mledge(
      {"data", "partition", task, "--out", shares}, /*connected=*/false);
  ASSERT_EQ(partition.status, 0) << partition.output;
  ASSERT_TRUE(fleet.StartCoordinator());
  int devices = 0;
  for (const auto& file : std::filesystem::directory_iterator(shares)) {
    if (file.path().extension() != ".index") continue;
    fleet.StartAgent(Role::kDevice, file.path().stem(), train, file.path());
    ++devices;
  }
  ASSERT_EQ(devices, kDevices);
  fleet.StartAgent(Role::kEvaluator, "judge", test);
  const Finished submitted =
      fleet.Mledge({"task", "submit", task, "--model-signer",
                    fleet.IdentityOf(Role::kModelSigner, "sam")});
  ASSERT_EQ(submitted.status, 0) << submitted.output;
  const Finished watched = fleet.Mledge({"task", "watch", "same-bits"});
  ASSERT_EQ(watched.status, 0) << watched.output;
  const auto trained = fleet.Admin()->FetchModel("same-bits", std::nullopt);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ(Sha256Of(trained->parameters).ToHex(), Sha256Of(*expected).ToHex());
}

TEST(SameBitsTest, BuiltInModel) {
  Fleet fleet;
  ExpectSameBits(
      fleet,
      "{built_in: {architecture: mlp, inputs: 64, outputs: 4, hidden: [16]}}",
      8);
}

// Models that PyTorch itself wrote.
class ScriptedModelTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ScriptedModelTest, TrainsOnTheFleetWithoutRecompiling) {
  const char* named = std::getenv("MLEDGE_TEST_PYTHON");
  const std::string python = named == nullptr ? "python3" : named;
  const auto succeeds = [](const std::string& command) {
    const int status = std::system(command.c_str());
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  };
  if (!succeeds(python + " -c 'import torch' 2>/dev/null")) {
    GTEST_SKIP() << python
                 << " has no PyTorch: pip install torch, or name another "
                    "interpreter in MLEDGE_TEST_PYTHON";
  }
  Fleet fleet;
  const std::string folder = fleet.PathOf("models");
  ASSERT_TRUE(
      succeeds(StrCat(python, " ", std::getenv("MLEDGE_SOURCE_DIR"),
                      "/scripts/make-example-models ", folder, " >/dev/null")));
  const std::string package = fleet.PathOf(GetParam() + ".mlpkg");
  const Finished imported = fleet.Mledge(
      {"model", "import", StrCat(folder, "/", GetParam(), ".pt"), "--name",
       GetParam(), "--input-shape", "1,28,28", "--loss", "cross_entropy",
       "--metric", "accuracy", "--signer",
       fleet.IdentityOf(Role::kModelSigner, "sam"), "--out", package},
      /*connected=*/false);
  ASSERT_EQ(imported.status, 0) << imported.output;
  ExpectSameBits(fleet, StrCat("{package: ", package, "}"), 28);
}

INSTANTIATE_TEST_SUITE_P(Models, ScriptedModelTest,
                         ::testing::Values("lstm", "attention"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace mledge
