#include "mledge/coordinator/task_run.h"

#include <algorithm>
#include <utility>

#include "mledge/coordinator/internal/task_events.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {

TaskRun::TaskRun(TaskPlan plan, TaskRecord record,
                 std::optional<TaskPrivacy> privacy, SecretRandom* coins)
    : plan_(std::move(plan)),
      record_(std::move(record)),
      privacy_(std::move(privacy)),
      coins_(coins),
      candidates_(plan_.minimum_interval) {
  SetStep(record_.submitted_at);
}

bool TaskRun::RoundsAreDone() const {
  return record_.version.value() >= plan_.rounds ||
         (privacy_.has_value() && privacy_->overspent().has_value());
}

void TaskRun::SetStep(absl::Time now) {
  if (!privacy_.has_value()) return;
  privacy_->SetStep(record_.version.value());
  candidates_.SetStep(now, record_.version.value());
}

bool TaskRun::MayStartRound() const {
  return round_ == nullptr && !RoundsAreDone() && !paused() &&
         candidates_.size() >= plan_.minimum_waiting;
}

// Waiting devices.

void TaskRun::DeviceWaits(absl::Time now, CandidatePool::Candidate device,
                          absl::Time last_assigned) {
  if (round_ != nullptr && round_->Knows(device.device)) {
    const DeviceId id = device.device;
    benched_[id] = {std::move(device), last_assigned};
    return;
  }
  AddCandidate(now, std::move(device), last_assigned);
}

void TaskRun::EvaluatorWaits(const DeviceId& evaluator) {
  evaluators_.insert(evaluator);
}

void TaskRun::DeviceLeaves(const DeviceId& device) {
  candidates_.Remove(device);
  benched_.erase(device);
  evaluators_.erase(device);
}

bool TaskRun::Hungry(absl::Time now) const {
  if (ended()) return false;
  if (round_ != nullptr) {
    if (round_->wanted() > 0 && candidates_.size() > 0 &&
        now < round_->plan().deadline && !awaited_entry_.has_value()) {
      return true;
    }
  } else if (MayStartRound()) {
    return true;
  }
  for (const auto& evaluation : evaluations_) {
    if (evaluation->wanted() == 0) continue;
    const auto unasked = [&](const DeviceId& device) {
      return !evaluation->asked().contains(device);
    };
    if (!plan_.evaluate_on_devices) {
      if (std::any_of(evaluators_.begin(), evaluators_.end(), unasked)) {
        return true;
      }
      continue;
    }
    if (candidates_.HasOtherThan(evaluation->asked())) return true;
    for (const auto& [device, benched] : benched_) {
      if (unasked(device)) return true;
    }
  }
  return false;
}

Effects TaskRun::TakeDevices(absl::Time now) {
  Effects effects;
  if (ended()) return effects;
  FillRound(now, effects);
  if (MayStartRound()) StartRound(now, effects);
  HandOutEvaluations(now, effects);
  Advance(now, effects);
  return effects;
}

RoundPlan TaskRun::PlanRound(RoundNumber round, VersionNumber base_version,
                             absl::Time started_at, absl::Time deadline) const {
  RoundPlan plan;
  plan.task = plan_.task;
  plan.round = round;
  plan.base_version = base_version;
  plan.minimum = plan_.minimum;
  plan.target = plan_.target;
  plan.assigned = plan_.assigned;
  plan.started_at = started_at;
  plan.deadline = deadline;
  plan.session = plan_.session;
  plan.secure = plan_.secure;
  plan.sampled = plan_.sampling_probability.has_value();
  return plan;
}

void TaskRun::StartRound(absl::Time now, Effects& effects) {
  const RoundPlan plan = PlanRound(record_.round.Next(), record_.version, now,
                                   now + plan_.deadline);
  round_ = std::make_unique<Round>(plan);
  record_.round = plan.round;
  checkpoint_slot_ = 0;
  round_bytes_received_ = 0;
  told_failures_ = 0;
  for (const CandidatePool::Candidate& candidate : DrawCohort()) {
    const absl::Status assigned =
        round_->Assign(now, candidate.device, candidate.next_ordinal).status();
    CHECK(assigned.ok()) << assigned;
  }
  // An empty sample has nobody to wait for.
  if (plan.sampled) round_->Tick(now);
  effects.persist.rounds.push_back(round_->record());
  effects.persist.tasks.push_back(record_);
  Store(RoundStartedEvent(MakeEvent(now, plan.round), *round_), effects);
  TakeChanges(round_->TakeChanges(), effects);
}

