#ifndef MLEDGE_COORDINATOR_TASK_RUN_H_
#define MLEDGE_COORDINATOR_TASK_RUN_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/coordinator/cohort_selection.h"
#include "mledge/coordinator/effects.h"
#include "mledge/coordinator/evaluation_session.h"
#include "mledge/coordinator/round.h"
#include "mledge/coordinator/storage.h"
#include "mledge/coordinator/task_plan.h"
#include "mledge/coordinator/task_privacy.h"

// One task from its first round to its end: rounds in sequence, failed ones
// tried again with other devices under the next number, an evaluation after
// published versions beside the rounds that follow, the stop rule. Sans-I/O:
// every event comes with the time, every wish leaves as Effects (effects.h),
// nothing here blocks or reads a clock. Not thread-safe.
//
// What drives it: coordinator.h. What it is made of: round.h,
// evaluation_session.h, cohort_selection.h.

namespace mledge {

class TaskRun {
 public:
  // How long a job that failed for want of room or the like rests.
  static constexpr absl::Duration kRetryPause = absl::Seconds(1);
  // After a session of secure aggregation that came to nothing.
  static constexpr absl::Duration kSessionPause = absl::Seconds(5);
  // So many devices of a round that fail are told one by one.
  static constexpr size_t kToldFailures = 10;

  // A new task, or one whose records Restore will be given. `privacy`: of a
  // private task. `coins`: for Poisson samples, which need it; must outlive
  // this.
  TaskRun(TaskPlan plan, TaskRecord record,
          std::optional<TaskPrivacy> privacy = std::nullopt,
          SecretRandom* coins = nullptr);

  struct Restored {
    std::vector<VersionRecord> versions;
    std::vector<RoundRecord> rounds;
    std::vector<AssignmentRecord> assignments;
    // What the restored checkpoint of the running round holds.
    std::vector<AssignmentId> saved;
    int saved_slot = 1;
    // All stored ones of the task.
    std::vector<v1::TaskEvent> events;
    // The spooled update of an acknowledged evaluation, or null.
    std::function<const UpdateView*(const AssignmentId&)> evaluation_update;
  };
  // Once, before any event.
  Effects Restore(absl::Time now, Restored restored);

  const TaskPlan& plan() const { return plan_; }
  const TaskRecord& record() const { return record_; }
  bool ended() const { return record_.state != TaskState::kRunning; }
  // It rests until an operator adopts what its ledger lacks (LedgerIsBehind).
  bool paused() const { return record_.lost_head.sequence > 0; }
  // Null: not a private task.
  const TaskPrivacy* privacy() const {
    return privacy_.has_value() ? &*privacy_ : nullptr;
  }
  // Whether the device could be drawn for training, now or ever.
  bool MayEverTrain(const DeviceId& device) const;
  // What keeps a running task without a round from beginning one, in words for
  // the operator; empty where nothing but time or devices is missing.
  std::string Hindrance() const;
  // Open assignments, by which a device that comes back is recognized.
  std::vector<AssignmentRecord> OpenAssignments() const;

  // Acknowledged updates whose spool files are still needed.
  std::vector<AssignmentId> SpooledUpdates() const;

  // Devices that wait. Neither starts anything: that is TakeDevices.
  void DeviceWaits(absl::Time now, CandidatePool::Candidate device,
                   absl::Time last_assigned);
  void EvaluatorWaits(const DeviceId& evaluator);
  void DeviceLeaves(const DeviceId& device);
  // Whether TakeDevices would hand out something.
  bool Hungry(absl::Time now) const;
  // Hands out what there is to do to those who wait: the round under way is
  // filled up, the next one started, then versions evaluated.
  Effects TakeDevices(absl::Time now);

  // What an upload would come to, before its bytes are here: nothing means that
  // they are wanted. Here and below, an assignment of the task that is not
  // remembered any more is too late: its round and the next one have ended.
  std::optional<UpdateOutcome> Judge(absl::Time now, const AssignmentId& id,
                                     const Digest& content) const;
  const AssignmentRecord* FindAssignment(const AssignmentId& id) const;
  // Why it failed; empty if it did not or that is forgotten.
  std::string FailureOf(const AssignmentId& id) const;

