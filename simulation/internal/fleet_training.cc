// How devices of a simulated fleet train, or vanish while they do.
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "mledge/aggregation/update_file.h"
#include "mledge/core/status_macros.h"
#include "mledge/privacy/plan/private_task.h"
#include "mledge/simulation/internal/canary_audit.h"
#include "mledge/simulation/internal/fleet.h"

namespace mledge::simulation_internal {
namespace {

// Name and size of an update that nobody computes, because the coordinator will
// not take it.
absl::StatusOr<FinishedUpdate> Uncomputed(const TrainingJob& job) {
  UpdateView view;
  view.context = {job.assignment, job.package->layout->fingerprint()};
  view.weight = 1;
  AlignedFloats rotated;
  std::span<const float> values =
      job.parameters->values().first(job.package->layout->shared_size());
  if (job.pipeline.privacy != nullptr && job.pipeline.privacy->rotated) {
    rotated =
        AlignedFloats(static_cast<size_t>(job.pipeline.privacy->dimension));
    values = rotated.span();
  }
  view.sections.push_back({std::string(kDeltaSection), values});
  for (const std::string_view name :
       {kExamplesScalar, kLossSumScalar, kMetricSumScalar}) {
    view.scalars.push_back({std::string(name), 1});
  }
  if (job.pipeline.privacy != nullptr &&
      job.pipeline.privacy->count_noise.has_value()) {
    view.scalars.push_back({std::string(kClipBitScalar), 0.5});
  }
  MLEDGE_ASSIGN_OR_RETURN(const uint64_t size, SerializedUpdateSize(view));
  return FinishedUpdate{Sha256Of(job.assignment.value()), size};
}

}  // namespace

void Fleet::Do(int64_t device, StartTraining effect) {
  Active& active = *devices_[device].active;
  const TrainingJob& job = *effect.job;
  const bool on_test_data = IsEvaluator(device);
  const std::span<const int64_t> positions =
      on_test_data ? std::span<const int64_t>(all_test_examples_)
                   : options_.partition->examples(device);
  const absl::Duration duration =
      on_test_data
          ? absl::ZeroDuration()
          : options_.model->SpeedOf(IdOf(device).value())
                .TrainingTime(job.plan, static_cast<int64_t>(positions.size()));
  active.job = effect.job;
  active.skipped = false;
  active.run = nullptr;
  active.trained.reset();
  const std::optional<double> vanishes =
      on_test_data
          ? std::nullopt
          : options_.model->VanishesAt(IdOf(device).value(), job.plan.ordinal);
  if (vanishes.has_value()) {
    const absl::Time expires = absl::FromUnixMillis(
        active.session.assignment()->expires_at_unix_milliseconds());
    React(queue_->now() + duration * *vanishes, device,
          [this, device, expires](Active&) {
            Vanish(device, expires + kAbsence);
            return Effects();
          });
    return;
  }
  const absl::Time done = queue_->now() + duration;
  if (CanaryAudit* const audit = options_.audit;
      audit != nullptr && job.plan.kind == TrainingPlan::Kind::kTrain) {
    const double clip_norm = job.pipeline.clip_norm;
    audit->Trains(device, active.session.assignment()->round(), clip_norm);
    if (audit->IsCanary(device)) {
      active.run = pool_->SubmitMade(
          effect.job,
          [audit, device, clip_norm] {
            return audit->UpdateOf(device, clip_norm);
          },
          done, options_.wire);
    }
  }
  if (active.run == nullptr) {
    active.run = pool_->Submit(
        effect.job, on_test_data ? options_.test_data : options_.training_data,
        positions, done, options_.wire);
  }
  React(done, device,
        [this, call = effect.call, run = active.run](Active& active) {
          if (active.run != run) return Effects();
          return active.session.OnTrainingFinished(queue_->now(), call,
                                                   Finished(active));
        });
}

absl::StatusOr<FinishedUpdate> Fleet::Finished(Active& active) {
  const std::shared_ptr<TrainingRun> run = std::exchange(active.run, nullptr);
  if (active.skipped) return Uncomputed(*active.job);
  MLEDGE_ASSIGN_OR_RETURN(active.trained, run->Wait(options_.stop));
  return active.trained->finished;
}

void Fleet::Do(int64_t device, StopTraining) {
  Active& active = *devices_[device].active;
  if (active.run != nullptr) active.run->Cancel();
  active.run = nullptr;
}

}  // namespace mledge::simulation_internal
