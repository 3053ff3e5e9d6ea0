#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/core/file.h"
#include "mledge/tests/cli/run_mledge.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A task on a table of 60 rows and 6 devices.
class SimulateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string table = "x,y,site,ill\n";
    for (int i = 0; i < 60; ++i) {
      table += std::to_string(i % 7) + "," + std::to_string(i % 5) + ",s" +
               std::to_string(i % 4) + "," + std::to_string(i % 2) + "\n";
    }
    ASSERT_THAT(WriteFileAtomically(folder_.File("t.csv"), table), IsOk());
    ASSERT_THAT(WriteFileAtomically(task_, R"(name: table
model:
  built_in: {architecture: mlp, inputs: 2, outputs: 2, hidden: [8]}
local_training: {epochs: 1, sgd: {learning_rate: 0.1}}
cohort: {size: 3}
secure_aggregation: {mode: off}
stop: {rounds: 3}
simulation:
  devices: 6
  training_data: {csv: {file: t.csv, features: [x, y], labels: [ill]}}
  test_data: {csv: {file: t.csv, features: [x, y], labels: [ill]}}
  partition: {dirichlet: {alpha: 1}}
)"),
                IsOk());
  }

  TempDirectory folder_;
  const std::string task_ = folder_.File("task.yaml");
};

TEST_F(SimulateTest, TrainsAndLeavesARunFolder) {
  const CommandResult result =
      RunMledge({"simulate", task_, "--workers", "2", "--rounds", "2", "--out",
                 folder_.File("run")});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("parameters_sha256"),
                                HasSubstr("Done after 2 rounds")));
  EXPECT_THAT(ReadFile(folder_.File("run/manifest.json")),
              IsOkAndHolds(HasSubstr("\"stop.rounds=2\"")));

  const CommandResult again =
      RunMledge({"simulate", task_, "--out", folder_.File("run")});
  EXPECT_EQ(again.exit_status, 1);
  EXPECT_THAT(again.err, HasSubstr("another folder"));
}

TEST_F(SimulateTest, AuditsAPrivacyClaim) {
  const CommandResult none =
      RunMledge({"simulate", task_, "--audit-canaries", "6"});
  EXPECT_EQ(none.exit_status, 1);
  EXPECT_THAT(none.err, HasSubstr("claims nothing"));
  const CommandResult result = RunMledge(
      {"simulate", task_, "--audit-canaries", "12", "--set",
       "simulation.devices=12", "--set", "simulation.partition={iid: {}}",
       "--set", "cohort.size=12", "--set", "aggregation.weighting=uniform",
       "--set", "local_training.clip_norm=0.5", "--set",
       "privacy={mechanism: central, target_epsilon: 1000, delta: 1e-3, "
       "population_size: 12}",
       "--out", folder_.File("audited")});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("Canary audit: epsilon is more than"),
                                HasSubstr("with 95 % confidence"),
                                HasSubstr("against model-recipients"),
                                HasSubstr("12 of 12 canaries took part")));
  EXPECT_THAT(ReadFile(folder_.File("audited/manifest.json")),
              IsOkAndHolds(AllOf(HasSubstr("\"canary_audit\""),
                                 HasSubstr("\"claimed_epsilon\""),
                                 HasSubstr("\"contradicts_claim\": false"))));
  EXPECT_THAT(ReadFile(folder_.File("audited/metrics.jsonl")),
              IsOkAndHolds(HasSubstr("\"audit_epsilon_lower_bound\":")));
}

TEST_F(SimulateTest, WorkersAndWireGiveTheSameBits) {
  const auto hash = [](const CommandResult& result) {
    const size_t at = result.err.find("parameters_sha256 ");
    return at == std::string::npos ? result.err : result.err.substr(at, 82);
  };
  const std::string one =
      hash(RunMledge({"simulate", task_, "--workers", "1"}));
  EXPECT_THAT(one, testing::StartsWith("parameters_sha256"));
  EXPECT_EQ(one, hash(RunMledge({"simulate", task_, "--workers", "2"})));
  EXPECT_EQ(one, hash(RunMledge({"simulate", task_, "--wire"})));
  EXPECT_NE(one, hash(RunMledge({"simulate", task_, "--seed", "2"})));
}

TEST_F(SimulateTest, NamesMissingDataFile) {
  const CommandResult result = RunMledge(
      {"simulate", task_, "--set", "simulation.training_data.csv.file=no.csv"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("no.csv"));
}

TEST_F(SimulateTest, NamesUnknownFieldOfAnOverride) {
  const CommandResult result =
      RunMledge({"simulate", task_, "--set", "cohort.sise=4"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("sise"), HasSubstr("size")));
}

TEST_F(SimulateTest, RefusesDataThatDoNotFitTheModel) {
  const CommandResult result =
      RunMledge({"simulate", task_, "--set", "model.built_in.inputs=3"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("an example has 2 values"));
}

TEST_F(SimulateTest, DividesDataByColumn) {
  const CommandResult result = RunMledge(
      {"simulate", task_, "--set", "simulation.partition.by_column.column=site",
       "--set", "simulation.devices=0"});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("4 devices"));
}

TEST_F(SimulateTest, DataPartitionWritesOneIndexFileADevice) {
  const CommandResult result =
      RunMledge({"data", "partition", task_, "--out", folder_.File("shares")});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("device-000"), HasSubstr("dirichlet, alpha 1")));
  EXPECT_THAT(ReadFile(folder_.File("shares/device-005.index")), IsOk());
  EXPECT_THAT(ReadFile(folder_.File("shares/partition.json")), IsOk());
}

TEST_F(SimulateTest, DataPartitionNeedsATaskOrFiles) {
  const CommandResult result =
      RunMledge({"data", "partition", "--out", folder_.File("shares")});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("--images and --labels"));
}

}  // namespace
}  // namespace mledge
