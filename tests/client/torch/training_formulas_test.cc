#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "mledge/client/torch/internal/example_order.h"
#include "mledge/client/torch/internal/loss.h"
#include "mledge/tests/client/torch/training_fixture.h"
#include "mledge/tests/support/status_matchers.h"

// The trainer against the same mathematics written down in double precision,
// without LibTorch.

namespace mledge {
namespace {

constexpr int64_t kInputs = 4;
constexpr int64_t kClasses = 3;

// Softmax regression with its layout [weight (classes × inputs), bias].
class Reference {
 public:
  explicit Reference(const ModelPackage& package)
      : parameters_(package.initial_parameters.values().begin(),
                    package.initial_parameters.values().end()),
        base_(parameters_),
        first_(parameters_.size()),
        second_(parameters_.size()) {}

  // One step on the batch; returns its loss sum and correct predictions.
  LossSums Step(const FakeStore& store, std::span<const int64_t> batch,
                const TrainingPlan& plan) {
    LossSums sums;
    std::vector<double> gradient(parameters_.size());
    for (const int64_t example : batch) {
      const float* x = store.inputs.data() + example * kInputs;
      std::vector<double> logits(kClasses);
      for (int64_t c = 0; c < kClasses; ++c) {
        logits[c] = parameters_[kClasses * kInputs + c];
        for (int64_t i = 0; i < kInputs; ++i) {
          logits[c] += parameters_[c * kInputs + i] * x[i];
        }
      }
      double total = 0;
      for (const double logit : logits) total += std::exp(logit);
      const int64_t label = store.labels[example];
      sums.loss += std::log(total) - logits[label];
      sums.metric +=
          std::max_element(logits.begin(), logits.end()) - logits.begin() ==
          label;
      for (int64_t c = 0; c < kClasses; ++c) {
        const double slope = (std::exp(logits[c]) / total - (c == label)) /
                             static_cast<double>(batch.size());
        for (int64_t i = 0; i < kInputs; ++i) {
          gradient[c * kInputs + i] += slope * x[i];
        }
        gradient[kClasses * kInputs + c] += slope;
      }
    }
    Apply(gradient, plan);
    return sums;
  }

  double Delta(size_t i) const { return parameters_[i] - base_[i]; }
  size_t size() const { return parameters_.size(); }

 private:
  void Apply(const std::vector<double>& gradient, const TrainingPlan& plan) {
    ++step_;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      double g =
          gradient[i] + plan.proximal_coefficient * (parameters_[i] - base_[i]);
      if (const auto* adam = std::get_if<AdamPlan>(&plan.optimizer)) {
        g += adam->weight_decay * parameters_[i];
        first_[i] = adam->beta1 * first_[i] + (1 - adam->beta1) * g;
        second_[i] = adam->beta2 * second_[i] + (1 - adam->beta2) * g * g;
        const double mean = first_[i] / (1 - std::pow(adam->beta1, step_));
        const double square = second_[i] / (1 - std::pow(adam->beta2, step_));
        parameters_[i] -=
            plan.learning_rate * mean / (std::sqrt(square) + adam->epsilon);
      } else {
        const SgdPlan& sgd = std::get<SgdPlan>(plan.optimizer);
        g += sgd.weight_decay * parameters_[i];
        first_[i] = sgd.momentum * first_[i] + g;
        parameters_[i] -= plan.learning_rate * first_[i];
      }
    }
  }

