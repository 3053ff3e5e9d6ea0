// The other half of TaskRun: what follows from an event by itself, and taking
// up a task after a restart.
#include <algorithm>
#include <utility>

#include "mledge/coordinator/internal/task_events.h"
#include "mledge/coordinator/task_run.h"
#include "mledge/core/logging.h"
#include "mledge/core/strings.h"

namespace mledge {

void TaskRun::Advance(absl::Time now, Effects& effects) {
  if (ended()) return;
  if (round_ != nullptr) {
    TakeChanges(round_->TakeChanges(), effects);
    if (round_->state() == Round::State::kFailed) RoundFailed(now, effects);
  }
  FinishEvaluations(now, effects);
  if (ended()) return;
  if (round_ == nullptr && RoundsAreDone() && evaluations_.empty()) {
    const bool overspent =
        privacy_.has_value() && privacy_->overspent().has_value();
    EndTask(now, TaskState::kCompleted,
            overspent ? *privacy_->overspent()
                      : StrCat(plan_.rounds, " rounds are done"),
            effects);
    return;
  }
  BeginJob(now, effects);
}

void TaskRun::BeginJob(absl::Time now, Effects& effects) {
  if (job_.has_value() || now < retry_at_ || paused()) return;
  retry_at_ = absl::InfinitePast();
  // The round goes first: devices wait for the version that it makes. Only what
  // evaluates an older version than its base must not wait, because the
  // registrar's log of versions does not go back.
  if (round_ != nullptr) {
    job_ = JobOfEvaluations(round_->plan().base_version, effects);
    if (!job_.has_value()) job_ = JobOfRound(effects);
  }
  if (!job_.has_value()) job_ = JobOfEvaluations(std::nullopt, effects);
  effects.job = job_;
}

std::optional<Job> TaskRun::JobOfRound(Effects& effects) {
  AggregationSession& session = round_->session();
  const RoundNumber number = round_->plan().round;
  const VersionNumber base_version = round_->plan().base_version;
  if (round_->state() == Round::State::kClosing && round_->sum_is_complete() &&
      !awaited_entry_.has_value()) {
    const absl::Status legal = round_->BeginPublishing();
    CHECK(legal.ok()) << legal;
  }
  if (round_->state() == Round::State::kPublishing) {
    return PublishJob{.round = number, .base_version = base_version};
  }
  if (plan_.secure) {
    if (!round_->session_is_due()) return std::nullopt;
    return MakeSecureSession({.kind = AssignmentKind::kTrain,
                              .round = number,
                              .base_version = base_version},
                             round_->BeginSession(), effects);
  }
  // The end is near once it is closed: no checkpoint then.
  if (round_->state() == Round::State::kCollecting) {
    if (std::vector<AssignmentId> folded = session.BeginCheckpoint();
        !folded.empty()) {
      return CheckpointJob{.round = number,
                           .slot = checkpoint_slot_,
                           .folded = std::move(folded)};
    }
  }
  if (std::vector<AssignmentId> batch = session.BeginFold(); !batch.empty()) {
    return FoldJob{.round = number, .updates = std::move(batch)};
  }
  return std::nullopt;
}

void TaskRun::TakeChanges(AssignmentChanges changes, Effects& effects) {
  for (AssignmentRecord& record : changes.issued) {
    effects.persist.assignments.push_back(record);
    effects.issued.push_back(std::move(record));
  }
  for (AssignmentRecord& record : changes.ended) {
    effects.persist.assignments.push_back(record);
    effects.ended.push_back(std::move(record));
  }
}

void TaskRun::RoundFailed(absl::Time now, Effects& effects) {
  for (const auto& [id, assignment] : round_->assignments()) {
    if (assignment.record().state != AssignmentState::kAcknowledged) {
      avoid_.insert(assignment.record().device);
    }
  }
  effects.persist.rounds.push_back(round_->record());
  Store(RoundFailedEvent(MakeEvent(now, round_->plan().round), *round_),
        effects);
  EndRound(now, effects);
}

void TaskRun::EndRound(absl::Time now, Effects& effects) {
  TakeChanges(round_->TakeChanges(), effects);
  for (AssignmentId& id : round_->session().Spooled()) {
    effects.discard.push_back(std::move(id));
  }
  finished_ = round_->assignments();
  round_.reset();
  awaited_entry_.reset();
  retry_at_ = absl::InfinitePast();
  // They had their part in the round that is over, and may be in the next.
  for (auto& [device, benched] : std::exchange(benched_, {})) {
    AddCandidate(now, std::move(benched.candidate), benched.last_assigned);
  }
}

void TaskRun::AddEvaluation(VersionNumber version, RoundNumber round,
                            absl::Time deadline) {
  evaluations_.push_back(
      std::make_unique<EvaluationSession>(EvaluationSession::Plan{
          .task = plan_.task,
          .version = version,
          .round = round,
          .devices = plan_.evaluation_devices,
          .secure = plan_.IsSecure(AssignmentKind::kEvaluate),
          .minimum = plan_.evaluation_minimum,
          .deadline = deadline}));
}

void TaskRun::FinishEvaluations(absl::Time now, Effects& effects) {
  std::optional<double> reached;
  VersionNumber reached_by;
  for (auto it = evaluations_.begin(); it != evaluations_.end();) {
    EvaluationSession& evaluation = **it;
    TakeChanges(evaluation.TakeChanges(), effects);
    if (!evaluation.done()) {
      ++it;
      continue;
    }
    const VersionNumber version = evaluation.plan().version;
    if (const auto result = evaluation.result(); result.has_value()) {
      loss_ = result->loss;
      metric_ = result->metric;
      Store(EvaluatedEvent(MakeEvent(now, evaluation.plan().round), plan_,
                           version, *result),
            effects);
      if (plan_.target_metric.has_value() && !reached.has_value() &&
          (plan_.higher_metric_is_better
               ? result->metric >= *plan_.target_metric
               : result->metric <= *plan_.target_metric)) {
        reached = result->metric;
        reached_by = version;
      }
    } else {
      ++skipped_evaluations_;
      Store(EvaluationSkippedEvent(MakeEvent(now, evaluation.plan().round),
                                   version, evaluation.failure()),
            effects);
    }
    for (const auto& [id, assignment] : evaluation.assignments()) {
      if (assignment.record().state == AssignmentState::kAcknowledged) {
        effects.discard.push_back(id);
      }
      finished_.insert_or_assign(id, assignment);
    }
    it = evaluations_.erase(it);
  }
  if (reached.has_value()) {
    EndTask(now, TaskState::kCompleted,
            StrCat("version ", reached_by.value(),
                   " reached the target: ", plan_.metric_name, " ", *reached),
            effects);
  }
}

void TaskRun::EndTask(absl::Time now, TaskState state, std::string reason,
                      Effects& effects) {
  if (ended()) return;
  if (round_ != nullptr) {
    if (!round_->ended()) {
      round_->Fail(StrCat("the task has ended: ", reason)).IgnoreError();
    }
    RoundFailed(now, effects);
  }
  for (const auto& evaluation : evaluations_) {
    evaluation->Cancel();
    TakeChanges(evaluation->TakeChanges(), effects);
    for (const auto& [id, assignment] : evaluation->assignments()) {
      effects.discard.push_back(id);
      finished_.insert_or_assign(id, assignment);
    }
  }
  evaluations_.clear();
  record_.state = state;
  record_.reason = std::move(reason);
  effects.persist.tasks.push_back(record_);
  Store(TaskEndedEvent(MakeEvent(now, record_.round), record_), effects);
  effects.task_ended = true;
  candidates_ = CandidatePool(plan_.minimum_interval);
  benched_.clear();
  evaluators_.clear();
}

v1::TaskEvent TaskRun::MakeEvent(absl::Time now, RoundNumber round) const {
  v1::TaskEvent event;
  event.set_task_id(plan_.task.value());
  event.set_round(round.value());
  *event.mutable_time() = ToTimestamp(now);
  return event;
}

void TaskRun::Store(v1::TaskEvent event, Effects& effects) {
  event.set_sequence(++last_sequence_);
  effects.persist.events.push_back({.task = plan_.task,
                                    .sequence = last_sequence_,
                                    .event = event.SerializeAsString()});
  effects.events.push_back(std::move(event));
}

void TaskRun::ShowProgress(absl::Time now, Effects& effects) const {
  effects.events.push_back(
      RoundProgressEvent(MakeEvent(now, round_->plan().round), *round_));
}

std::vector<AssignmentRecord> TaskRun::OpenAssignments() const {
  std::vector<AssignmentRecord> open;
  const auto collect = [&open](const auto& assignments) {
    for (const auto& [id, assignment] : assignments) {
      if (assignment.open()) open.push_back(assignment.record());
    }
  };
  if (round_ != nullptr) collect(round_->assignments());
  for (const auto& evaluation : evaluations_) {
    collect(evaluation->assignments());
  }
  return open;
}

std::vector<AssignmentId> TaskRun::SpooledUpdates() const {
  std::vector<AssignmentId> spooled;
  if (round_ != nullptr) spooled = round_->session().Spooled();
  for (const auto& evaluation : evaluations_) {
    for (const auto& [id, assignment] : evaluation->assignments()) {
      if (assignment.record().state == AssignmentState::kAcknowledged) {
        spooled.push_back(id);
      }
    }
  }
  return spooled;
}

Effects TaskRun::Restore(absl::Time now, Restored restored) {
  Effects effects;
  std::set<VersionNumber> evaluated;
  for (const v1::TaskEvent& event : restored.events) {
    last_sequence_ = std::max(last_sequence_, event.sequence());
    if (event.has_device_failed()) Remember(event);
    if (event.has_evaluation_skipped()) {
      ++skipped_evaluations_;
      evaluated.insert(VersionNumber(event.evaluation_skipped().version()));
    } else if (event.has_evaluated()) {
      evaluated.insert(VersionNumber(event.evaluated().version()));
      loss_ = event.evaluated().loss();
      metric_ = event.evaluated().metric();
    } else if (event.has_round_completed() && plan_.evaluate_every <= 0 &&
               !privacy_.has_value()) {
      loss_ = event.round_completed().training_loss();
      metric_ = event.round_completed().training_metric();
    }
  }
  bytes_sent_before_round_ = record_.bytes_sent;
  if (ended()) return effects;

  std::vector<AssignmentRecord> of_round;
  std::vector<AssignmentRecord> evaluations;
  for (AssignmentRecord& record : restored.assignments) {
    const bool running = !restored.rounds.empty() &&
                         restored.rounds.back().state == RoundState::kRunning &&
                         record.round == restored.rounds.back().round;
    if (record.kind == AssignmentKind::kEvaluate) {
      evaluations.push_back(std::move(record));
    } else if (running) {
      of_round.push_back(std::move(record));
    } else {
      const AssignmentId id = record.id;
      finished_.emplace(id, TrainingAssignment(std::move(record)));
    }
  }
  if (!restored.rounds.empty() &&
      restored.rounds.back().state == RoundState::kRunning) {
    const RoundRecord& record = restored.rounds.back();
    round_ =
        std::make_unique<Round>(PlanRound(record.round, record.base_version,
                                          record.started_at, record.deadline),
                                std::move(of_round), restored.saved);
    checkpoint_slot_ = 1 - restored.saved_slot;
    AwaitLedgerHead();
  }
  for (const VersionRecord& version : restored.versions) {
    const absl::Time deadline =
        version.published_at + plan_.evaluation_deadline;
    const bool asked =
        std::any_of(evaluations.begin(), evaluations.end(),
                    [&](const AssignmentRecord& record) {
                      return record.base_version == version.version;
                    });
    // Older versions that nobody was asked about are done without.
    if (evaluated.contains(version.version) ||
        !EvaluationIsDue(version.version) ||
        (!asked && version.version != record_.version)) {
      continue;
    }
    AddEvaluation(version.version, version.round, deadline);
    for (AssignmentRecord& record : evaluations) {
      if (record.base_version != version.version) continue;
      const UpdateView* const update =
          record.state == AssignmentState::kAcknowledged
              ? restored.evaluation_update(record.id)
              : nullptr;
      const AssignmentId id = record.id;
      if (const absl::Status status =
              evaluations_.back()->Restore(std::move(record), update);
          !status.ok()) {
        LOG(WARNING) << "task " << plan_.task << ", evaluation of version "
                     << version.version << ": assignment " << id
                     << " is done without: " << status;
      }
    }
  }
  // Deadlines that passed meanwhile are seen at once.
  effects = Tick(now);
  return effects;
}

}  // namespace mledge
