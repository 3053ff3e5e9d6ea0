// Jobs of the driver: what a task's run asks to be worked out or stored, and
// the blobs that come of it.
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// After so many published versions and checkpoints, blobs that nobody names are
// freed.
constexpr int64_t kBlobsPerCollection = 16;

// Worth another try: the disk may have room again, the store may answer.
bool MayWorkLater(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kPermissionDenied:
      return true;
    default:
      return false;
  }
}

bool HasSum(const TaskContext& context, RoundNumber round) {
  return context.sum != nullptr && context.sum_round == round;
}

// An empty sum for the round, unless it has one.
absl::Status BeginSum(TaskContext& context, RoundNumber round) {
  if (HasSum(context, round)) return absl::OkStatus();
  MLEDGE_ASSIGN_OR_RETURN(context.sum, MakeTrainingSum(context));
  context.sum_round = round;
  return absl::OkStatus();
}

TaskRun::JobFailure JudgeFailure(const Job& job, const absl::Status& status) {
  // Without a checkpoint the sum is still in memory and the updates on disk.
  if (MayWorkLater(status) || std::holds_alternative<CheckpointJob>(job)) {
    return TaskRun::JobFailure::kRetry;
  }
  // An update that is gone spoils its round; parameters that are gone, or no
  // longer finite, would spoil every round to come.
  return std::holds_alternative<FoldJob>(job) ? TaskRun::JobFailure::kRoundFails
                                              : TaskRun::JobFailure::kTaskFails;
}

}  // namespace

void CoordinatorImpl::RunJob(TaskContext* context, const Job& job) {
  TaskRun& run = *context->run;
  if (const auto* const fold = std::get_if<FoldJob>(&job)) {
    FinishJob(*context, job, Fold(*context, *fold),
              [&run](absl::Time now) { return run.FoldDone(now); });
    return;
  }
  if (const auto* const session = std::get_if<SecureSessionJob>(&job)) {
    RunSecureSession(*context, *session);
    return;
  }
  BeginBlobUse();
  if (std::holds_alternative<CheckpointJob>(job)) {
    const absl::StatusOr<Digest> sum =
        dependencies_.storage->PutBlob(context->sum->Serialize());
    FinishJob(*context, job, sum.status(),
              [&](absl::Time now) { return run.CheckpointDone(now, *sum); });
  } else {
    const auto& publish = std::get<PublishJob>(job);
    absl::Time now;
    TaskRecord record;
    VersionRecord base;
    bool sampled = false;
    {
      MutexLock lock(&mutex_);
      now = now_;
      record = run.record();
      base = context->versions.at(publish.base_version);
      sampled = run.plan().sampling_probability.has_value();
    }
    absl::Status status;
    if (sampled) {
      // Where nobody was in the sample, the sum of no updates.
      status = BeginSum(*context, publish.round);
    } else if (!HasSum(*context, publish.round)) {
      status = absl::InternalError(
          StrCat("round ", publish.round.value(), " has no sum"));
    }
    if (status.ok() && context->publisher == nullptr) {
      absl::StatusOr<std::unique_ptr<Publisher>> publisher = Publisher::Create(
          {.storage = dependencies_.storage,
           .pool = dependencies_.pool,
           .sign_version = dependencies_.sign_version,
           .noise_random = &NoiseRandom()},
          context->task, context->private_task, context->layout, record, base);
      status = publisher.status();
      if (publisher.ok()) context->publisher = *std::move(publisher);
    }
    TaskRun::Publication publication;
    if (status.ok()) {
      const AggregationSum& sum = context->sum->sum();
      absl::StatusOr<VersionRecord> version =
          context->publisher->Publish(now, publish.round, sum);
      status = version.status();
      if (version.ok()) {
        publication.version = std::move(*version);
        publication.bytes_sent = context->bytes_sent->load();
      }
      if (version.ok() && context->private_task != nullptr) {
        // No sum but the noised one is told of.
        absl::StatusOr<double> spent = EpsilonSpent(*context);
        if (spent.ok()) publication.epsilon_spent = *spent;
        status = spent.status();
      } else if (version.ok()) {
        const double examples = sum.Scalar(kExamplesScalar);
        publication.examples = static_cast<int64_t>(examples);
        if (examples > 0) {
          publication.training_loss = sum.Scalar(kLossSumScalar) / examples;
          publication.training_metric = sum.Scalar(kMetricSumScalar) / examples;
        }
      }
    }
    FinishJob(*context, job, status, [&](absl::Time at) {
      Effects effects = run.PublishDone(at, publication);
      if (effects.persist.versions.empty()) {
        // Its round ended meanwhile: nobody may see what it came to.
        context->publisher.reset();
        return effects;
      }
      // The moments of the version before are of no use to anybody now, and its
      // noise would only be a danger.
      if (base.optimizer_state.has_value() || base.noise_state.has_value()) {
        base.optimizer_state.reset();
        base.noise_state.reset();
        effects.persist.versions.insert(effects.persist.versions.begin(), base);
      }
      return effects;
    });
  }
}