  std::vector<double> parameters_;
  const std::vector<double> base_;
  std::vector<double> first_;
  std::vector<double> second_;
  int step_ = 0;
};

void ExpectFollowsReference(const TrainingPlan& plan) {
  const ModelPackage package = MustCreate({.architecture = "softmax-regression",
                                           .inputs = kInputs,
                                           .outputs = kClasses});
  const FakeStore store = MakeStore({kInputs}, kClasses, 37);
  Reference reference(package);
  ExampleOrder order;
  order.Start(plan, store.size());
  LossSums window;
  double examples = 0;
  for (int64_t step = 1;; ++step) {
    if (plan.steps == 0 && order.epoch_ended()) {
      window = {};
      examples = 0;
    }
    const auto batch = order.NextBatch(plan.batch_size);
    const LossSums sums = reference.Step(store, batch, plan);
    window.loss += sums.loss;
    window.metric += sums.metric;
    examples += static_cast<double>(batch.size());
    if (plan.steps > 0
            ? step == plan.steps
            : order.epoch_ended() && order.epoch() + 1 == plan.epochs) {
      break;
    }
  }
  const auto update =
      TrainWith(MustMakeTrainer(package).get(), package, plan, store);
  ASSERT_THAT(update, IsOk());
  const UpdateSection* delta = update->FindSection(kDeltaSection);
  ASSERT_NE(delta, nullptr);
  ASSERT_EQ(delta->values.size(), reference.size());
  for (size_t i = 0; i < reference.size(); ++i) {
    EXPECT_NEAR(delta->values.span()[i], reference.Delta(i), 2e-6) << i;
  }
  EXPECT_NEAR(update->Scalar(kLossSumScalar), window.loss, 1e-4);
  EXPECT_EQ(update->Scalar(kMetricSumScalar), window.metric);
  EXPECT_EQ(update->Scalar(kExamplesScalar), examples);
  EXPECT_EQ(update->weight, order.size());
}

TEST(TrainingFormulasTest, PlainSgd) { ExpectFollowsReference(MakePlan()); }

TEST(TrainingFormulasTest, OneBatchOfEverything) {
  TrainingPlan plan = MakePlan();
  plan.batch_size = 0;
  ExpectFollowsReference(plan);
}

TEST(TrainingFormulasTest, StepsAcrossEpochs) {
  TrainingPlan plan = MakePlan();
  plan.epochs = 0;
  plan.steps = 13;
  ExpectFollowsReference(plan);
}

TEST(TrainingFormulasTest, OnlyTheFirstExamplesAfterShuffling) {
  TrainingPlan plan = MakePlan();
  plan.max_examples = 11;
  ExpectFollowsReference(plan);
}

TEST(TrainingFormulasTest, Momentum) {
  ExpectFollowsReference(MakePlan({.momentum = 0.9}));
}

TEST(TrainingFormulasTest, WeightDecay) {
  ExpectFollowsReference(MakePlan({.weight_decay = 0.05}));
  ExpectFollowsReference(MakePlan({.momentum = 0.5, .weight_decay = 0.05}));
}

TEST(TrainingFormulasTest, ProximalTerm) {
  TrainingPlan plan = MakePlan();
  plan.proximal_coefficient = 0.7;
  ExpectFollowsReference(plan);
}

TEST(TrainingFormulasTest, Adam) {
  TrainingPlan plan = MakePlan();
  plan.learning_rate = 0.01;
  plan.optimizer = AdamPlan{};
  ExpectFollowsReference(plan);
  plan.optimizer = AdamPlan{.beta1 = 0.8, .beta2 = 0.99, .weight_decay = 0.1};
  plan.proximal_coefficient = 0.3;
  ExpectFollowsReference(plan);
}

// The derivative of the batch's mean loss, by differences.
void ExpectGradientMatches(Loss loss, const ExampleBatch& batch,
                           std::vector<float> outputs) {
  std::vector<float> gradient(outputs.size());
  ComputeLoss(loss, batch, outputs, gradient);
  for (size_t i = 0; i < outputs.size(); ++i) {
    constexpr float kDifference = 1.0f / 512;
    std::vector<float> above = outputs;
    std::vector<float> below = outputs;
    above[i] += kDifference;
    below[i] -= kDifference;
    const double slope = (ComputeLoss(loss, batch, above, {}).loss -
                          ComputeLoss(loss, batch, below, {}).loss) /
                         (2 * kDifference * static_cast<double>(batch.size));
    EXPECT_NEAR(gradient[i], slope, 1e-5) << i;
  }
}

TEST(LossTest, GradientsAreTheDerivatives) {
  ExampleBatch batch;
  batch.size = 2;
  batch.class_labels = {1, 0};
  batch.label_values = {0.5f, -1, 2, 3};
  ExpectGradientMatches(Loss::kCrossEntropy, batch, {0.5f, -1, 2, 0.25f});
  ExpectGradientMatches(Loss::kBinaryCrossEntropy, batch, {0.5f, -2});
  ExpectGradientMatches(Loss::kMeanSquaredError, batch, {0.5f, -1, 1, 2});
}

TEST(LossTest, MetricsCountCorrectPredictionsAndSquaredErrors) {
  ExampleBatch batch;
  batch.size = 2;
  batch.class_labels = {1, 0};
  batch.label_values = {1, 2, 3, 4};
  const std::vector<float> outputs = {0, 1, 1, 4};
  EXPECT_EQ(ComputeLoss(Loss::kCrossEntropy, batch, outputs, {}).metric, 1);
  const std::vector<float> logits = {0.5f, -0.5f};
  EXPECT_EQ(ComputeLoss(Loss::kBinaryCrossEntropy, batch, logits, {}).metric,
            2);
  // Means of (1, 1) and (4, 0).
  EXPECT_EQ(ComputeLoss(Loss::kMeanSquaredError, batch, outputs, {}).metric, 3);
}

TEST(LossTest, LargeLogitsDoNotOverflow) {
  ExampleBatch batch;
  batch.size = 1;
  batch.class_labels = {0};
  const std::vector<float> wide = {1e4f, -1e4f};
  EXPECT_EQ(ComputeLoss(Loss::kCrossEntropy, batch, wide, {}).loss, 0);
  const std::vector<float> logit = {-1e4f};
  EXPECT_EQ(ComputeLoss(Loss::kBinaryCrossEntropy, batch, logit, {}).loss, 0);
  batch.class_labels = {1};
  EXPECT_EQ(ComputeLoss(Loss::kCrossEntropy, batch, wide, {}).loss, 2e4);
  EXPECT_EQ(ComputeLoss(Loss::kBinaryCrossEntropy, batch, logit, {}).loss, 1e4);
}

TEST(ExampleOrderTest, EachEpochShowsEachExampleOnceInAnotherOrder) {
  ExampleOrder order;
  order.Start(MakePlan(), 50);
  std::vector<int64_t> first(50), second(50);
  std::ranges::copy(order.NextBatch(0), first.begin());
  std::ranges::copy(order.NextBatch(0), second.begin());
  EXPECT_NE(first, second);
  EXPECT_THAT(first, ::testing::UnorderedElementsAreArray(second));
  EXPECT_EQ(order.epoch(), 1);
}

TEST(ExampleOrderTest, SeekGoesOnAsIfNothingHadHappened) {
  TrainingPlan plan = MakePlan();
  plan.max_examples = 20;
  ExampleOrder order;
  order.Start(plan, 50);
  for (int i = 0; i < 5; ++i) order.NextBatch(8);
  ExampleOrder other;
  other.Start(plan, 50);
  ASSERT_TRUE(other.Seek(order.epoch(), order.position()));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(std::ranges::equal(order.NextBatch(8), other.NextBatch(8)));
  }
  EXPECT_FALSE(other.Seek(0, 21));
  EXPECT_FALSE(other.Seek(-1, 0));
}

}  // namespace
}  // namespace mledge
