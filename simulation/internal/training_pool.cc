#include "mledge/simulation/internal/training_pool.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "mledge/aggregation/update_file.h"
#include "mledge/client/subset_store.h"
#include "mledge/client/update_pipeline.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/simulation/deterministic_secret_random.h"

namespace mledge::simulation_internal {
namespace {

// Steps between two looks at whether the work is still wanted.
constexpr int64_t kStepsAtATime = 16;
constexpr absl::Duration kStopPoll = absl::Milliseconds(100);

// Adds up what the blocks of an evaluation came to, in their order.
absl::StatusOr<Update> Combine(std::vector<absl::StatusOr<Update>> parts) {
  for (const absl::StatusOr<Update>& part : parts) {
    if (!part.ok()) return part.status();
  }
  Update sum = *std::move(parts.front());
  for (size_t i = 1; i < parts.size(); ++i) {
    sum.weight += parts[i]->weight;
    for (UpdateScalar& scalar : sum.scalars) {
      scalar.value += parts[i]->Scalar(scalar.name);
    }
  }
  return sum;
}

absl::StatusOr<TrainedUpdate> MakeTrained(const TrainingJob& job,
                                          absl::StatusOr<Update> update,
                                          bool serialize) {
  if (!update.ok()) return update.status();
  DeterministicSecretRandom random(job.plan.task_seed, job.plan.device,
                                   job.plan.ordinal, "privacy");
  MLEDGE_ASSIGN_OR_RETURN(
      Update finished,
      UpdatePipeline(job.pipeline).Run(*std::move(update), random));
  const UpdateContext context{job.assignment,
                              job.package->layout->fingerprint()};
  TrainedUpdate trained;
  if (serialize) {
    MLEDGE_ASSIGN_OR_RETURN(trained.file, SerializeUpdate(finished, context));
    trained.finished = {Sha256Of(trained.file), trained.file.size()};
    return trained;
  }
  MLEDGE_ASSIGN_OR_RETURN(
      const uint64_t size,
      SerializedUpdateSize(UpdateView::Of(finished, context)));
  // The content follows from the assignment alone, so its id names it.
  trained.finished = {Sha256Of(job.assignment.value()), size};
  trained.update = std::move(finished);
  return trained;
}

}  // namespace

absl::StatusOr<TrainedUpdate> TrainingRun::Wait(
    const std::function<bool()>& stop) {
  MutexLock lock(&mutex_);
  while (!result_.has_value()) {
    if (stop()) {
      Cancel();
      return absl::CancelledError("the simulation was stopped");
    }
    changed_.WaitWithTimeout(&mutex_, kStopPoll);
  }
  return *std::move(result_);
}

TrainingPool::TrainingPool(int workers, TrainerFactory* factory,
                           std::function<void()> on_start)
    : factory_(factory), on_start_(std::move(on_start)) {
  for (int i = 0; i < std::max(1, workers); ++i) {
    threads_.emplace_back([this] { Work(); });
  }
}

TrainingPool::~TrainingPool() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    while (!parts_.empty()) {
      parts_.top().run->Cancel();
      parts_.pop();
    }
  }
  wake_.SignalAll();
  for (std::thread& thread : threads_) thread.join();
}

std::shared_ptr<TrainingRun> TrainingPool::Submit(
    std::shared_ptr<const TrainingJob> job,
    std::shared_ptr<const ExampleStore> examples,
    std::span<const int64_t> positions, absl::Time needed_at, bool serialize) {
  auto run = std::make_shared<TrainingRun>();
  const int64_t count = static_cast<int64_t>(positions.size());
  const bool evaluates = job->plan.kind == TrainingPlan::Kind::kEvaluate;
  const int64_t parts =
      evaluates ? std::max<int64_t>(
                      1, (count + kEvaluationBlock - 1) / kEvaluationBlock)
                : 1;
  run->job_ = std::move(job);
  run->examples_ = std::move(examples);
  run->positions_.assign(positions.begin(), positions.end());
  run->serialize_ = serialize;
  Queue(run, parts, needed_at);
  return run;
}

std::shared_ptr<TrainingRun> TrainingPool::SubmitMade(
    std::shared_ptr<const TrainingJob> job, std::function<Update()> made,
    absl::Time needed_at, bool serialize) {
  auto run = std::make_shared<TrainingRun>();
  run->job_ = std::move(job);
  run->made_ = std::move(made);
  run->serialize_ = serialize;
  Queue(run, 1, needed_at);
  return run;
}

void TrainingPool::Queue(std::shared_ptr<TrainingRun> run, int64_t parts,
                         absl::Time needed_at) {
  {
    MutexLock run_lock(&run->mutex_);
    run->parts_.assign(parts, absl::InternalError("not run"));
  }
  {
    MutexLock lock(&mutex_);
    for (int64_t i = 0; i < parts; ++i) {
      parts_.push({needed_at, next_sequence_++, static_cast<size_t>(i), run});
    }
  }
  if (parts == 1) {
    wake_.Signal();
  } else {
    wake_.SignalAll();
  }
}

void TrainingPool::Work() {
  if (on_start_ != nullptr) on_start_();
  Trainers trainers;
  while (true) {
    Part part;
    {
      MutexLock lock(&mutex_);
      while (parts_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (parts_.empty()) return;
      part = parts_.top();
      parts_.pop();
    }
    const auto begin = std::chrono::steady_clock::now();
    Finish(part.run.get(), part.index,
           RunPart(*part.run, part.index, &trainers));
    busy_nanoseconds_ += (std::chrono::steady_clock::now() - begin).count();
  }
}

absl::StatusOr<Update> TrainingPool::RunPart(const TrainingRun& run,
                                             size_t index, Trainers* trainers) {
  const absl::Status cancelled = absl::CancelledError("not wanted any more");
  if (run.cancelled()) return cancelled;
  if (run.made_ != nullptr) return run.made_();
  const TrainingJob& job = *run.job_;
  std::unique_ptr<LocalTrainer>& trainer = (*trainers)[job.package_digest];
  if (trainer == nullptr) {
    MLEDGE_ASSIGN_OR_RETURN(trainer, factory_->CreateTrainer(*job.package));
  }
  std::span<const int64_t> positions = run.positions_;
  if (job.plan.kind == TrainingPlan::Kind::kEvaluate) {
    const size_t begin = index * kEvaluationBlock;
    positions = positions.subspan(
        begin, std::min<size_t>(kEvaluationBlock, positions.size() - begin));
  }
  const SubsetStore examples(run.examples_,
                             {positions.begin(), positions.end()});
  MLEDGE_RETURN_IF_ERROR(trainer->Start(job.plan, *job.parameters, &examples));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const LocalTrainer::Progress progress,
                            trainer->Step(kStepsAtATime));
    if (progress == LocalTrainer::Progress::kDone) return trainer->Finish();
    if (run.cancelled()) return cancelled;
  }
}

void TrainingPool::Finish(TrainingRun* run, size_t index,
                          absl::StatusOr<Update> update) {
  std::vector<absl::StatusOr<Update>> parts;
  {
    MutexLock lock(&run->mutex_);
    run->parts_[index] = std::move(update);
    if (++run->parts_done_ < run->parts_.size()) return;
    parts = std::move(run->parts_);
  }
  absl::StatusOr<TrainedUpdate> result =
      MakeTrained(*run->job_, Combine(std::move(parts)), run->serialize_);
  {
    MutexLock lock(&run->mutex_);
    run->result_ = std::move(result);
  }
  run->changed_.SignalAll();
}

}  // namespace mledge::simulation_internal
