#include "mledge/simulation/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "mledge/core/file.h"
#include "mledge/model/package_file.h"
#include "mledge/simulation/console.h"
#include "mledge/tests/support/fake_trainer.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

RoundMetrics Round(int64_t number) {
  RoundMetrics round;
  round.round = number;
  round.devices = 9;
  round.training_loss = 0.25;
  round.evaluation_metric = 0.75;
  round.bytes_up = 12345;
  return round;
}

TEST(RunDirectoryTest, LeavesEverythingThatAReaderNeeds) {
  TempDirectory folder;
  ASSERT_THAT(WriteFileAtomically(folder.File("t.csv"), "a,b\n1,0\n"), IsOk());
  const auto directory = RunDirectory::Create(folder.File("run"));
  ASSERT_THAT(directory, IsOk());
  ASSERT_THAT((*directory)->Add(Round(1), "accuracy"), IsOk());
  ASSERT_THAT((*directory)->Add(Round(2), "accuracy"), IsOk());

  const ModelPackage package = MakeFakePackage(3);
  SimulationResult result;
  result.state = v1::COMPLETED;
  result.parameters = ParameterVector(package.layout);
  result.parameters.values()[1] = 1.5f;
  result.parameters_sha256 = result.parameters.ContentHash();
  result.rounds = {Round(1), Round(2)};
  RunDescription description;
  description.task_text = "name: x";
  description.task.set_name("x");
  description.task.mutable_simulation()
      ->mutable_training_data()
      ->mutable_csv()
      ->set_file(folder.File("t.csv"));
  description.training_library = "a library 1.0";
  ASSERT_THAT((*directory)->Finish(description, package, result), IsOk());

  const std::string metrics = *ReadFile(folder.File("run/metrics.jsonl"));
  const auto first =
      nlohmann::json::parse(metrics.substr(0, metrics.find('\n')));
  EXPECT_EQ(first["round"], 1);
  EXPECT_EQ(first["evaluation_accuracy"], 0.75);
  EXPECT_TRUE(first["evaluation_loss"].is_null());
  EXPECT_EQ(first["bytes_up"], 12345);

  const auto manifest =
      nlohmann::json::parse(*ReadFile(folder.File("run/manifest.json")));
  EXPECT_EQ(manifest["parameters_sha256"], result.parameters_sha256.ToHex());
  EXPECT_EQ(manifest["task"]["as_given"], "name: x");
  EXPECT_EQ(manifest["outcome"], "completed");
  EXPECT_EQ(manifest["versions"]["training_library"], "a library 1.0");
  EXPECT_EQ(manifest["data"][0]["sha256"],
            Sha256Of(std::string_view("a,b\n1,0\n")).ToHex());

  EXPECT_EQ(Sha256Of(*ReadFile(folder.File("run/parameters.f32"))),
            result.parameters_sha256);
  const auto trained =
      ParsePackageFileUnverified(*ReadFile(folder.File("run/model.mledge")));
  ASSERT_THAT(trained, IsOk());
  EXPECT_EQ(trained->package.initial_parameters.ContentHash(),
            result.parameters_sha256);
}

TEST(RunDirectoryTest, DoesNotOverwriteAnotherRun) {
  TempDirectory folder;
  ASSERT_THAT(RunDirectory::Create(folder.File("run")), IsOk());
  EXPECT_THAT(
      RunDirectory::Create(folder.File("run")),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("metrics.jsonl")));
}

TEST(RunDirectoryTest, NamesFolderThatCannotBeMade) {
  TempDirectory folder;
  ASSERT_THAT(WriteFileAtomically(folder.File("file"), "x"), IsOk());
  const auto directory = RunDirectory::Create(folder.File("file/run"));
  ASSERT_FALSE(directory.ok());
  EXPECT_THAT(std::string(directory.status().message()), HasSubstr("file/run"));
}

TEST(SimulationConsoleTest, WritesPlainLinesWhereThereIsNoTerminal) {
  std::ostringstream out;
  SimulationConsole console({.metric_name = "accuracy", .rounds = 2}, &out);
  console.ShowProgress({.round = 1, .rounds = 2, .wanted = 4},
                       absl::UnixEpoch());
  console.ShowRound(Round(1), absl::UnixEpoch());
  console.ShowRound(Round(2), absl::UnixEpoch());
  EXPECT_THAT(out.str(), AllOf(HasSubstr("accuracy"), HasSubstr("0.2500"),
                               Not(HasSubstr("\r"))));
}

TEST(SimulationConsoleTest, DrawsBarWithTimeLeftOnTerminal) {
  std::ostringstream out;
  SimulationConsole console({.terminal = true, .rounds = 4}, &out);
  console.ShowProgress({.round = 1, .rounds = 4, .wanted = 10},
                       absl::UnixEpoch());
  console.ShowProgress(
      {.round = 2, .rounds = 4, .acknowledged = 0, .wanted = 10},
      absl::UnixEpoch() + absl::Seconds(20));
  EXPECT_THAT(out.str(),
              AllOf(HasSubstr("\r["), HasSubstr("25%"),
                    HasSubstr("round 2 of 4"), HasSubstr("1m00s left")));
}

TEST(SimulationConsoleTest, ShowsARepeatedWarningOnce) {
  std::ostringstream out;
  SimulationConsole console({}, &out);
  for (int i = 0; i < 3; ++i) console.ShowWarning("device-1: full");
  EXPECT_EQ(out.str(), "warning: device-1: full\n");
}

}  // namespace
}  // namespace mledge
