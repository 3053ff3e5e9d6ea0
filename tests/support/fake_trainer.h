#ifndef MLEDGE_TESTS_SUPPORT_FAKE_TRAINER_H_
#define MLEDGE_TESTS_SUPPORT_FAKE_TRAINER_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/example_store.h"
#include "mledge/client/local_trainer.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/training_random.h"
#include "mledge/model/package.h"

// Training without LibTorch, for tests of everything around it: real gradient
// descent on a model so simple that its result can be told by hand. An
// example's loss is ½·mean((w − x)²), where x is its input, repeated or cut to
// the model's size; so the gradient of a batch is (w − mean x)/size, every
// device pulls towards the mean of its examples, and the loss has its minimum
// there. An example counts as correct when its loss is below ½. Keeps the
// contract of LocalTrainer: the result depends on plan, parameters and examples
// alone, and a snapshot goes on bit for bit. Plain SGD with the proximal term;
// momentum, weight decay and Adam are UNIMPLEMENTED. Needs mledge::client.

namespace mledge {

// A package that FakeTrainer trains: `size` parameters, inputs of `inputs`
// values, two outputs.
inline ModelPackage MakeFakePackage(int64_t size, int64_t inputs = 4) {
  ModelPackage package;
  package.name = "fake";
  ParameterEntry weight;
  weight.name = "weight";
  weight.shape = {size};
  package.layout = *ParameterLayout::Create({weight});
  package.code = "code of a fake trainer";
  package.initial_parameters = ParameterVector(package.layout);
  package.input.shape = {inputs};
  package.output.shape = {2};
  return package;
}

class FakeTrainer final : public LocalTrainer {
 public:
  // Called before each step with its number; an error is the step's.
  using BeforeStep =
      std::function<absl::Status(const TrainingPlan& plan, int64_t step)>;

  FakeTrainer(std::shared_ptr<const ParameterLayout> layout,
              BeforeStep before_step)
      : layout_(std::move(layout)), before_step_(std::move(before_step)) {}

  absl::Status Start(const TrainingPlan& plan,
                     const ParameterVector& parameters,
                     const ExampleStore* examples) override {
    MLEDGE_RETURN_IF_ERROR(Bind(plan, parameters, examples));
    const std::span<const float> values = parameters.values();
    weights_.assign(values.begin(), values.end());
    state_ = State();
    return absl::OkStatus();
  }

  absl::StatusOr<Progress> Step(int64_t max_steps) override {
    if (examples_ == nullptr) {
      return absl::FailedPreconditionError("training has not been started");
    }
    for (int64_t i = 0; i < max_steps && state_.step < total_steps_; ++i) {
      if (before_step_ != nullptr) {
        MLEDGE_RETURN_IF_ERROR(before_step_(plan_, state_.step));
      }
      MLEDGE_RETURN_IF_ERROR(OneStep());
    }
    return state_.step < total_steps_ ? Progress::kMore : Progress::kDone;
  }

  absl::StatusOr<TrainerSnapshot> Snapshot() const override {
    if (examples_ == nullptr) {
      return absl::FailedPreconditionError("training has not been started");
    }
    TrainerSnapshot snapshot;
    snapshot.bytes.assign(reinterpret_cast<const char*>(&state_),
                          sizeof(state_));
    snapshot.bytes.append(reinterpret_cast<const char*>(weights_.data()),
                          weights_.size() * sizeof(float));
    return snapshot;
  }

  absl::Status Restore(const TrainingPlan& plan,
                       const ParameterVector& parameters,
                       const ExampleStore* examples,
                       const TrainerSnapshot& snapshot) override {
    MLEDGE_RETURN_IF_ERROR(Bind(plan, parameters, examples));
    const size_t weights_size = parameters.values().size_bytes();
    if (snapshot.bytes.size() != sizeof(state_) + weights_size) {
      return absl::InvalidArgumentError("damaged snapshot");
    }
    std::memcpy(&state_, snapshot.bytes.data(), sizeof(state_));
    weights_.resize(parameters.values().size());
    std::memcpy(weights_.data(), snapshot.bytes.data() + sizeof(state_),
                weights_size);
    return absl::OkStatus();
  }

  absl::StatusOr<Update> Finish() override {
    if (examples_ == nullptr || state_.step < total_steps_) {
      return absl::FailedPreconditionError("training is not done");
    }
    Update update;
    if (plan_.kind == TrainingPlan::Kind::kTrain) {
      UpdateSection delta;
      delta.name = std::string(kDeltaSection);
      delta.values = AlignedFloats(layout_->shared_size());
      for (size_t i = 0; i < delta.values.size(); ++i) {
        delta.values.span()[i] = weights_[i] - base_[i];
      }
      update.sections.push_back(std::move(delta));
    }
    update.scalars = {
        {std::string(kExamplesScalar), static_cast<double>(count_)},
        {std::string(kLossSumScalar), state_.loss_sum},
        {std::string(kMetricSumScalar), state_.correct}};
    update.weight = count_;
    return update;
  }

 private:
  struct State {
    int64_t step = 0;
    double loss_sum = 0;
    double correct = 0;
  };