absl::Status CoordinatorImpl::Fold(TaskContext& context, const FoldJob& job) {
  MLEDGE_RETURN_IF_ERROR(BeginSum(context, job.round));
  std::vector<std::unique_ptr<SpooledUpdate>> updates;
  std::vector<const UpdateView*> views;
  for (const AssignmentId& id : job.updates) {
    absl::StatusOr<std::unique_ptr<SpooledUpdate>> update =
        dependencies_.storage->OpenSpooled(id);
    if (!update.ok()) {
      return Annotate(update.status(),
                      StrCat("acknowledged update of assignment ", id.value(),
                             " cannot be read"));
    }
    views.push_back(&(*update)->view());
    updates.push_back(*std::move(update));
  }
  return context.sum->Fold(views, dependencies_.pool);
}

void CoordinatorImpl::FinishJob(
    TaskContext& context, const Job& job, const absl::Status& status,
    const std::function<Effects(absl::Time)>& done) {
  const bool stored_blobs = !std::holds_alternative<FoldJob>(job);
  if (stored_blobs && !status.ok()) EndBlobUse();
  {
    MutexLock lock(&mutex_);
    Effects effects;
    if (status.ok()) {
      effects = done(now_);
    } else {
      LOG(ERROR) << "task " << context.id() << ": " << status;
      effects = context.run->JobFailed(now_, status, JudgeFailure(job, status));
    }
    if (stored_blobs && status.ok()) {
      // With the record that names them; before a collection that follows.
      batch_.then.push_back([this] { EndBlobUse(); });
    }
    // Exact sums and the noise before: their files go at once.
    const bool leaves_secrets =
        context.private_task != nullptr && !effects.persist.versions.empty();
    Apply(context, std::move(effects));
    if (stored_blobs && status.ok() &&
        (++blobs_since_collection_ >= kBlobsPerCollection || leaves_secrets)) {
      batch_.then.push_back([this] { CollectGarbage(); });
    }
    Settle();
  }
  RunGathered();
}

// Garbage.

void CoordinatorImpl::BeginBlobUse() {
  MutexLock lock(&mutex_);
  while (collecting_) idle_.Wait(&mutex_);
  ++blob_uses_;
}

void CoordinatorImpl::EndBlobUse() {
  {
    MutexLock lock(&mutex_);
    if (--blob_uses_ > 0 || !collection_due_) return;
  }
  CollectGarbage();
}

void CoordinatorImpl::CollectGarbage() {
  {
    MutexLock lock(&mutex_);
    collection_due_ = true;
    // Whoever uses blobs, or collects them, sees to it when he has done.
    if (blob_uses_ > 0 || collecting_) return;
    collecting_ = true;
  }
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (!std::exchange(collection_due_, false)) {
        collecting_ = false;
        idle_.SignalAll();
        return;
      }
      blobs_since_collection_ = 0;
    }
    if (const absl::Status status = dependencies_.storage->CollectGarbage();
        !status.ok()) {
      LOG(WARNING) << "blobs that nobody needs stay: " << status;
    }
  }
}

}  // namespace mledge
