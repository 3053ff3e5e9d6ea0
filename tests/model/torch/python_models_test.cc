#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "mledge/core/file.h"
#include "mledge/model/torch/torch_runtime.h"
#include "mledge/model/torch/torchscript_import.h"
#include "mledge/tests/client/torch/training_fixture.h"
#include "mledge/tests/model/torch/script_fixture.h"
#include "mledge/tests/support/status_matchers.h"
#include "mledge/tests/support/temp_directory.h"

// Files that PyTorch itself wrote, by make_models.py. Skips where Python has no
// PyTorch; MLEDGE_TEST_PYTHON names another interpreter than python3.

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

bool Succeeds(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class PythonModelsTest : public ::testing::Test {
 protected:
  // PyTorch takes seconds to load: once for all tests.
  static void SetUpTestSuite() {
    const std::string python = Environment("MLEDGE_TEST_PYTHON", "python3");
    if (!Succeeds(python + " -c 'import torch' 2>/dev/null")) {
      reason_ = python +
                " has no PyTorch: pip install torch, or name another "
                "interpreter in MLEDGE_TEST_PYTHON";
      return;
    }
    const TempDirectory folder;
    ASSERT_TRUE(Succeeds(python + " " + Environment("MLEDGE_SOURCE_DIR", ".") +
                         "/tests/model/torch/make_models.py " + folder.path() +
                         " 2>/dev/null"));
    for (const auto& file :
         std::filesystem::directory_iterator(folder.path())) {
      const auto code = ReadFile(file.path());
      ASSERT_THAT(code, IsOk());
      files_[file.path().stem()] = *code;
    }
  }

  void SetUp() override {
    if (!reason_.empty()) GTEST_SKIP() << reason_;
    ASSERT_GE(files_.size(), 14u);
  }

  absl::StatusOr<ImportedModel> Import(const std::string& name) {
    return ImportTorchScript(files_.at(name),
                             {.name = name, .input = {.shape = {12}}});
  }

  // Whether this LibTorch is too old for the file: a reason, not a failure.
  bool IsTooOld(const absl::Status& status) {
    return TorchVersion().starts_with("LibTorch 1.") &&
           status.message().find("which LibTorch 1.") != std::string::npos;
  }

  inline static std::string reason_;  // to skip
  inline static std::map<std::string, std::string> files_;
};

TEST_F(PythonModelsTest, GoodModelsTrainRepeatably) {
  const FakeStore store = MakeStore({12}, 3, 40);
  for (const auto& [name, code] : files_) {
    if (!name.starts_with("good_")) continue;
    SCOPED_TRACE(name);
    const auto model = Import(name);
    if (IsTooOld(model.status())) {
      std::cout << name << " skipped: " << model.status().message() << "\n";
      continue;
    }
    EXPECT_THAT(model, IsOk());
    if (!model.ok()) continue;
    SeedGlobalGenerator(1);
    const double expected = DrawFromGlobalGenerator();
    SeedGlobalGenerator(1);
    const std::vector<double> first =
        MustTrain(model->package, MakePlan(), store);
    EXPECT_EQ(DrawFromGlobalGenerator(), expected) << "drew global numbers";
    EXPECT_EQ(MustTrain(model->package, MakePlan(), store), first);
    TrainingPlan plan = MakePlan();
    plan.kind = TrainingPlan::Kind::kEvaluate;
    EXPECT_EQ(MustTrain(model->package, plan, store),
              MustTrain(model->package, plan, store));
  }
}

TEST_F(PythonModelsTest, BadModelsAreRefusedByTheOperatorsName) {
  for (const auto& [name, code] : files_) {
    if (!name.starts_with("bad_")) continue;
    const auto model = Import(name);
    if (IsTooOld(model.status())) continue;
    const std::string name_of_operator = name.substr(4, name.rfind('_') - 4);
    EXPECT_THAT(model, StatusIs(absl::StatusCode::kInvalidArgument,
                                AllOf(HasSubstr("aten::" + name_of_operator),
                                      HasSubstr("nn.Dropout"))))
        << name;
  }
}

TEST_F(PythonModelsTest, ExampleModelsImportAndLearn) {
  const TempDirectory folder;
  ASSERT_TRUE(Succeeds(Environment("MLEDGE_TEST_PYTHON", "python3") + " " +
                       Environment("MLEDGE_SOURCE_DIR", ".") +
                       "/scripts/make-example-models " + folder.path() +
                       " > /dev/null 2>&1"));
  const FakeStore store = MakeStore({28, 28}, 10, 60);
  for (const char* name : {"lstm.pt", "attention.pt"}) {
    const auto code = ReadFile(folder.File(name));
    ASSERT_THAT(code, IsOk());
    const auto model = ImportTorchScript(
        *code, {.name = name, .input = {.shape = {1, 28, 28}}});
    if (IsTooOld(model.status())) continue;
    ASSERT_THAT(model, IsOk()) << name;
    const auto loss_after = [&](int64_t epochs) {
      TrainingPlan plan = MakePlan({.momentum = 0.9});
      plan.epochs = epochs;
      const auto update = TrainWith(MustMakeTrainer(model->package).get(),
                                    model->package, plan, store);
      EXPECT_THAT(update, IsOk());
      return update.ok() ? update->Scalar(kLossSumScalar) : 0;
    };
    EXPECT_LT(loss_after(20), 0.9 * loss_after(1)) << name;
  }
}

TEST_F(PythonModelsTest, LayoutsFollowTheModules) {
  const auto tied = Import("good_tied");
  ASSERT_THAT(tied, IsOk());
  const ParameterLayout& layout = *tied->package.layout;
  EXPECT_EQ(layout.Find("second.weight")->alias_of, "first.weight");
  EXPECT_EQ(layout.Find("frozen.weight")->role, ParameterRole::kFrozen);
  const auto tabular = Import("good_tabular");
  ASSERT_THAT(tabular, IsOk());
  EXPECT_EQ(tabular->package.layout->Find("body.5.running_mean")->role,
            ParameterRole::kAveragedBuffer);
  EXPECT_EQ(tabular->package.layout->Find("body.5.num_batches_tracked")->role,
            ParameterRole::kLocalBuffer);
}

}  // namespace
}  // namespace mledge
