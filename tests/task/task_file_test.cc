#include "mledge/task/task_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "mledge/core/file.h"
#include "mledge/tests/support/proto_matchers.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

namespace mledge {
namespace {

using ::absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kTask = R"(
name: t
model: {package: models/m.mledge}
local_training: {sgd: {learning_rate: 0.1}}
cohort: {size: 10}
secure_aggregation: {mode: off}
stop: {rounds: 3}
simulation:
  devices: 20
  training_data:
    idx: {images: i.gz, labels: /abs/l.gz}
    index_file: "../index"
  test_data: {idx: {images: ~/i, labels: l}}
  partition: {iid: {}}
)";

TEST(ParseTaskTest, FillsInDefaults) {
  const auto task = ParseTask(kTask, "t.yaml");
  ASSERT_THAT(task, IsOk());
  EXPECT_EQ(task->seed(), 1u);
  EXPECT_EQ(task->population(), "default");
  EXPECT_EQ(task->cohort().minimum(), 10);
}

TEST(ParseTaskTest, SeedZeroIsASeedLikeAnyOther) {
  const std::vector<std::string> overrides = {"seed=0"};
  const auto task = ParseTask(kTask, "t.yaml", overrides);
  ASSERT_THAT(task, IsOk());
  EXPECT_TRUE(task->has_seed());
  EXPECT_EQ(task->seed(), 0u);
}

TEST(ParseTaskTest, LeavesPathsAsTheyAreWritten) {
  const auto task = ParseTask(kTask, "/folder/t.yaml");
  ASSERT_THAT(task, IsOk());
  EXPECT_EQ(task->model().package(), "models/m.mledge");
}

TEST(ParseTaskTest, OverridesComeBeforeDefaults) {
  const std::vector<std::string> overrides = {"cohort.size=4",
                                              "local_training.steps=8"};
  const auto task = ParseTask(kTask, "t.yaml", overrides);
  ASSERT_THAT(task, IsOk());
  EXPECT_EQ(task->cohort().minimum(), 4);
  EXPECT_EQ(task->cohort().minimum_waiting(), 4);
  EXPECT_EQ(task->local_training().length_case(), v1::LocalTraining::kSteps);
}

TEST(ParseTaskTest, ProblemsNameTheFileAndEachField) {
  EXPECT_THAT(
      ParseTask("{}", "t.yaml"),
      StatusIs(StatusCode::kInvalidArgument,
               AllOf(StartsWith("t.yaml: name: "), HasSubstr("\ncohort.size: "),
                     HasSubstr("\nstop.rounds: "))));
}

TEST(LoadTaskFileTest, ResolvesPathsAgainstTheFile) {
  TempDirectory directory;
  ASSERT_THAT(WriteFileAtomically(directory.File("t.yaml"), kTask), IsOk());
  const auto task = LoadTaskFile(directory.File("t.yaml"));
  ASSERT_THAT(task, IsOk());
  EXPECT_EQ(task->model().package(), directory.path() + "/models/m.mledge");
  const v1::DataSource& data = task->simulation().training_data();
  EXPECT_EQ(data.idx().images(), directory.path() + "/i.gz");
  EXPECT_EQ(data.idx().labels(), "/abs/l.gz");
  EXPECT_EQ(data.index_file(),
            std::filesystem::path(directory.path()).parent_path() / "index");
  EXPECT_EQ(task->simulation().test_data().idx().images(),
            std::string(getenv("HOME")) + "/i");
}

TEST(LoadTaskFileTest, MissingFileIsNamed) {
  EXPECT_THAT(LoadTaskFile("/nowhere/t.yaml"),
              StatusIs(StatusCode::kNotFound, HasSubstr("/nowhere/t.yaml")));
}

TEST(TaskToYamlTest, ReadsBackIntoTheValidatedTask) {
  const auto task = ParseTask(kTask, "t.yaml");
  ASSERT_THAT(task, IsOk());
  const auto again = ParseTask(TaskToYaml(*task), "again.yaml");
  ASSERT_THAT(again, IsOk()) << TaskToYaml(*task);
  EXPECT_THAT(*again, EqualsProto(*task));
}

TEST(ResolvePathTest, SeesPathsFromTheFile) {
  EXPECT_EQ(ResolvePath("", "/a/t.yaml"), "");
  EXPECT_EQ(ResolvePath("/x/y", "/a/t.yaml"), "/x/y");
  EXPECT_EQ(ResolvePath("y", "/a/t.yaml"), "/a/y");
  EXPECT_EQ(ResolvePath("../y", "/a/b/t.yaml"), "/a/y");
  EXPECT_EQ(ResolvePath("y", "t.yaml"), "y");
}

// The task files in the repository are documentation that has to be true.
class ReadyTaskTest : public ::testing::TestWithParam<std::string> {};

std::vector<std::string> ReadyTasks() {
  std::vector<std::string> paths;
  const std::filesystem::path folder =
      std::filesystem::path(MLEDGE_SOURCE_DIR) / "tasks";
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() == ".yaml") paths.push_back(file.path());
  }
  return paths;
}

TEST_P(ReadyTaskTest, LoadsAndValidates) {
  const auto task = LoadTaskFile(GetParam());
  ASSERT_THAT(task, IsOk());
  EXPECT_EQ(task->name(), std::filesystem::path(GetParam()).stem().string());
  EXPECT_TRUE(task->has_simulation());
}

INSTANTIATE_TEST_SUITE_P(
    Files, ReadyTaskTest, ::testing::ValuesIn(ReadyTasks()),
    [](const ::testing::TestParamInfo<std::string>& info) {
      std::string name = std::filesystem::path(info.param).stem().string();
      for (char& c : name) {
        if (c == '-') c = '_';
      }
      return name;
    });

TEST(ReadyTasksTest, AreThere) { EXPECT_GE(ReadyTasks().size(), 5u); }

}  // namespace
}  // namespace mledge
