#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <vector>

#include "mledge/client/torch/torch_trainer.h"
#include "mledge/model/torch/torchscript_import.h"
#include "mledge/tests/client/torch/training_fixture.h"
#include "mledge/tests/model/torch/script_fixture.h"
#include "mledge/tests/support/status_matchers.h"

// Users' models in training: dropout, batch statistics, tied weights.

namespace mledge {
namespace {

using ::testing::HasSubstr;
using Kind = FixtureTensor::Kind;

absl::StatusOr<ModelPackage> Import(const absl::StatusOr<std::string>& code,
                                    TensorSpec input) {
  if (!code.ok()) return code.status();
  auto model = ImportTorchScript(*code, {.name = "fixture", .input = input});
  if (!model.ok()) return model.status();
  return model->package;
}

// What every model with separate dropout has to keep.
void ExpectRepeatableDropout(const ModelPackage& package,
                             const FakeStore& store) {
  const TrainingPlan plan = MakePlan();
  SeedGlobalGenerator(1);
  const std::vector<double> first = MustTrain(package, plan, store);
  SeedGlobalGenerator(2);
  std::vector<double> second, third;
  {
    std::jthread one([&] { second = MustTrain(package, plan, store); });
    std::jthread two([&] { third = MustTrain(package, plan, store); });
  }
  EXPECT_EQ(first, second);
  EXPECT_EQ(first, third);

  const auto paused = MustMakeTrainer(package);
  ASSERT_THAT(paused->Start(plan, package.initial_parameters, &store), IsOk());
  ASSERT_THAT(paused->Step(4), IsOk());
  const auto snapshot = paused->Snapshot();
  ASSERT_THAT(snapshot, IsOk());
  const auto resumed = MustMakeTrainer(package);
  ASSERT_THAT(
      resumed->Restore(plan, package.initial_parameters, &store, *snapshot),
      IsOk());
  const auto update = RunToEnd(resumed.get());
  ASSERT_THAT(update, IsOk());
  EXPECT_EQ(Flatten(*update), first);
}

TEST(ImportedTrainingTest, LstmWithDropoutIsRepeatable) {
  const auto package = Import(CompileLstmModel(), {.shape = {6, 4}});
  ASSERT_THAT(package, IsOk());
  ExpectRepeatableDropout(*package, MakeStore({6, 4}, 3, 40));
}

TEST(ImportedTrainingTest, AttentionWithDropoutIsRepeatable) {
  const auto code = CompileAttentionModel();
  if (!code.ok()) GTEST_SKIP() << code.status().message();
  const auto package = Import(code, {.shape = {6, 8}});
  ASSERT_THAT(package, IsOk());
  ExpectRepeatableDropout(*package, MakeStore({6, 8}, 3, 40));
}

// Dropout alone, so that a result shows the masks: the "model" is
// y = dropout(x * w), of which a step's output gradient reaches w only where
// the mask keeps it.
absl::StatusOr<ModelPackage> DropoutOnly(const std::string& call) {
  return Import(CompileTorchScript({{"w", {200}}},
                                   "def forward(self, x: Tensor) -> Tensor:\n"
                                   "  return " +
                                       call +
                                       "(x * self.w, 0.25, "
                                       "self.training)\n"),
                {.shape = {200}});
}

FakeStore Ones() {
  FakeStore store = MakeStore({200}, 200, 1);
  for (float& value : store.inputs) value = 1;
  return store;
}

// Which of the 200 weights the plan's first step changes.
std::vector<bool> Kept(const ModelPackage& package, TrainingPlan plan) {
  plan.epochs = 0;
  plan.steps = 1;
  const FakeStore store = Ones();
  const auto update =
      TrainWith(MustMakeTrainer(package).get(), package, plan, store);
  EXPECT_THAT(update, IsOk());
  std::vector<bool> kept;
  for (const float value : update->sections[0].values.span()) {
    kept.push_back(value != 0);
  }
  return kept;
}

TEST(ImportedTrainingTest, MasksDependOnSeedDeviceOrdinalAndNothingElse) {
  for (const char* call : {"torch.dropout", "torch.dropout_"}) {
    const auto package = DropoutOnly(call);
    ASSERT_THAT(package, IsOk()) << call;
    const std::vector<bool> kept = Kept(*package, MakePlan());
    // 200 draws at 3/4: 150 ± 6.1; seven deviations to each side.
    EXPECT_NEAR(std::count(kept.begin(), kept.end(), true), 150, 43) << call;
    EXPECT_EQ(Kept(*package, MakePlan()), kept) << call;
    TrainingPlan plan = MakePlan();
    plan.device = "device-2";
    EXPECT_NE(Kept(*package, plan), kept) << call;
    plan = MakePlan();
    plan.ordinal = 4;
    EXPECT_NE(Kept(*package, plan), kept) << call;
    plan = MakePlan();
    plan.task_seed = 43;
    EXPECT_NE(Kept(*package, plan), kept) << call;
  }
}

TEST(ImportedTrainingTest, EachStepAndCallHasItsOwnMask) {
  const auto twice = Import(CompileTorchScript({{"w", {200}}}, R"(
def forward(self, x: Tensor) -> Tensor:
  y = torch.dropout(x * self.w, 0.25, self.training)
  return torch.dropout(y, 0.25, self.training)
)"),
                            {.shape = {200}});
  ASSERT_THAT(twice, IsOk());
  const std::vector<bool> kept = Kept(*twice, MakePlan());
  // Equal masks would keep 3/4, independent ones 9/16: 112.5 ± 7.0.
  EXPECT_LT(std::count(kept.begin(), kept.end(), true), 135);

  const auto package = DropoutOnly("torch.dropout");
  ASSERT_THAT(package, IsOk());
  const FakeStore store = Ones();
  const auto trainer = MustMakeTrainer(*package);
  TrainingPlan plan = MakePlan();
  plan.epochs = 0;
  plan.steps = 2;
  const auto update = TrainWith(trainer.get(), *package, plan, store);
  ASSERT_THAT(update, IsOk());
  const auto delta = update->sections[0].values.span();
  // Dropped in both steps: 1/16, not 1/4.
  EXPECT_LT(std::count(delta.begin(), delta.end(), 0.0f), 35);
}

TEST(ImportedTrainingTest, WholeChannelsAreDropped) {
  const auto package =
      Import(CompileTorchScript({{"w", {2, 3, 1, 1}}, {"v", {3, 32}}}, R"(
def forward(self, x: Tensor) -> Tensor:
  y = torch.conv2d(x, self.w)
  y = torch.feature_dropout(y, 0.5, self.training)
  return torch.linear(torch.flatten(y, 1), self.v)
)"),
             {.shape = {3, 4, 4}});
  ASSERT_THAT(package, IsOk());
  ExpectRepeatableDropout(*package, MakeStore({3, 4, 4}, 3, 40));
}

TEST(ImportedTrainingTest, EvaluationDropsNothing) {
  // As torch.jit.trace writes it in training mode: `train` is a constant.
  const auto package =
      Import(CompileTorchScript({{"w", {3, 4}}},
                                "def forward(self, x: Tensor) -> Tensor:\n"
                                "  y = torch.dropout(x, 0.5, True)\n"
                                "  return torch.linear(y, self.w)\n"),
             {.shape = {4}});
  ASSERT_THAT(package, IsOk());
  const FakeStore store = MakeStore({4}, 3, 30);
  TrainingPlan plan = MakePlan();
  plan.kind = TrainingPlan::Kind::kEvaluate;
  const std::vector<double> first = MustTrain(*package, plan, store);
  plan.ordinal = 9;
  EXPECT_EQ(MustTrain(*package, plan, store), first);
}

TEST(ImportedTrainingTest, BatchStatisticsAreInTheUpdate) {
  const auto package = Import(CompileBatchNormModel(), {.shape = {2, 6, 6}});
  ASSERT_THAT(package, IsOk());
  EXPECT_TRUE(package->channels_last);
  const FakeStore store = MakeStore({2, 6, 6}, 3, 40);
  const auto update =
      TrainWith(MustMakeTrainer(*package).get(), *package, MakePlan(), store);
  ASSERT_THAT(update, IsOk());
  const auto delta = update->sections[0].values.span();
  EXPECT_EQ(delta.size(), static_cast<size_t>(package->layout->shared_size()));
  for (const char* name : {"running_mean", "running_var"}) {
    const ParameterEntry* entry = package->layout->Find(name);
    for (int64_t i = 0; i < entry->element_count(); ++i) {
      EXPECT_NE(delta[entry->offset + i], 0) << name << " " << i;
    }
  }
  ExpectRepeatableDropout(*package, store);
}

TEST(ImportedTrainingTest, MemoryFormatChangesNoMoreThanRounding) {
  auto package = Import(CompileBatchNormModel(), {.shape = {2, 6, 6}});
  ASSERT_THAT(package, IsOk());
  ASSERT_TRUE(package->channels_last);
  const FakeStore store = MakeStore({2, 6, 6}, 3, 40);
  const std::vector<double> last = MustTrain(*package, MakePlan(), store);
  package->channels_last = false;
  const std::vector<double> first = MustTrain(*package, MakePlan(), store);
  ASSERT_EQ(first.size(), last.size());
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_NEAR(first[i], last[i], 2e-4 * (1 + std::abs(first[i]))) << i;
  }
}

TEST(ImportedTrainingTest, BuffersThatForwardReplacesAreKept) {
  const auto package = Import(
      CompileTorchScript({{"w", {3, 4}}, {"mean", {4}, Kind::kBuffer}}, R"(
def forward(self, x: Tensor) -> Tensor:
  if self.training:
    self.mean = self.mean * 0.5 + torch.mean(x.detach(), [0]) * 0.5
  return torch.linear(x - self.mean, self.w)
)"),
      {.shape = {4}});
  ASSERT_THAT(package, IsOk());
  FakeStore store = MakeStore({4}, 3, 8);
  for (float& value : store.inputs) value = 2;
  TrainingPlan plan = MakePlan();
  plan.epochs = 3;
  const auto update =
      TrainWith(MustMakeTrainer(*package).get(), *package, plan, store);
  ASSERT_THAT(update, IsOk());
  const ParameterEntry* mean = package->layout->Find("mean");
  const auto start = package->initial_parameters.values(*mean);
  for (int64_t i = 0; i < 4; ++i) {
    // Three steps of one batch each: m -> m/8 + 2 · 7/8.
    EXPECT_NEAR(update->sections[0].values.span()[mean->offset + i],
                start[i] / 8 + 1.75f - start[i], 1e-5);
  }
}

TEST(ImportedTrainingTest, TiedWeightsAreTrainedAsOne) {
  const auto package =
      Import(CompileTorchScript(
                 {{"w", {4, 4}}, {"again", {4, 4}, Kind::kParameter, "w"}},
                 "def forward(self, x: Tensor) -> Tensor:\n"
                 "  y = torch.linear(x, self.w)\n"
                 "  return torch.linear(y, self.again)\n"),
             {.shape = {4}});
  ASSERT_THAT(package, IsOk());
  const auto same =
      Import(CompileTorchScript({{"w", {4, 4}}},
                                "def forward(self, x: Tensor) -> Tensor:\n"
                                "  y = torch.linear(x, self.w)\n"
                                "  return torch.linear(y, self.w)\n"),
             {.shape = {4}});
  ASSERT_THAT(same, IsOk());
  const FakeStore store = MakeStore({4}, 4, 30);
  EXPECT_EQ(MustTrain(*package, MakePlan(), store),
            MustTrain(*same, MakePlan(), store));
}

TEST(ImportedTrainingTest, FrozenParametersStay) {
  const auto code = CompileTorchScript(
      {{"fixed", {4, 4}, Kind::kFrozen}, {"w", {3, 4}}},
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  return torch.linear(torch.linear(x, self.fixed), self.w)\n");
  const auto package = Import(code, {.shape = {4}});
  ASSERT_THAT(package, IsOk());
  const std::vector<double> result =
      MustTrain(*package, MakePlan(), MakeStore({4}, 3, 30));
  EXPECT_EQ(result.size(), 12u + 3 + 1);  // delta, scalars, weight
}

TEST(ImportedTrainingTest, TokensTrainAnEmbedding) {
  const auto package =
      Import(CompileTorchScript({{"table", {10, 4}}, {"w", {3, 4}}}, R"(
def forward(self, x: Tensor) -> Tensor:
  y = torch.embedding(self.table, x)
  return torch.linear(torch.mean(y, [1]), self.w)
)"),
             {.shape = {5}, .kind = TensorSpec::Kind::kIndex});
  ASSERT_THAT(package, IsOk());
  FakeStore store = MakeStore({5}, 3, 30);
  store.spec.kind = TensorSpec::Kind::kIndex;
  for (size_t i = 0; i < store.inputs.size(); ++i) {
    store.inputs[i] = static_cast<float>(i % 7);
  }
  const auto trainer = MustMakeTrainer(*package);
  ASSERT_THAT(TrainWith(trainer.get(), *package, MakePlan(), store), IsOk());
  store.inputs[3] = 10;
  EXPECT_THAT(
      TrainWith(trainer.get(), *package, MakePlan(), store),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("out of range")));
}

}  // namespace
}  // namespace mledge
