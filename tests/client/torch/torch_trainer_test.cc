#include "mledge/client/torch/torch_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "mledge/tests/client/torch/training_fixture.h"
#include "mledge/tests/model/torch/script_fixture.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Progress = LocalTrainer::Progress;

ModelPackage SmallMlp() {
  return MustCreate(
      {.architecture = "mlp", .inputs = 6, .outputs = 3, .hidden = {16, 8}});
}

TEST(TorchTrainerTest, LearnsASmallProblem) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 120);
  TrainingPlan plan = MakePlan({.momentum = 0.9});
  plan.epochs = 1;
  const auto trainer = MustMakeTrainer(package);
  const auto first = TrainWith(trainer.get(), package, plan, store);
  ASSERT_THAT(first, IsOk());
  plan.epochs = 60;
  const auto last = TrainWith(trainer.get(), package, plan, store);
  ASSERT_THAT(last, IsOk());
  EXPECT_LT(last->Scalar(kLossSumScalar), 0.5 * first->Scalar(kLossSumScalar));
  EXPECT_EQ(last->weight, 120);
}

TEST(TorchTrainerTest, ResultDoesNotDependOnTheSplitIntoCalls) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 61);
  const TrainingPlan plan = MakePlan({.momentum = 0.5});
  const auto trainer = MustMakeTrainer(package);
  const auto whole = TrainWith(trainer.get(), package, plan, store);
  const auto single = TrainWith(trainer.get(), package, plan, store, 1);
  const auto triples = TrainWith(trainer.get(), package, plan, store, 3);
  ASSERT_THAT(whole, IsOk());
  ASSERT_THAT(single, IsOk());
  EXPECT_EQ(Flatten(*whole), Flatten(*single));
  EXPECT_EQ(Flatten(*whole), Flatten(*triples));
}

TEST(TorchTrainerTest, ResultDoesNotDependOnWhatTheTrainerDidBefore) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 40);
  const std::vector<double> fresh = MustTrain(package, MakePlan(), store);
  const auto trainer = MustMakeTrainer(package);
  TrainingPlan other = MakePlan();
  other.optimizer = AdamPlan{};
  other.device = "device-2";
  ASSERT_THAT(TrainWith(trainer.get(), package, other, store), IsOk());
  ASSERT_THAT(trainer->Start(other, package.initial_parameters, &store),
              IsOk());
  ASSERT_THAT(trainer->Step(2), IsOk());  // given up in the middle
  const auto again = TrainWith(trainer.get(), package, MakePlan(), store);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(Flatten(*again), fresh);
}

TEST(TorchTrainerTest, TwoThreadsAtOnceGiveTheBitsOfOne) {
  for (const char* architecture : {"2nn", "fedavg-cnn"}) {
    const ModelPackage package = MustCreate({.architecture = architecture});
    const FakeStore store = MakeStore({784}, 10, 30);
    TrainingPlan plan = MakePlan();
    plan.epochs = 1;
    plan.batch_size = 10;
    const std::vector<double> alone = MustTrain(package, plan, store);
    std::vector<double> results[2];
    {
      std::jthread first([&] { results[0] = MustTrain(package, plan, store); });
      std::jthread second(
          [&] { results[1] = MustTrain(package, plan, store); });
    }
    EXPECT_EQ(results[0], alone) << architecture;
    EXPECT_EQ(results[1], alone) << architecture;
  }
}

TEST(TorchTrainerTest, OrderDependsOnSeedDeviceAndOrdinal) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 40);
  const std::vector<double> base = MustTrain(package, MakePlan(), store);
  TrainingPlan plan = MakePlan();
  plan.task_seed = 43;
  EXPECT_NE(MustTrain(package, plan, store), base);
  plan = MakePlan();
  plan.device = "device-2";
  EXPECT_NE(MustTrain(package, plan, store), base);
  plan = MakePlan();
  plan.ordinal = 4;
  EXPECT_NE(MustTrain(package, plan, store), base);
  EXPECT_EQ(MustTrain(package, MakePlan(), store), base);
}

