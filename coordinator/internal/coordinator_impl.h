#ifndef MLEDGE_COORDINATOR_INTERNAL_COORDINATOR_IMPL_H_
#define MLEDGE_COORDINATOR_INTERNAL_COORDINATOR_IMPL_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/coordinator/event_feed.h"
#include "mledge/coordinator/internal/device_registry.h"
#include "mledge/coordinator/internal/task_context.h"
#include "mledge/coordinator/internal/turn_executor.h"
#include "mledge/core/mutex.h"

// The driver. Under one lock an event goes into the sans-I/O objects and its
// effects into the next commit; everything slow (storage, sums, callbacks) runs
// outside the lock, on the pool or in turn on the calling thread.
//
// What is in memory runs ahead of what is durable, in one order: transactions
// are committed one after the other, those that gather during a commit together
// in the next, and what an effect shows to the outside waits for its own. When
// a commit fails, callers are told, and the transaction stays first in line;
// nothing is rolled back, because nobody outside has seen it.

namespace mledge {

class CoordinatorImpl final : public Coordinator {
 public:
  CoordinatorImpl(Options options, Dependencies dependencies);
  ~CoordinatorImpl() override;
  absl::Status Recover(absl::Time now);

  void CheckIn(absl::Time now, const Peer& peer,
               const v1::CheckInRequest& request, absl::Time wait_until,
               Done<v1::CheckInResponse> done) override;
  absl::StatusOr<UploadStart> BeginUpload(
      absl::Time now, const Peer& peer,
      const v1::UploadHeader& header) override;
  void FinishUpload(absl::Time now, const Peer& peer,
                    const v1::UploadHeader& header,
                    std::unique_ptr<SpoolWriter> writer,
                    Done<v1::UploadResult> done) override;
  absl::StatusOr<std::unique_ptr<SecureStream>> JoinSecureAggregation(
      absl::Time now, const Peer& peer,
      const v1::SecureAggregationJoin& request, SecureSink sink) override;
  void Report(absl::Time now, const Peer& peer,
              const v1::ReportRequest& request,
              Done<v1::ReportResponse> done) override;
  absl::StatusOr<std::shared_ptr<const BlobReader>> OpenBlob(
      const Peer& peer, const Digest& name) override;

  void SubmitTask(absl::Time now, Submission submission,
                  Done<TaskId> done) override;
  void CancelTask(absl::Time now, const TaskId& task,
                  Done<v1::CancelTaskResponse> done) override;
  absl::StatusOr<v1::GetPrivacyLedgerResponse> GetPrivacyLedger(
      const TaskId& task) override;
  void AdoptPrivacyLedger(absl::Time now, Adoption adoption,
                          Done<v1::AdoptPrivacyLedgerResponse> done) override;
  std::vector<v1::TaskSummary> ListTasks() override;
  absl::StatusOr<v1::GetTaskResponse> GetTask(const TaskId& task) override;
  std::vector<v1::DeviceSummary> ListDevices() override;
  absl::StatusOr<std::unique_ptr<Subscription>> Watch(
      const TaskId& task,
      std::function<void(const v1::TaskEvent&)> sink) override;
  absl::StatusOr<ModelBlobs> OpenModel(
      const TaskId& task, std::optional<VersionNumber> version) override;

  void Tick(absl::Time now) override;
  void Shutdown(absl::Time now) override;

 private:
  // Called with the outcome of the commit that they wait for.
  using Answer = std::function<void(const absl::Status&)>;

  // What gathers for the next commit.
  struct Batch {
    Transaction transaction;
    std::vector<Answer> answers;
    // Only once durable, and kept until then.
    std::vector<v1::TaskEvent> events;
    std::vector<AssignmentId> discard;
    // Served from then on, before any answer names them.
    std::vector<std::pair<TaskContext*, VersionRecord>> published;
    std::vector<std::function<void()>> then;

    bool empty() const;
    void Append(Batch later);
  };

  struct UploadInHand {
    AssignmentRecord assignment;
    v1::UploadHeader header;
    Digest content;
    TaskContext* context = nullptr;
    std::unique_ptr<SpoolWriter> writer;
    Done<v1::UploadResult> done;
  };

  // A task that could not be taken up at the start, because something that is
  // stored of it is damaged. Its records stay as they are: it goes on once that
  // is restored and the coordinator started again.
  struct TaskSetAside {
    TaskRecord record;
    std::string why;  // and what to do
  };