std::vector<CandidatePool::Candidate> TaskRun::DrawCohort() {
  if (plan_.sampling_probability.has_value()) {
    CHECK(coins_ != nullptr) << "a Poisson sample without coins";
    return candidates_.DrawEach(*plan_.sampling_probability, *coins_);
  }
  const TrainingRandom random({.task_seed = plan_.seed,
                               .ordinal = record_.round.value(),
                               .purpose = "cohort"});
  return candidates_.Draw(plan_.assigned, random, avoid_);
}

void TaskRun::FillRound(absl::Time now, Effects& effects) {
  if (round_ == nullptr || now >= round_->plan().deadline ||
      awaited_entry_.has_value()) {
    return;
  }
  const int64_t wanted = round_->wanted();
  if (wanted == 0 || candidates_.size() == 0) return;
  // Each filling has a stream of its own.
  const TrainingRandom random({.task_seed = plan_.seed,
                               .device = std::to_string(round_->handed_out()),
                               .ordinal = round_->plan().round.value(),
                               .purpose = "cohort-replacement"});
  for (const CandidatePool::Candidate& candidate :
       candidates_.Draw(wanted, random, avoid_)) {
    const absl::Status assigned =
        round_->Assign(now, candidate.device, candidate.next_ordinal).status();
    CHECK(assigned.ok()) << assigned;
  }
  TakeChanges(round_->TakeChanges(), effects);
  ShowProgress(now, effects);
}

// Updates.

const AssignmentRecord* TaskRun::FindAssignment(const AssignmentId& id) const {
  if (round_ != nullptr) {
    if (const TrainingAssignment* found = round_->Find(id)) {
      return &found->record();
    }
  }
  for (const auto& evaluation : evaluations_) {
    if (const TrainingAssignment* found = evaluation->Find(id)) {
      return &found->record();
    }
  }
  const auto finished = finished_.find(id);
  return finished == finished_.end() ? nullptr : &finished->second.record();
}

std::string TaskRun::FailureOf(const AssignmentId& id) const {
  if (round_ != nullptr) {
    if (const TrainingAssignment* found = round_->Find(id)) {
      return found->reason();
    }
  }
  const auto finished = finished_.find(id);
  return finished == finished_.end() ? "" : finished->second.reason();
}

std::optional<UpdateOutcome> TaskRun::Judge(absl::Time now,
                                            const AssignmentId& id,
                                            const Digest& content) const {
  const AssignmentRecord* const record = FindAssignment(id);
  if (record == nullptr) return UpdateOutcome::kTooLate;
  // With secure aggregation the session says who is too late, also one that
  // began at the deadline.
  const bool in_time = now < record->expires_at || plan_.IsSecure(record->kind);
  if (record->state == AssignmentState::kIssued && in_time) {
    return std::nullopt;
  }
  return JudgeUpdate(*record, content);
}

absl::StatusOr<TaskRun::Arrival> TaskRun::UpdateArrived(
    absl::Time now, const AssignmentId& id, const Digest& content,
    uint64_t size_in_bytes, const UpdateView& update) {
  Arrival arrival;
  Effects& effects = arrival.effects;
  const AssignmentRecord* const record = FindAssignment(id);
  if (record == nullptr) {
    arrival.outcome = UpdateOutcome::kTooLate;
    return arrival;
  }
  if (plan_.IsSecure(record->kind)) {
    return absl::InvalidArgumentError(
        StrCat("assignment ", id.value(),
               " is part of secure aggregation: "
               "its update is not taken in the clear"));
  }
  if (round_ != nullptr && round_->Find(id) != nullptr) {
    const bool first_of_round = round_->acknowledged() == 0;
    MLEDGE_ASSIGN_OR_RETURN(arrival.outcome,
                            round_->Acknowledge(now, id, content));
    if (arrival.outcome == UpdateOutcome::kAcknowledged) {
      CountParticipation(now, id, first_of_round, effects);
      round_bytes_received_ += size_in_bytes;
      record_.bytes_received += size_in_bytes;
      ShowProgress(now, effects);
    }
  } else if (EvaluationSession* evaluation = FindEvaluation(id)) {
    MLEDGE_ASSIGN_OR_RETURN(arrival.outcome,
                            evaluation->Acknowledge(now, id, content, update));
    if (arrival.outcome == UpdateOutcome::kAcknowledged) {
      record_.bytes_received += size_in_bytes;
    }
  } else {
    arrival.outcome = JudgeUpdate(*record, content);
    return arrival;
  }
  Advance(now, effects);
  return arrival;
}

// Jobs.

Effects TaskRun::FoldDone(absl::Time now) {
  Effects effects;
  const std::optional<Job> done = std::exchange(job_, std::nullopt);
  CHECK(done.has_value() && std::holds_alternative<FoldJob>(*done));
  if (round_ != nullptr &&
      round_->plan().round == std::get<FoldJob>(*done).round) {
    const absl::Status status = round_->session().FinishFold();
    CHECK(status.ok()) << status;
  }
  Advance(now, effects);
  return effects;
}