  struct Arrival {
    UpdateOutcome outcome;
    Effects effects;
  };
  // A complete, synced and valid update. INVALID_ARGUMENT: of an assignment
  // whose update is taken inside a sum only.
  absl::StatusOr<Arrival> UpdateArrived(absl::Time now, const AssignmentId& id,
                                        const Digest& content,
                                        uint64_t size_in_bytes,
                                        const UpdateView& update);
  // Secure assignments: the device is connected with what it has to send.
  // `waits`: it has to wait for a session; else the assignment has ended.
  struct Readiness {
    bool waits = false;
    Effects effects;
  };
  Readiness DeviceReady(absl::Time now, const AssignmentId& id);
  Effects DeviceNotReady(absl::Time now, const AssignmentId& id);
  void MaskedInputArrived(const AssignmentId& id, uint64_t size_in_bytes);
  // Before the first unmasking of a group's sum, which may not begin before
  // `persist` is durable: that these updates were in a sum is counted, and
  // noise that is in the sum is charged; neither is taken back if the session
  // fails. FAILED_PRECONDITION: the sum may not be unmasked.
  absl::StatusOr<Effects> UnmaskingIsDue(absl::Time now,
                                         const SecureSessionJob& job,
                                         uint32_t group,
                                         std::span<const AssignmentId> members);

  // The device gave up, or its update was refused.
  Effects DeviceFails(absl::Time now, const AssignmentId& id,
                      const std::string& reason);

  // Ends of the job under way.
  Effects FoldDone(absl::Time now);
  Effects CheckpointDone(absl::Time now, const Digest& sum);
  // A session that came to a sum: of a round, saved as `sum`; of an evaluation;
  // and one that did not.
  Effects SecureSessionDone(absl::Time now, const SecureSessionEnd& end,
                            const Digest& sum);
  Effects SecureEvaluationDone(absl::Time now, const SecureSessionEnd& end,
                               const AggregationSum& sum);
  Effects SecureSessionAborted(absl::Time now, const SecureSessionEnd& end,
                               const std::string& reason);
  struct Publication {
    VersionRecord version;
    // Means over the round's examples, while training.
    double training_loss = 0;
    double training_metric = 0;
    int64_t examples = 0;
    uint64_t bytes_sent = 0;  // by the task so far
    // Private tasks: with this round, against model recipients.
    std::optional<double> epsilon_spent;
  };
  Effects PublishDone(absl::Time now, Publication publication);
  // `retry`: for want of room or the like, so that it may work later.
  // Otherwise the round fails, and with `fatal` the task.
  enum class JobFailure { kRetry, kRoundFails, kTaskFails };
  Effects JobFailed(absl::Time now, const absl::Status& status,
                    JobFailure failure);
  bool job_under_way() const { return job_.has_value(); }

  Effects Tick(absl::Time now);
  // When Tick has something to do; InfiniteFuture: never.
  absl::Time NextTime() const;
  Effects Cancel(absl::Time now);

  // Whether an open assignment is not shown again for now: a device would learn
  // from it the very head that the round waits for, and prove nothing by it.
  bool Withholds(const AssignmentId& id) const;
  // A device shows that the newest head it knows is one of this ledger's: a
  // round that was taken up with updates goes on, if the head is new enough.
  Effects LedgerIsKnown(absl::Time now, const LedgerHead& known);
  // Devices know a head that the ledger of this private task lacks: it was
  // restored from a copy. Nothing goes on until an operator adopts that head.
  Effects LedgerIsBehind(absl::Time now, const LedgerHead& lost);
  // FAILED_PRECONDITION: the task has ended, does not wait for that, or waits
  // for another head; or its noise cannot go on.
  absl::StatusOr<Effects> AdoptLedger(absl::Time now,
                                      v1::LedgerAdoption adoption);

  // For summaries: of the newest evaluation, else of the last round's training.
  std::optional<double> loss() const { return loss_; }
  std::optional<double> metric() const { return metric_; }
  // The newest events of devices that failed, oldest first.
  const std::deque<v1::TaskEvent>& device_failures() const {
    return device_failures_;
  }
  // Versions that were to be evaluated and were not.
  int64_t skipped_evaluations() const { return skipped_evaluations_; }

 private:
  struct Benched {
    CandidatePool::Candidate candidate;
    absl::Time last_assigned;
  };

