#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "mledge/tests/cli/run_mledge.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string& TaskFile() {
  static const auto& path =
      *new std::string(std::string(getenv("MLEDGE_SOURCE_DIR")) +
                       "/tasks/fashion-mnist-private-central.yaml");
  return path;
}

CommandResult Plan(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"privacy", "plan", TaskFile()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunMledge(arguments);
}

TEST(PrivacyPlanTest, ShowsSimulationAndDeploymentSideBySide) {
  const CommandResult result = Plan({"--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  ASSERT_EQ(json["cohorts"].size(), 2u);
  const auto& simulated = json["cohorts"][0];
  const auto& deployment = json["cohorts"][1];
  EXPECT_EQ(simulated["cohort"], 50);
  EXPECT_EQ(deployment["cohort"], 10000);
  EXPECT_NEAR(simulated["noise_on_mean"].get<double>() /
                  deployment["noise_on_mean"].get<double>(),
              1, 0.01);
  EXPECT_EQ(simulated["claims"], deployment["claims"]);
  double least = 1e9;
  for (const auto& claim : deployment["claims"]) {
    EXPECT_EQ(claim["observer"], "model-recipients")
        << "the coordinator draws the noise";
    EXPECT_EQ(claim["unit"], "device");
    EXPECT_EQ(claim["adjacency"], "zero-out");
    least = std::min(least, claim["epsilon"].get<double>());
  }
  EXPECT_LE(least, 8);
  EXPECT_GT(least, 7.99);
}

TEST(PrivacyPlanTest, DistributedNoiseProtectsAgainstTheCoordinator) {
  const CommandResult result = Plan({"--set", "privacy.mechanism=distributed",
                                     "--set", "secure_aggregation={mode: on}"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("against coordinator"),
                                HasSubstr("sums modulo 2^"),
                                HasSubstr("sized for 8000 honest devices")));
}

TEST(PrivacyPlanTest, LayersCostWhatTheirTotalDoes) {
  const auto plan = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = Plan(arguments);
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return nlohmann::json::parse(result.out);
  };
  const auto whole = plan({"--set", "local_training.clip_norm=0.5"});
  const auto layers =
      plan({"--set", "local_training.clip_norm=0", "--set",
            "privacy.layer_clip_norms=[{layer: fc1, clip_norm: 0.3}, {layer: "
            "fc2, clip_norm: 0.4}, {layer: fc3, clip_norm: 1e-30}]"});
  EXPECT_NEAR(layers["clip_norm"].get<double>(), 0.5, 1e-14);
  EXPECT_EQ(layers["layer_clip_norms"]["fc2"], 0.4);
  EXPECT_EQ(layers["cohorts"], whole["cohorts"]);
  const CommandResult gap =
      Plan({"--set", "local_training.clip_norm=0", "--set",
            "privacy.layer_clip_norms=[{layer: fc1, clip_norm: 0.3}]"});
  EXPECT_EQ(gap.exit_status, 1);
  EXPECT_THAT(gap.err, HasSubstr("parameter fc2.weight is in no layer"));
}

TEST(PrivacyPlanTest, SaysWhatAPoissonSampleIsAndThatItIsSimulatedOnly) {
  const CommandResult result =
      Plan({"--set", "cohort.selection=poisson", "--set",
            "privacy.participations=100", "--set", "privacy.separation=1"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  // 50 of 3000 here, 10,000 of a million there: what is claimed is of those.
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("each of 1000000 devices with probability 0.01"),
                    HasSubstr("simulations only"),
                    HasSubstr("by a secret coin of its own with probability "
                              "0.01:")));
  EXPECT_THAT(result.out, ::testing::Not(HasSubstr("against coordinator")));
}

TEST(PrivacyPlanTest, SaysWhatIsWrong) {
  const CommandResult none =
      Plan({"--set", "privacy={}", "--set", "simulation.noise_cohort=0"});
  EXPECT_EQ(none.exit_status, 1);
  EXPECT_THAT(none.err, HasSubstr("has no section `privacy`"));
  const CommandResult delta = Plan({"--set", "privacy.delta=1e-5"});
  EXPECT_EQ(delta.exit_status, 1);
  EXPECT_THAT(delta.err, HasSubstr("below 1/population_size"));
  EXPECT_EQ(RunMledge({"privacy", "plan", "/nowhere.yaml"}).exit_status, 1);
}

}  // namespace
}  // namespace mledge
