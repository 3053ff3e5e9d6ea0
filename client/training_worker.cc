#include "mledge/client/training_worker.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/client/update_pipeline.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {

absl::StatusOr<PreparedUpdate> PrepareUpdate(const TrainingJob& job,
                                             Update update,
                                             SecretRandom& random) {
  PreparedUpdate prepared;
  MLEDGE_ASSIGN_OR_RETURN(
      prepared.update,
      UpdatePipeline(job.pipeline).Run(std::move(update), random));
  prepared.context = {job.assignment, job.package->layout->fingerprint()};
  Sha256 hash;
  MLEDGE_RETURN_IF_ERROR(
      WriteUpdate(UpdateView::Of(prepared.update, prepared.context),
                  [&](std::string_view bytes) {
                    hash.Update(bytes);
                    prepared.finished.size_in_bytes += bytes.size();
                    return absl::OkStatus();
                  }));
  prepared.finished.content_sha256 = hash.Finish();
  return prepared;
}

TrainingWorker::TrainingWorker(const Options& options, TrainerFactory* trainers,
                               const ExampleStore* examples,
                               DeviceStorage* storage)
    : options_(options),
      trainers_(trainers),
      examples_(examples),
      storage_(storage),
      thread_([this] { Run(); }) {}

TrainingWorker::~TrainingWorker() {
  {
    MutexLock lock(&mutex_);
    ending_ = true;
    if (command_ == Command::kGoOn) command_ = Command::kStopWithSnapshot;
    wake_.SignalAll();
  }
  thread_.join();
}

void TrainingWorker::Start(std::shared_ptr<const TrainingJob> job, Done done) {
  std::optional<Request> replaced;
  {
    MutexLock lock(&mutex_);
    replaced = std::move(next_);
    next_ = Request{std::move(job), std::move(done)};
    wake_.SignalAll();
  }
  if (replaced.has_value()) {
    replaced->done(absl::CancelledError("another job came"));
  }
}

void TrainingWorker::Stop(bool keep_snapshot) {
  std::optional<Request> dropped;
  {
    MutexLock lock(&mutex_);
    command_ =
        keep_snapshot ? Command::kStopWithSnapshot : Command::kStopWithout;
    dropped = std::move(next_);
    next_.reset();
  }
  if (dropped.has_value()) {
    dropped->done(absl::CancelledError("training was stopped"));
  }
}

void TrainingWorker::Run() {
  while (true) {
    Request request;
    {
      MutexLock lock(&mutex_);
      while (!next_.has_value() && !ending_) wake_.Wait(&mutex_);
      if (!next_.has_value()) return;
      request = *std::move(next_);
      next_.reset();
      // A stop that came before this job was for an earlier one.
      if (!ending_) command_ = Command::kGoOn;
    }
    request.done(Train(*request.job));
  }
}

TrainingWorker::Command TrainingWorker::command() {
  MutexLock lock(&mutex_);
  // A waiting job means that nobody wants this one any more.
  return next_.has_value() && command_ == Command::kGoOn ? Command::kStopWithout
                                                         : command_;
}

absl::StatusOr<PreparedUpdate> TrainingWorker::Train(const TrainingJob& job) {
  if (trainer_ == nullptr || trainer_package_ != job.package_digest) {
    trainer_.reset();
    MLEDGE_ASSIGN_OR_RETURN(trainer_, trainers_->CreateTrainer(*job.package));
    trainer_package_ = job.package_digest;
  }
  MLEDGE_RETURN_IF_ERROR(Begin(job));
  absl::Time last_snapshot = absl::Now();
  int64_t steps = 1;
  while (true) {
    switch (command()) {
      case Command::kStopWithSnapshot:
        MLEDGE_RETURN_IF_ERROR(SaveSnapshot(job));
        return absl::CancelledError("training was stopped");
      case Command::kStopWithout:
        return absl::CancelledError("training was stopped");
      case Command::kGoOn:
        break;
    }
    const absl::Time before = absl::Now();
    MLEDGE_ASSIGN_OR_RETURN(const LocalTrainer::Progress progress,
                            trainer_->Step(steps));
    if (progress == LocalTrainer::Progress::kDone) break;
    const absl::Time after = absl::Now();
    // As many steps as fill about one slice.
    if (after - before < options_.slice / 2) {
      steps = std::min<int64_t>(steps * 2, 1 << 20);
    } else if (after - before > options_.slice) {
      steps = std::max<int64_t>(steps / 2, 1);
    }
    if (after - last_snapshot >= options_.snapshot_interval) {
      MLEDGE_RETURN_IF_ERROR(SaveSnapshot(job));
      last_snapshot = absl::Now();
    }
  }
  MLEDGE_ASSIGN_OR_RETURN(Update update, trainer_->Finish());
  SystemSecretRandom random;
  return PrepareUpdate(job, std::move(update), random);
}

absl::Status TrainingWorker::Begin(const TrainingJob& job) {
  absl::StatusOr<std::optional<std::string>> snapshot =
      storage_->LoadSnapshot(job.assignment);
  if (snapshot.ok() && snapshot->has_value()) {
    absl::Status restored =
        trainer_->Restore(job.plan, *job.parameters, examples_,
                          TrainerSnapshot{**std::move(snapshot)});
    if (restored.ok()) return restored;
    LOG(WARNING) << "Training of assignment " << job.assignment
                 << " begins anew, as its snapshot cannot be used: "
                 << restored.message();
  } else if (!snapshot.ok()) {
    LOG(WARNING) << "Training of assignment " << job.assignment
                 << " begins anew: " << snapshot.status().message();
  }
  return trainer_->Start(job.plan, *job.parameters, examples_);
}

// A device whose disk is full can still train: it only cannot go on after a
// restart.
absl::Status TrainingWorker::SaveSnapshot(const TrainingJob& job) {
  MLEDGE_ASSIGN_OR_RETURN(const TrainerSnapshot snapshot, trainer_->Snapshot());
  const absl::Status saved =
      storage_->SaveSnapshot(job.assignment, snapshot.bytes);
  if (!saved.ok() && !absl::IsFailedPrecondition(saved)) {
    LOG(WARNING) << "No snapshot of assignment " << job.assignment << ": "
                 << saved.message();
  }
  return absl::OkStatus();
}

}  // namespace mledge