Effects TaskRun::CheckpointDone(absl::Time now, const Digest& sum) {
  Effects effects;
  std::optional<Job> done = std::exchange(job_, std::nullopt);
  CHECK(done.has_value() && std::holds_alternative<CheckpointJob>(*done));
  CheckpointJob& job = std::get<CheckpointJob>(*done);
  if (round_ != nullptr && round_->plan().round == job.round) {
    absl::StatusOr<std::vector<AssignmentId>> saved =
        round_->session().FinishCheckpoint();
    CHECK(saved.ok()) << saved.status();
    effects.persist.checkpoints.push_back({.task = plan_.task,
                                           .round = job.round,
                                           .slot = job.slot,
                                           .sum = sum,
                                           .folded = std::move(job.folded)});
    effects.discard = *std::move(saved);
    checkpoint_slot_ = 1 - job.slot;
  }
  Advance(now, effects);
  return effects;
}

Effects TaskRun::PublishDone(absl::Time now, Publication publication) {
  Effects effects;
  const std::optional<Job> done = std::exchange(job_, std::nullopt);
  CHECK(done.has_value() && std::holds_alternative<PublishJob>(*done));
  if (round_ == nullptr ||
      round_->plan().round != std::get<PublishJob>(*done).round) {
    return effects;  // the task ended meanwhile
  }
  const absl::Status published = round_->Published();
  CHECK(published.ok()) << published;
  if (privacy_.has_value() && privacy_->plan().charged_with_version) {
    // How many were in a Poisson sample nobody may learn, and devices are shown
    // this entry's hash.
    Charge(now,
           {.devices = round_->plan().sampled ? round_->plan().target
                                              : round_->acknowledged()},
           effects);
  }
  record_.version = publication.version.version;
  record_.bytes_sent = publication.bytes_sent;
  // One transaction: version, end of the round, what people are told of it.
  v1::TaskEvent event = MakeEvent(now, round_->plan().round);
  v1::RoundCompleted& completed = *event.mutable_round_completed();
  completed.set_version(record_.version.value());
  completed.set_updates(round_->acknowledged());
  completed.set_failed_devices(round_->failed_devices());
  completed.set_training_loss(publication.training_loss);
  completed.set_training_metric(publication.training_metric);
  completed.set_examples(publication.examples);
  completed.set_bytes_received(round_bytes_received_);
  completed.set_bytes_sent(publication.bytes_sent - bytes_sent_before_round_);
  completed.set_duration_milliseconds(
      absl::ToInt64Milliseconds(now - round_->plan().started_at));
  bytes_sent_before_round_ = publication.bytes_sent;
  if (publication.epsilon_spent.has_value()) {
    completed.set_epsilon_spent(*publication.epsilon_spent);
  }
  if (plan_.evaluate_every <= 0 && !privacy_.has_value()) {
    loss_ = publication.training_loss;
    metric_ = publication.training_metric;
  }
  effects.persist.rounds.push_back(round_->record());
  effects.persist.tasks.push_back(record_);
  Store(std::move(event), effects);
  SetStep(now);
  if (EvaluationIsDue(record_.version)) {
    AddEvaluation(record_.version, round_->plan().round,
                  now + plan_.evaluation_deadline);
  }
  effects.persist.versions.push_back(std::move(publication.version));
  avoid_.clear();
  EndRound(now, effects);
  Advance(now, effects);
  return effects;
}

// Time.

Effects TaskRun::Tick(absl::Time now) {
  Effects effects;
  candidates_.Tick(now);
  retry_at_ = std::min(retry_at_, now + kSessionPause);
  if (round_ != nullptr) {
    round_->EndBy(now + plan_.deadline);
    round_->Tick(now);
  }
  for (const auto& evaluation : evaluations_) {
    evaluation->EndBy(now + plan_.evaluation_deadline);
    evaluation->Tick(now);
  }
  Advance(now, effects);
  return effects;
}

absl::Time TaskRun::NextTime() const {
  if (ended()) return absl::InfiniteFuture();
  absl::Time next = candidates_.NextTime();
  if (round_ != nullptr) {
    if (round_->state() == Round::State::kCollecting) {
      next = std::min(next, round_->plan().deadline);
    }
  }
  // A job that rests; one under way reports by itself.
  if (!job_.has_value() && retry_at_ != absl::InfinitePast()) {
    next = std::min(next, retry_at_);
  }
  for (const auto& evaluation : evaluations_) {
    next = std::min(next, evaluation->NextTime());
  }
  return next;
}

Effects TaskRun::Cancel(absl::Time now) {
  Effects effects;
  EndTask(now, TaskState::kCancelled, "cancelled by an operator", effects);
  return effects;
}

}  // namespace mledge