  // Adds the device to those that may be drawn, if it may.
  void AddCandidate(absl::Time now, CandidatePool::Candidate device,
                    absl::Time last_assigned);
  bool MayStartRound() const;
  // Of an update that was acknowledged: counts it, and pays for the round's
  // noise where that is in the update.
  void CountParticipation(absl::Time now, const AssignmentId& id,
                          bool first_of_round, Effects& effects);
  // Of a round that was taken up with updates: its sum may have been noised
  // after this state was copied, by whoever went on from there.
  void AwaitLedgerHead();
  // Round and step are those of the round under way.
  void Charge(absl::Time now, TaskPrivacy::Sum sum, Effects& effects);
  // Of a round that starts, or goes on after a restart.
  RoundPlan PlanRound(RoundNumber round, VersionNumber base_version,
                      absl::Time started_at, absl::Time deadline) const;
  void StartRound(absl::Time now, Effects& effects);
  // Of the round under way, and nobody else's any more.
  std::vector<CandidatePool::Candidate> DrawCohort();
  void FillRound(absl::Time now, Effects& effects);
  void HandOutEvaluations(absl::Time now, Effects& effects);
  // After every event: takes up what changed and begins what is due.
  void Advance(absl::Time now, Effects& effects);
  void BeginJob(absl::Time now, Effects& effects);
  std::optional<Job> JobOfRound(Effects& effects);
  // Of versions below `before`.
  std::optional<Job> JobOfEvaluations(std::optional<VersionNumber> before,
                                      Effects& effects);
  SecureSessionJob MakeSecureSession(SecureSessionJob job,
                                     const std::vector<AssignmentId>& members,
                                     Effects& effects);
  // The job under way, which ends with this. Precondition: it is a session.
  SecureSessionJob TakeSecureSession();
  void TakeChanges(AssignmentChanges changes, Effects& effects);
  void RoundFailed(absl::Time now, Effects& effects);
  void EndRound(absl::Time now, Effects& effects);
  void FinishEvaluations(absl::Time now, Effects& effects);
  void EndTask(absl::Time now, TaskState state, std::string reason,
               Effects& effects);
  void AddEvaluation(VersionNumber version, RoundNumber round,
                     absl::Time deadline);
  EvaluationSession* FindEvaluation(const AssignmentId& id);
  EvaluationSession* FindEvaluation(VersionNumber version);
  v1::TaskEvent MakeEvent(absl::Time now, RoundNumber round) const;
  void Store(v1::TaskEvent event, Effects& effects);
  void TellFailure(absl::Time now, const AssignmentRecord& failed,
                   const std::string& reason, Effects& effects);
  // Keeps an event for device_failures.
  void Remember(const v1::TaskEvent& event);
  void ShowProgress(absl::Time now, Effects& effects) const;
  // By the stop rule, or because one more would overspend.
  bool RoundsAreDone() const;
  bool EvaluationIsDue(VersionNumber version) const;
  // Tells those who count in steps how many rounds are completed.
  void SetStep(absl::Time now);

  const TaskPlan plan_;
  TaskRecord record_;
  std::optional<TaskPrivacy> privacy_;
  SecretRandom* const coins_;
  int64_t last_sequence_ = 0;
  // Until a device shows this entry's head or a later one of the ledger, the
  // sum of the round under way is not noised, and nobody is told that head
  // (AwaitLedgerHead).
  std::optional<int64_t> awaited_entry_;

  std::unique_ptr<Round> round_;  // null between rounds
  std::vector<std::unique_ptr<EvaluationSession>> evaluations_;
  // Of the last round and of evaluations that ended since, so that a repeated
  // upload is recognized.
  std::map<AssignmentId, TrainingAssignment> finished_;
  // Devices that let the last round down: others come first.
  std::set<DeviceId> avoid_;

  CandidatePool candidates_;
  // Wait too, but have had their part in the round under way.
  std::map<DeviceId, Benched> benched_;
  std::set<DeviceId> evaluators_;

  std::optional<Job> job_;
  absl::Time retry_at_ = absl::InfinitePast();
  int checkpoint_slot_ = 0;
  uint64_t round_bytes_received_ = 0;
  uint64_t bytes_sent_before_round_ = 0;
  std::optional<double> loss_;
  std::optional<double> metric_;
  int64_t skipped_evaluations_ = 0;
  // Of the round under way and what is evaluated beside it, told one by one.
  int64_t told_failures_ = 0;
  std::deque<v1::TaskEvent> device_failures_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_TASK_RUN_H_