TEST(TorchTrainerTest, RestoreGoesOnWithEqualBits) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 45);
  TrainingPlan adam = MakePlan();
  adam.optimizer = AdamPlan{};
  adam.learning_rate = 0.01;
  for (const TrainingPlan& plan : {MakePlan({.momentum = 0.9}), adam}) {
    const std::vector<double> expected = MustTrain(package, plan, store);
    // 6 steps an epoch: in the first epoch, between both, in the second, at
    // the end.
    for (const int64_t steps : {0, 3, 6, 8, 12}) {
      const auto first = MustMakeTrainer(package);
      ASSERT_THAT(first->Start(plan, package.initial_parameters, &store),
                  IsOk());
      ASSERT_THAT(first->Step(steps), IsOk());
      const auto snapshot = first->Snapshot();
      ASSERT_THAT(snapshot, IsOk());
      const auto second = MustMakeTrainer(package);
      ASSERT_THAT(
          second->Restore(plan, package.initial_parameters, &store, *snapshot),
          IsOk());
      const auto update = RunToEnd(second.get(), 1);
      ASSERT_THAT(update, IsOk());
      EXPECT_EQ(Flatten(*update), expected) << steps;
    }
  }
}

TEST(TorchTrainerTest, RefusesForeignAndDamagedSnapshots) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 20);
  const auto trainer = MustMakeTrainer(package);
  ASSERT_THAT(trainer->Start(MakePlan(), package.initial_parameters, &store),
              IsOk());
  ASSERT_THAT(trainer->Step(2), IsOk());
  const auto snapshot = trainer->Snapshot();
  ASSERT_THAT(snapshot, IsOk());
  const auto restore = [&](const TrainingPlan& plan, std::string bytes) {
    return trainer->Restore(plan, package.initial_parameters, &store,
                            {std::move(bytes)});
  };
  TrainingPlan other = MakePlan();
  other.learning_rate = 0.2;
  EXPECT_THAT(
      restore(other, snapshot->bytes),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("another plan")));
  for (size_t size = 0; size < snapshot->bytes.size(); size += 97) {
    EXPECT_THAT(restore(MakePlan(), snapshot->bytes.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  std::string flipped = snapshot->bytes;
  flipped[flipped.size() / 2] ^= 1;
  EXPECT_THAT(
      restore(MakePlan(), flipped),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("damaged")));
  EXPECT_THAT(trainer->Step(1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(restore(MakePlan(), snapshot->bytes), IsOk());
}

TEST(TorchTrainerTest, EvaluationCountsAndSendsNoSection) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 50);
  TrainingPlan plan = MakePlan();
  plan.kind = TrainingPlan::Kind::kEvaluate;
  const auto trainer = MustMakeTrainer(package, {.evaluation_batch_size = 16});
  const auto update = TrainWith(trainer.get(), package, plan, store, 1);
  ASSERT_THAT(update, IsOk());
  EXPECT_TRUE(update->sections.empty());
  EXPECT_EQ(update->Scalar(kExamplesScalar), 50);

  auto predictor = CreateTorchTrainerFactory()->CreatePredictor(package);
  ASSERT_THAT(predictor, IsOk());
  std::vector<int64_t> positions(50);
  for (int64_t i = 0; i < 50; ++i) positions[i] = i;
  ExampleBatch batch;
  ASSERT_THAT(store.Read(positions, &batch), IsOk());
  const auto outputs = (*predictor)->Predict(package.initial_parameters, batch);
  ASSERT_THAT(outputs, IsOk());
  ASSERT_EQ(outputs->size(), 150u);
  double correct = 0;
  for (int64_t i = 0; i < 50; ++i) {
    const auto row = outputs->begin() + i * 3;
    correct += std::max_element(row, row + 3) - row == store.labels[i];
  }
  EXPECT_EQ(update->Scalar(kMetricSumScalar), correct);
}

TEST(TorchTrainerTest, RegressionLearnsARowOfNumbers) {
  const ModelPackage package = MustCreate({.architecture = "mlp",
                                           .inputs = 6,
                                           .outputs = 2,
                                           .hidden = {12},
                                           .regression = true});
  FakeStore store = MakeStore({6}, 2, 80);
  store.class_count = 0;
  store.width = 2;
  for (int64_t i = 0; i < 80; ++i) {
    const float* x = store.inputs.data() + i * 6;
    store.values.push_back(x[0] - x[1]);
    store.values.push_back(0.5f * x[2]);
  }
  TrainingPlan plan = MakePlan();
  plan.epochs = 60;
  const auto update =
      TrainWith(MustMakeTrainer(package).get(), package, plan, store);
  ASSERT_THAT(update, IsOk());
  EXPECT_LT(update->Scalar(kMetricSumScalar) / 80, 0.02);
}

TEST(TorchTrainerTest, CallsOutOfOrderAreRefused) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 20);
  const auto trainer = MustMakeTrainer(package);
  EXPECT_THAT(trainer->Step(1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(trainer->Snapshot(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(trainer->Finish(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(trainer->Start(MakePlan(), package.initial_parameters, &store),
              IsOk());
  ASSERT_THAT(trainer->Step(1), IsOkAndHolds(Progress::kMore));
  EXPECT_THAT(trainer->Finish(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

void ExpectStartRefused(const TrainingPlan& plan, const std::string& part) {
  const ModelPackage package = SmallMlp();
  const FakeStore store = MakeStore({6}, 3, 20);
  EXPECT_THAT(
      MustMakeTrainer(package)->Start(plan, package.initial_parameters, &store),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part)));
}

TEST(TorchTrainerTest, RefusesPlansOutOfRange) {
  TrainingPlan plan = MakePlan();
  plan.steps = 5;
  ExpectStartRefused(plan, "exactly one");
  plan = MakePlan();
  plan.epochs = 0;
  ExpectStartRefused(plan, "exactly one");
  plan.epochs = -1;
  ExpectStartRefused(plan, "epochs is -1");
  plan = MakePlan();
  plan.batch_size = -2;
  ExpectStartRefused(plan, "batch size is -2");
  plan = MakePlan();
  plan.learning_rate = std::nan("");
  ExpectStartRefused(plan, "learning rate");
  plan.learning_rate = HUGE_VAL;
  ExpectStartRefused(plan, "learning rate");
  plan = MakePlan();
  plan.proximal_coefficient = -0.1;
  ExpectStartRefused(plan, "proximal coefficient");
  ExpectStartRefused(MakePlan({.momentum = 1}), "momentum is 1");
  ExpectStartRefused(MakePlan({.weight_decay = -1}), "weight decay is -1");
  plan = MakePlan();
  plan.optimizer = AdamPlan{.beta2 = 1.5};
  ExpectStartRefused(plan, "beta2 is 1.5");
}

TEST(TorchTrainerTest, RefusesAnotherModelsParameters) {
  const ModelPackage package = SmallMlp();
  const ModelPackage other = MustCreate(
      {.architecture = "softmax-regression", .inputs = 6, .outputs = 3});
  const FakeStore store = MakeStore({6}, 3, 20);
  EXPECT_THAT(MustMakeTrainer(package)->Start(MakePlan(),
                                              other.initial_parameters, &store),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("another layout")));
}

TEST(TorchTrainerTest, RefusesParametersThatAreNotFinite) {
  ModelPackage package = SmallMlp();
  package.initial_parameters.values()[7] = std::nanf("");
  const FakeStore store = MakeStore({6}, 3, 20);
  EXPECT_THAT(
      MustMakeTrainer(package)->Start(MakePlan(), package.initial_parameters,
                                      &store),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("element 7")));
}

TEST(TorchTrainerTest, RefusesCodeThatDoesNotBelongToTheLayout) {
  const ModelPackage package = SmallMlp();
  ModelPackage mixed = package;
  mixed.code =
      MustCreate(
          {.architecture = "mlp", .inputs = 6, .outputs = 3, .hidden = {16, 9}})
          .code;
  const auto factory = CreateTorchTrainerFactory();
  EXPECT_THAT(factory->CreateTrainer(mixed),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"fc2.weight\""), HasSubstr("[9, 16]"),
                             HasSubstr("[8, 16]"))));
  mixed.code = package.code.substr(0, package.code.size() / 2);
  EXPECT_THAT(factory->CreateTrainer(mixed),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not a complete TorchScript file")));
  EXPECT_THAT(factory->CreatePredictor(mixed),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(TorchTrainerTest, RefusesRandomCodeThatWasNotImported) {
  ModelPackage package = SmallMlp();
  const auto code = CompileTorchScript(
      {{"weight", {3, 6}}},
      "def forward(self, x: Tensor) -> Tensor:\n"
      "  return torch.linear(x, self.weight) + torch.rand([3])\n");
  ASSERT_THAT(code, IsOk());
  package.code = *code;
  EXPECT_THAT(
      CreateTorchTrainerFactory()->CreateTrainer(package),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("aten::rand")));
}

TEST(TorchTrainerTest, RefusesDataOfAnotherShape) {
  const ModelPackage package = SmallMlp();
  const auto trainer = MustMakeTrainer(package);
  const auto start = [&](const FakeStore& store) {
    return trainer->Start(MakePlan(), package.initial_parameters, &store);
  };
  EXPECT_THAT(start(MakeStore({7}, 3, 20)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("has 7 values"), HasSubstr("takes 6"))));
  EXPECT_THAT(
      start(MakeStore({6}, 4, 20)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4 classes")));
  EXPECT_THAT(
      start(MakeStore({6}, 3, 0)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no examples")));
  FakeStore numbers = MakeStore({6}, 3, 20);
  numbers.class_count = 0;
  numbers.values.resize(20);
  EXPECT_THAT(start(numbers), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("mark the label column")));
}

// The status of a training on `store`.
absl::Status TrainingStatus(const FakeStore& store, const TrainingPlan& plan) {
  const ModelPackage package = SmallMlp();
  return TrainWith(MustMakeTrainer(package).get(), package, plan, store)
      .status();
}

TEST(TorchTrainerTest, NamesTheExampleWithNotANumber) {
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    FakeStore store = MakeStore({6}, 3, 20);
    store.inputs[13 * 6 + 2] = bad;
    EXPECT_THAT(
        TrainingStatus(store, MakePlan()),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("example 13"), HasSubstr("input value 2"))));
  }
}

TEST(TorchTrainerTest, NamesTheExampleWithALabelOutOfRange) {
  for (const int64_t bad :
       {int64_t{-1}, int64_t{3}, std::numeric_limits<int64_t>::max()}) {
    FakeStore store = MakeStore({6}, 3, 20);
    store.labels[4] = bad;
    EXPECT_THAT(TrainingStatus(store, MakePlan()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("example 4"),
                               HasSubstr("classes are 0 to 2"))));
  }
}

TEST(TorchTrainerTest, NamesTheStepThatDiverges) {
  TrainingPlan plan = MakePlan();
  plan.learning_rate = 1e30;
  EXPECT_THAT(TrainingStatus(MakeStore({6}, 3, 20), plan),
              StatusIs(absl::StatusCode::kOutOfRange,
                       AllOf(HasSubstr("step "),
                             HasSubstr("lower the learning rate"))));
}

TEST(TorchTrainerTest, RefusesPackagesWhoseLossDoesNotFit) {
  ModelPackage package = SmallMlp();
  package.loss = Loss::kBinaryCrossEntropy;
  const auto factory = CreateTorchTrainerFactory();
  EXPECT_THAT(factory->CreateTrainer(package),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("needs 1 output")));
  package = SmallMlp();
  package.metric = Metric::kMeanSquaredError;
  EXPECT_THAT(
      factory->CreateTrainer(package),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("use accuracy")));
}

TEST(TorchPredictorTest, RefusesABatchOfAnotherShape) {
  const ModelPackage package = SmallMlp();
  auto predictor = CreateTorchTrainerFactory()->CreatePredictor(package);
  ASSERT_THAT(predictor, IsOk());
  ExampleBatch batch;
  batch.size = 2;
  batch.inputs.resize(11);
  EXPECT_THAT(
      (*predictor)->Predict(package.initial_parameters, batch),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has 11 values")));
  batch.inputs.resize(12);
  batch.inputs[8] = std::nanf("");
  EXPECT_THAT(
      (*predictor)->Predict(package.initial_parameters, batch),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("example 1")));
  batch.inputs[8] = 0;
  EXPECT_THAT((*predictor)->Predict(package.initial_parameters, batch), IsOk());
}

TEST(TorchTrainerFactoryTest, DescribesTheLibrary) {
  EXPECT_THAT(CreateTorchTrainerFactory()->Description(),
              HasSubstr("LibTorch"));
}

}  // namespace
}  // namespace mledge
