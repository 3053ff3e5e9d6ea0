#include "mledge/client/torch/internal/torch_local_trainer.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "mledge/client/torch/internal/training_check.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/model/torch/dropout_scope.h"
#include "mledge/model/torch/torch_error.h"
#include "mledge/model/torch/torch_runtime.h"

namespace mledge {
namespace {

// What snapshots of one model have in common. Code and memory format decide
// what the flat buffer's values mean.
Digest ModelDigest(const ModelPackage& package) {
  return Sha256()
      .UpdateField(package.code)
      .UpdateField(package.layout->fingerprint().ToBytes())
      .UpdateU64(package.channels_last)
      .Finish();
}

ModelPackage WithoutBulk(ModelPackage package) {
  package.code.clear();
  package.initial_parameters = ParameterVector();
  return package;
}

// Extents of 1 have no order.
bool SameOrder(const at::Tensor& a, const at::Tensor& b) {
  for (int64_t i = 0; i < a.dim(); ++i) {
    if (a.size(i) != 1 && a.stride(i) != b.stride(i)) return false;
  }
  return true;
}

AlignedFloats Copy(std::span<const float> values) {
  AlignedFloats copy(values.size());
  std::copy(values.begin(), values.end(), copy.span().begin());
  return copy;
}

std::span<float> ValuesOf(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

}  // namespace

TorchLocalTrainer::TorchLocalTrainer(ModelPackage package,
                                     std::unique_ptr<BoundModel> model,
                                     TorchTrainerOptions options)
    : package_(WithoutBulk(package)),
      model_digest_(ModelDigest(package)),
      options_(options),
      model_(std::move(model)) {}

absl::Status TorchLocalTrainer::Start(const TrainingPlan& plan,
                                      const ParameterVector& parameters,
                                      const ExampleStore* examples) {
  PrepareTrainingThread();
  phase_ = Phase::kIdle;
  MLEDGE_RETURN_IF_ERROR(CheckPlan(plan));
  MLEDGE_RETURN_IF_ERROR(CheckStore(package_, *examples));
  const std::shared_ptr<const ParameterLayout>& layout = parameters.layout();
  if (layout == nullptr ||
      (layout != package_.layout &&
       layout->fingerprint() != package_.layout->fingerprint())) {
    return absl::InvalidArgumentError(
        StrCat("the parameters have another layout than the model \"",
               package_.name, "\": they belong to another package"));
  }
  if (const auto position = FindNonFinite(parameters.values())) {
    return absl::InvalidArgumentError(
        StrCat("the parameters to start from are not all finite: element ",
               *position));
  }
  plan_ = plan;
  examples_ = examples;
  return CatchTorch(
      absl::StatusCode::kInternal, "cannot load the parameters",
      [&]() -> absl::Status {
        model_->Load(parameters.values());
        model_->model().SetTraining(!evaluates());
        const std::span<const float> flat = model_->flat();
        if (!evaluates()) {
          if (base_.size() != flat.size()) base_ = AlignedFloats(flat.size());
          std::memcpy(base_.span().data(), flat.data(), flat.size_bytes());
          optimizer_.Start(plan, static_cast<int64_t>(flat.size()),
                           base_.span());
        }
        order_.Start(plan, examples->size());
        dropout_.emplace(TrainingRandom::Stream{.task_seed = plan.task_seed,
                                                .device = plan_.device,
                                                .ordinal = plan.ordinal,
                                                .purpose = "dropout"});
        step_ = 0;
        window_examples_ = 0;
        loss_sum_ = 0;
        metric_sum_ = 0;
        phase_ = Phase::kRunning;
        return absl::OkStatus();
      });
}

absl::StatusOr<LocalTrainer::Progress> TorchLocalTrainer::Step(
    int64_t max_steps) {
  if (phase_ == Phase::kDone) return Progress::kDone;
  if (phase_ == Phase::kIdle) {
    return absl::FailedPreconditionError(
        "no training has been started, or it has failed");
  }
  PrepareTrainingThread();
  for (int64_t i = 0; i < max_steps && phase_ == Phase::kRunning; ++i) {
    absl::Status status =
        CatchTorch(absl::StatusCode::kInvalidArgument,
                   "the model cannot be run", [this] { return RunStep(); });
    if (status.ok() && AtEnd()) {
      status = CheckResult();
      phase_ = Phase::kDone;
    }
    if (!status.ok()) {
      phase_ = Phase::kIdle;
      return Annotate(status, StrCat("step ", step_));
    }
  }
  return phase_ == Phase::kDone ? Progress::kDone : Progress::kMore;
}

bool TorchLocalTrainer::AtEnd() const {
  if (evaluates()) return order_.epoch_ended();
  if (plan_.steps > 0) return step_ == plan_.steps;
  return order_.epoch_ended() && order_.epoch() + 1 == plan_.epochs;
}

absl::Status TorchLocalTrainer::RunStep() {
  ++step_;
  if (plan_.steps == 0 && order_.epoch_ended()) {
    window_examples_ = 0;
    loss_sum_ = 0;
    metric_sum_ = 0;
  }
  const std::span<const int64_t> positions = order_.NextBatch(
      evaluates() ? options_.evaluation_batch_size : plan_.batch_size);
  MLEDGE_RETURN_IF_ERROR(examples_->Read(positions, &batch_));
  MLEDGE_RETURN_IF_ERROR(CheckBatch(package_, positions, batch_));
  return evaluates() ? Evaluate() : Train();
}

absl::Status TorchLocalTrainer::Train() {
  const at::AutoGradMode with_grad(true);
  at::Tensor output;
  {
    const DropoutScope scope(&*dropout_, step_);
    output = model_->Forward(batch_.size, batch_.inputs, batch_.index_inputs);
  }
  const at::Tensor rows = output.detach().contiguous();
  const at::Tensor slope = at::empty_like(rows);
  const LossSums sums =
      ComputeLoss(package_.loss, batch_, ValuesOf(rows), ValuesOf(slope));
  MLEDGE_RETURN_IF_ERROR(AddSums(sums));
  torch::autograd::backward({output}, {slope});
  ApplyGradients();
  model_->CollectBuffers();
  return absl::OkStatus();
}

absl::Status TorchLocalTrainer::Evaluate() {
  const at::NoGradGuard no_grad;
  const at::Tensor rows =
      model_->Forward(batch_.size, batch_.inputs, batch_.index_inputs)
          .contiguous();
  return AddSums(ComputeLoss(package_.loss, batch_, ValuesOf(rows), {}));
}

absl::Status TorchLocalTrainer::AddSums(const LossSums& sums) {
  if (!std::isfinite(sums.loss)) {
    return absl::OutOfRangeError(StrCat(
        "the loss became ", std::isnan(sums.loss) ? "not a number" : "infinite",
        evaluates() ? ": the model's parameters have diverged"
                    : ": lower the learning rate, or scale the data"));
  }
  window_examples_ += batch_.size;
  loss_sum_ += sums.loss;
  metric_sum_ += sums.metric;
  return absl::OkStatus();
}

void TorchLocalTrainer::ApplyGradients() {
  optimizer_.BeginStep();
  for (const BoundModel::Trainable& trainable : model_->trainables()) {
    at::Tensor& gradient = trainable.tensor.mutable_grad();
    const float* values = nullptr;
    if (gradient.defined()) {
      if (gradient.layout() != at::kStrided ||
          !SameOrder(gradient, trainable.tensor)) {
        gradient = at::empty_strided(trainable.tensor.sizes(),
                                     trainable.tensor.strides())
                       .copy_(gradient.to_dense());
      }
      values = gradient.data_ptr<float>();
    }
    optimizer_.Update(model_->flat(), trainable.offset, trainable.count,
                      values);
    gradient.reset();
  }
}

// A diverged model is refused here; within a training, the next step's loss
// shows it.
absl::Status TorchLocalTrainer::CheckResult() const {
  const std::span<const float> shared =
      model_->flat().first(static_cast<size_t>(package_.layout->shared_size()));
  if (const auto position = FindNonFinite(shared)) {
    return absl::OutOfRangeError(
        StrCat("parameter ", *position,
               " became infinite or not a number: lower the learning rate, or "
               "scale the data"));
  }
  return absl::OkStatus();
}

Digest TorchLocalTrainer::Fingerprint() const {
  return TrainingFingerprint(plan_, model_digest_,
                             evaluates() ? model_->flat() : base_.span(),
                             examples_->size());
}

absl::StatusOr<TrainerSnapshot> TorchLocalTrainer::Snapshot() const {
  if (phase_ == Phase::kIdle) {
    return absl::FailedPreconditionError(
        "no training has been started, or it has failed");
  }
  TrainerState state;
  state.fingerprint = Fingerprint();
  state.step = step_;
  state.epoch = order_.epoch();
  state.position = order_.position();
  state.examples = window_examples_;
  state.loss_sum = loss_sum_;
  state.metric_sum = metric_sum_;
  if (!evaluates()) {
    state.parameters = Copy(model_->flat());
    state.first_moment = Copy(optimizer_.first_moment());
    state.second_moment = Copy(optimizer_.second_moment());
    state.non_float_state = model_->SaveNonFloatState();
  }
  return TrainerSnapshot{SerializeTrainerState(state)};
}

absl::Status TorchLocalTrainer::Restore(const TrainingPlan& plan,
                                        const ParameterVector& parameters,
                                        const ExampleStore* examples,
                                        const TrainerSnapshot& snapshot) {
  MLEDGE_RETURN_IF_ERROR(Start(plan, parameters, examples));
  absl::Status status = Continue(snapshot);
  if (!status.ok()) phase_ = Phase::kIdle;
  return status;
}

absl::Status TorchLocalTrainer::Continue(const TrainerSnapshot& snapshot) {
  MLEDGE_ASSIGN_OR_RETURN(const TrainerState state,
                          ParseTrainerState(snapshot.bytes));
  if (state.fingerprint != Fingerprint()) {
    return absl::InvalidArgumentError(
        "the snapshot is of another plan, model, start or data set: start the "
        "training again");
  }
  if (!order_.Seek(state.epoch, state.position)) {
    return absl::InvalidArgumentError(
        "the snapshot names no place in the data");
  }
  if (!evaluates()) {
    const std::span<float> flat = model_->flat();
    if (state.parameters.size() != flat.size()) {
      return absl::InvalidArgumentError(
          "the snapshot's parameters are of another model");
    }
    MLEDGE_RETURN_IF_ERROR(optimizer_.Restore(
        state.step, state.first_moment.span(), state.second_moment.span()));
    MLEDGE_RETURN_IF_ERROR(model_->RestoreNonFloatState(state.non_float_state));
    std::memcpy(flat.data(), state.parameters.span().data(), flat.size_bytes());
  }
  step_ = state.step;
  window_examples_ = state.examples;
  loss_sum_ = state.loss_sum;
  metric_sum_ = state.metric_sum;
  // A snapshot may have been taken after the last step.
  if (step_ > 0 && AtEnd()) phase_ = Phase::kDone;
  return absl::OkStatus();
}

absl::StatusOr<Update> TorchLocalTrainer::Finish() {
  if (phase_ != Phase::kDone) {
    return absl::FailedPreconditionError("the training is not done");
  }
  phase_ = Phase::kIdle;
  Update update;
  update.weight = order_.size();
  update.scalars = {
      {std::string(kExamplesScalar), static_cast<double>(window_examples_)},
      {std::string(kLossSumScalar), loss_sum_},
      {std::string(kMetricSumScalar), metric_sum_}};
  if (!evaluates()) {
    AlignedFloats delta(static_cast<size_t>(package_.layout->shared_size()));
    model_->StoreDifference(base_.span(), delta.span());
    update.sections.push_back({std::string(kDeltaSection), std::move(delta)});
  }
  return update;
}

}  // namespace mledge