  // Refuses new work once shut down or fenced, with a status at which a device
  // keeps its update.
  absl::Status Available() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Time Advance(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Effects and commits (coordinator_effects.cc).
  void Apply(TaskContext& context, Effects effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Issue(TaskContext& context, const AssignmentRecord& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Gives waiting devices to hungry tasks, sets the timer, begins the commit.
  // Call it last; then Run what has gathered, without the lock.
  void Settle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Has Tick called at that time, unless it will be called sooner.
  void WakeAt(absl::Time time) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Later(std::function<void()> work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Says `value` once the batch under way is durable, else why it is not.
  template <typename T>
  void AnswerWhenDurable(Done<T> done, T value)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    batch_.answers.push_back([done = std::move(done), value = std::move(value)](
                                 const absl::Status& durable) {
      if (durable.ok()) {
        done(value);
      } else {
        done(durable);
      }
    });
  }
  void RunGathered() ABSL_LOCKS_EXCLUDED(mutex_);
  void CommitGathered() ABSL_LOCKS_EXCLUDED(mutex_);
  void CommitFailed(Batch batch, const absl::Status& status)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Jobs (coordinator_jobs.cc).
  void RunJob(TaskContext* context, const Job& job) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Fold(TaskContext& context, const FoldJob& job);
  void FinishJob(TaskContext& context, const Job& job,
                 const absl::Status& status,
                 const std::function<Effects(absl::Time)>& done);
  void CollectGarbage() ABSL_LOCKS_EXCLUDED(mutex_);

  // Keeps the garbage collector away while a blob is not named by a record.
  void BeginBlobUse() ABSL_LOCKS_EXCLUDED(mutex_);
  void EndBlobUse() ABSL_LOCKS_EXCLUDED(mutex_);

  // Devices (coordinator_devices.cc).
  void Wait(DeviceRegistry::Entry& entry, absl::Time wait_until,
            Done<v1::CheckInResponse> done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddWaiting(TaskContext& context, DeviceRegistry::Entry& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AnswerComeBack(Done<v1::CheckInResponse> done, std::string reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    AnswerComeBack(std::move(done), options_.come_back_after,
                   std::move(reason));
  }
  void AnswerComeBack(Done<v1::CheckInResponse> done, absl::Duration after,
                      std::string reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AnswerAssignment(TaskContext& context, const AssignmentRecord& record,
                        Done<v1::CheckInResponse> done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Uploads (coordinator_uploads.cc).
  // The assignment wherever it is remembered; context null: not in memory.
  struct Located {
    AssignmentRecord record;
    TaskContext* context = nullptr;
  };
  absl::StatusOr<Located> Locate(const AssignmentId& id)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Located> LocateForPeer(const Peer& peer,
                                        const AssignmentId& id)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void ReceiveUpload(UploadInHand upload) ABSL_LOCKS_EXCLUDED(mutex_);
  void CountUpload(UploadInHand upload, const UpdateView& update)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Neither taken nor refused: it may come again, unless it is no longer
  // wanted.
  void FailUpload(UploadInHand upload, const absl::Status& why)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void RefuseUpload(UploadInHand upload, const absl::Status& why)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Secure aggregation (coordinator_secure.cc).
  class Stream;
  LoadOptions LoadOptionsOf() const;
  absl::Status CheckServices(const TaskContext& context) const;
  void WithSessions(TaskContext& context,
                    std::function<void(SecureSessions&)> call)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StartSecureSessions(TaskContext& context)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TickSecureSessions(TaskContext& context, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Why a masked input is not wanted; nothing: it is.
  std::optional<v1::UploadResult> JudgeMaskedInput(
      const TaskContext& context, AssignmentKind kind,
      const v1::UploadHeader& header) const;
  void LeaveStream(TaskContext& context, const AssignmentId& id,
                   uint64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  void PassOnMaskedInput(UploadInHand upload) ABSL_LOCKS_EXCLUDED(mutex_);
  void RunSecureSession(TaskContext& context, const SecureSessionJob& job)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void SecureSessionEnded(TaskContext& context, const SecureSessionJob& job,
                          SecureSessions::Result result)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void SaveSecureSum(TaskContext& context, RoundNumber round,
                     std::shared_ptr<SecureSessions::Result> result)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // That they are in a sum, once the batch under way is durable.
  void TellCounted(TaskContext& context, const SecureSessionEnd& end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellEndOfAssignment(TaskContext& context, const AssignmentRecord& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Private tasks (coordinator_privacy.cc).
  SecretRandom& NoiseRandom();
  // Why no claim can be made of noise that is drawn here; nothing: it can.
  std::optional<std::string> WhyNotPrivate();
  void ApproveUnmasking(TaskContext& context, const SecureSessionJob& job,
                        uint32_t group,
                        const std::vector<AssignmentId>& members,
                        std::function<void(const absl::Status&)> approved)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void NoteLedgerHeads(DeviceRegistry::Entry& entry,
                       const v1::CheckInRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PauseForLedger(TaskContext& context, const LedgerHead& lost)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // UNAVAILABLE: the head cannot be signed now; without, no device takes the
  // assignment.
  absl::Status AddLedger(TaskContext& context, const DeviceId& device,
                         v1::Assignment* assignment)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Why the device will be asked by no running task of its population any more;
  // empty: it may be, or there is none.
  std::string WhyNeverAgain(const DeviceRegistry::Entry& entry) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // With the round that is being published.
  absl::StatusOr<double> EpsilonSpent(TaskContext& context)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Operators (coordinator_operators.cc)
  void StoreSubmission(Submission submission, Done<TaskId> done)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // ALREADY_EXISTS with other content; true: the same is there.
  absl::StatusOr<bool> IsSubmitted(const Submission& submission)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // NOT_FOUND; DATA_LOSS: it was set aside.
  absl::StatusOr<TaskContext*> FindTask(const TaskId& task)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::TaskSummary Summarize(const TaskContext& context) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static v1::TaskSummary SummarizeSetAside(const TaskSetAside& task);
  void CancelSetAside(TaskRecord record, Done<v1::CancelTaskResponse> done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddContext(std::unique_ptr<TaskContext> context)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Recovery (coordinator_recovery.cc)
  struct StoredTask {
    LoadedTask loaded;
    TaskRun::Restored restored;
    std::optional<TaskPrivacy> privacy;
    Transaction privacy_changes;
  };
  // All that a task needs to go on, read and verified.
  absl::StatusOr<StoredTask> ReadStoredTask(absl::Time now,
                                            const TaskRecord& record,
                                            const StoredState& stored);
  void SetAside(const TaskRecord& record, const absl::Status& status)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void TakeUp(absl::Time now, const TaskRecord& record,
              const StoredState& stored, StoredTask task)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void RestoreSum(TaskContext& context, const StoredState& stored,
                  TaskRun::Restored& restored);

  const Options options_;
  const Dependencies dependencies_;
  EventFeed feed_;
  TurnExecutor turns_;
  Executor* const executor_;  // the pool, or turns_

  mutable Mutex mutex_;
  CondVar idle_;
  std::map<TaskId, std::unique_ptr<TaskContext>> tasks_ ABSL_GUARDED_BY(mutex_);
  std::map<TaskId, TaskSetAside> set_aside_ ABSL_GUARDED_BY(mutex_);
  DeviceRegistry devices_ ABSL_GUARDED_BY(mutex_);
  // What devices may fetch, and the task that it counts for.
  absl::flat_hash_map<Digest, TaskContext*> fetchable_ ABSL_GUARDED_BY(mutex_);
  std::set<TaskId> submitting_ ABSL_GUARDED_BY(mutex_);
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  // Since the last Tick.
  bool clock_went_back_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time wake_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  uint64_t serving_turn_ ABSL_GUARDED_BY(mutex_) = 0;

  Batch batch_ ABSL_GUARDED_BY(mutex_);
  bool committing_ ABSL_GUARDED_BY(mutex_) = false;
  // Of the last commit; when to try again by itself.
  absl::Status commit_status_ ABSL_GUARDED_BY(mutex_);
  absl::Time retry_commit_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::vector<std::function<void()>> gathered_ ABSL_GUARDED_BY(mutex_);
  int64_t running_ ABSL_GUARDED_BY(mutex_) = 0;  // pieces of work under way
  uint64_t last_stream_ ABSL_GUARDED_BY(mutex_) = 0;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status fenced_ ABSL_GUARDED_BY(mutex_);
  // Updates that count in memory and whose record is not known to be durable.
  std::set<AssignmentId> unrecorded_ ABSL_GUARDED_BY(mutex_);

  int64_t blob_uses_ ABSL_GUARDED_BY(mutex_) = 0;
  bool collecting_ ABSL_GUARDED_BY(mutex_) = false;
  bool collection_due_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t blobs_since_collection_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_INTERNAL_COORDINATOR_IMPL_H_