  absl::Status Bind(const TrainingPlan& plan, const ParameterVector& parameters,
                    const ExampleStore* examples) {
    const auto* sgd = std::get_if<SgdPlan>(&plan.optimizer);
    if (sgd == nullptr || sgd->momentum != 0 || sgd->weight_decay != 0) {
      return absl::UnimplementedError("the fake trainer knows plain SGD only");
    }
    if (parameters.layout() == nullptr ||
        parameters.layout()->fingerprint() != layout_->fingerprint()) {
      return absl::InvalidArgumentError(
          "the parameters' layout is not the package's");
    }
    if (examples == nullptr || examples->size() == 0) {
      return absl::InvalidArgumentError("the device holds no examples");
    }
    plan_ = plan;
    examples_ = examples;
    const std::span<const float> values = parameters.values();
    base_.assign(values.begin(), values.end());
    count_ = plan.max_examples > 0
                 ? std::min(plan.max_examples, examples->size())
                 : examples->size();
    batch_size_ =
        plan.batch_size > 0 ? std::min(plan.batch_size, count_) : count_;
    steps_per_epoch_ = (count_ + batch_size_ - 1) / batch_size_;
    total_steps_ =
        plan.kind == TrainingPlan::Kind::kEvaluate
            ? steps_per_epoch_
            : (plan.steps > 0 ? plan.steps : plan.epochs * steps_per_epoch_);
    order_epoch_ = -1;
    return absl::OkStatus();
  }

  // The order of an epoch follows from its number, so a snapshot need not hold
  // it.
  void Reshuffle(int64_t epoch) {
    if (order_epoch_ == epoch) return;
    order_epoch_ = epoch;
    order_.resize(examples_->size());
    std::iota(order_.begin(), order_.end(), int64_t{0});
    if (plan_.kind == TrainingPlan::Kind::kEvaluate) return;
    TrainingRandom choice(
        {plan_.task_seed, plan_.device, plan_.ordinal, "fake-shuffle"});
    choice.Shuffle(std::span<int64_t>(order_));
    order_.resize(count_);
    TrainingRandom random({plan_.task_seed, plan_.device,
                           plan_.ordinal * 1000003 + epoch, "fake-epoch"});
    random.Shuffle(std::span<int64_t>(order_));
  }

  absl::Status OneStep() {
    const int64_t epoch = state_.step / steps_per_epoch_;
    const int64_t begin = state_.step % steps_per_epoch_ * batch_size_;
    const int64_t end = std::min(begin + batch_size_, count_);
    Reshuffle(epoch);
    const std::span<const int64_t> positions(order_.data() + begin,
                                             end - begin);
    MLEDGE_RETURN_IF_ERROR(examples_->Read(positions, &batch_));
    if (begin == 0 && plan_.kind == TrainingPlan::Kind::kTrain) {
      state_.loss_sum = 0;  // those of the last epoch count
      state_.correct = 0;
    }
    const size_t width =
        batch_.inputs.size() / static_cast<size_t>(batch_.size);
    const double rate = plan_.learning_rate / static_cast<double>(batch_.size);
    std::vector<double> gradient(weights_.size(), 0.0);
    for (int64_t example = 0; example < batch_.size; ++example) {
      double squares = 0;
      for (size_t i = 0; i < weights_.size(); ++i) {
        const float x = batch_.inputs[example * width + i % width];
        if (!std::isfinite(x)) {
          return absl::InvalidArgumentError(
              StrCat("example ", positions[example], " holds ", x));
        }
        const double difference = weights_[i] - x;
        gradient[i] += difference;
        squares += difference * difference;
      }
      const double loss = squares / 2 / static_cast<double>(weights_.size());
      state_.loss_sum += loss;
      state_.correct += loss < 0.5 ? 1 : 0;
    }
    if (plan_.kind == TrainingPlan::Kind::kTrain) {
      for (size_t i = 0; i < weights_.size(); ++i) {
        const double proximal = plan_.proximal_coefficient *
                                plan_.learning_rate * (weights_[i] - base_[i]);
        weights_[i] =
            static_cast<float>(weights_[i] - rate * gradient[i] - proximal);
      }
    }
    ++state_.step;
    return absl::OkStatus();
  }

  const std::shared_ptr<const ParameterLayout> layout_;
  const BeforeStep before_step_;
  TrainingPlan plan_;
  const ExampleStore* examples_ = nullptr;
  std::vector<float> base_;
  std::vector<float> weights_;
  int64_t count_ = 0;
  int64_t batch_size_ = 0;
  int64_t steps_per_epoch_ = 0;
  int64_t total_steps_ = 0;
  std::vector<int64_t> order_;
  int64_t order_epoch_ = -1;
  ExampleBatch batch_;
  State state_;
};

class FakePredictor final : public Predictor {
 public:
  explicit FakePredictor(int64_t outputs) : outputs_(outputs) {}
  // Output j is the parameter j minus the input j, both repeated.
  absl::StatusOr<std::vector<float>> Predict(
      const ParameterVector& parameters, const ExampleBatch& batch) override {
    std::vector<float> rows;
    const size_t width = batch.inputs.size() / static_cast<size_t>(batch.size);
    const std::span<const float> w = parameters.values();
    for (int64_t example = 0; example < batch.size; ++example) {
      for (int64_t j = 0; j < outputs_; ++j) {
        rows.push_back(w[j % w.size()] -
                       batch.inputs[example * width + j % width]);
      }
    }
    return rows;
  }

 private:
  const int64_t outputs_;
};

class FakeTrainerFactory final : public TrainerFactory {
 public:
  // `before_step` must be thread-safe where trainers run side by side.
  explicit FakeTrainerFactory(FakeTrainer::BeforeStep before_step = nullptr)
      : before_step_(std::move(before_step)) {}

  absl::StatusOr<std::unique_ptr<LocalTrainer>> CreateTrainer(
      const ModelPackage& package) override {
    return std::make_unique<FakeTrainer>(package.layout, before_step_);
  }
  absl::StatusOr<std::unique_ptr<Predictor>> CreatePredictor(
      const ModelPackage& package) override {
    return std::make_unique<FakePredictor>(package.output.element_count());
  }
  std::string Description() const override { return "fake trainer"; }

 private:
  const FakeTrainer::BeforeStep before_step_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_SUPPORT_FAKE_TRAINER_H_
