// Secure aggregation: streams of devices, masked inputs, sessions.
#include <atomic>
#include <memory>
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/coordinator/internal/upload_results.h"
#include "mledge/coordinator/storage_trouble.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/v1/signature.pb.h"

namespace mledge {

class CoordinatorImpl::Stream final : public SecureStream {
 public:
  Stream(CoordinatorImpl* coordinator, TaskContext* context, AssignmentId id,
         uint64_t number)
      : coordinator_(coordinator),
        context_(context),
        id_(std::move(id)),
        number_(number) {}
  ~Stream() override { coordinator_->LeaveStream(*context_, id_, number_); }

  void OnMessage(absl::Time now,
                 const v1::SecaggDeviceMessage& message) override {
    if (pending_->load() >= kMostPending) return;
    pending_->fetch_add(1);
    const std::shared_ptr<const void> looked_at(
        nullptr, [pending = pending_](const void*) { pending->fetch_sub(1); });
    {
      MutexLock lock(&coordinator_->mutex_);
      now = coordinator_->Advance(now);
      coordinator_->WithSessions(
          *context_, [now, id = id_, number = number_, message,
                      looked_at](SecureSessions& sessions) {
            sessions.OnMessage(now, id, number, message, looked_at);
          });
    }
    coordinator_->RunGathered();
  }

 private:
  // Who follows the protocol has one under way; what a device sends beyond
  // these is thrown away.
  static constexpr int kMostPending = 8;

  CoordinatorImpl* const coordinator_;
  TaskContext* const context_;
  const AssignmentId id_;
  const uint64_t number_;
  const std::shared_ptr<std::atomic<int>> pending_ =
      std::make_shared<std::atomic<int>>(0);
};

namespace {

// Of a device that has nothing to wait for.
class EndedStream final : public Coordinator::SecureStream {
 public:
  void OnMessage(absl::Time, const v1::SecaggDeviceMessage&) override {}
};

v1::UploadResult ResultOfEnded(const AssignmentRecord& record,
                               const std::string& failure) {
  return UploadResultOf(record.state == AssignmentState::kAcknowledged
                            ? UpdateOutcome::kAcknowledged
                            : JudgeUpdate(record, Digest()),
                        record, failure);
}

}  // namespace

LoadOptions CoordinatorImpl::LoadOptionsOf() const {
  return {
      .session = {.updates_per_fold = options_.updates_per_fold,
                  .updates_per_checkpoint = options_.updates_per_checkpoint},
      .registrar_sessions_per_day =
          dependencies_.secure_aggregation.registrar_sessions_per_day,
      .noise_cohort = dependencies_.privacy.noise_cohort};
}

absl::Status CoordinatorImpl::CheckServices(const TaskContext& context) const {
  if (context.private_task != nullptr &&
      (dependencies_.privacy.sign_ledger_head == nullptr ||
       dependencies_.privacy.verify_ledger_head == nullptr)) {
    return absl::FailedPreconditionError(
        StrCat("task \"", context.task.name(),
               "\" is private, and this coordinator has nothing to sign its "
               "privacy ledger with"));
  }
  if (!context.secure_options.has_value()) return absl::OkStatus();
  if (dependencies_.secure_aggregation.witness != nullptr) {
    return SecureSessions::Check(*context.secure_options);
  }
  return absl::FailedPreconditionError(
      StrCat("task \"", context.task.name(),
             "\" has secure aggregation, and this coordinator knows no "
             "registrar: set `registrar` in its configuration, or write "
             "`secure_aggregation: {mode: off}` in the task"));
}

void CoordinatorImpl::StartSecureSessions(TaskContext& context) {
  if (!context.secure_options.has_value()) return;
  context.secure = std::make_shared<SecureSessions>(
      *context.secure_options,
      SecureSessions::Environment{
          .services = &dependencies_.secure_aggregation,
          .executor = executor_,
          .pool = options_.synchronous ? nullptr : dependencies_.pool,
          .wake_at =
              [this](absl::Time time) {
                {
                  MutexLock lock(&mutex_);
                  if (time >= wake_at_ || shut_down_) return;
                  wake_at_ = time;
                }
                dependencies_.wake_at(time);
              },
          .approve_unmask =
              context.private_task == nullptr
                  ? nullptr
                  : std::function(
                        [this, &context](
                            const SecureSessionJob& job, uint32_t group,
                            const std::vector<AssignmentId>& members,
                            std::function<void(const absl::Status&)> approved) {
                          ApproveUnmasking(context, job, group, members,
                                           std::move(approved));
                        })});
}

// Calls keep the order in which they are made here, under the lock; without a
// pool they must not run under it.
void CoordinatorImpl::WithSessions(TaskContext& context,
                                   std::function<void(SecureSessions&)> call) {
  if (executor_ != &turns_) {
    call(*context.secure);
  } else {
    Later([sessions = context.secure, call = std::move(call)] {
      call(*sessions);
    });
  }
}

void CoordinatorImpl::TickSecureSessions(TaskContext& context, absl::Time now) {
  if (context.secure == nullptr || context.run->ended()) return;
  WithSessions(context,
               [now](SecureSessions& sessions) { sessions.Tick(now); });
  if (context.save_again != nullptr) {
    Later(std::exchange(context.save_again, nullptr));
  }
}

// Streams.

absl::StatusOr<std::unique_ptr<Coordinator::SecureStream>>
CoordinatorImpl::JoinSecureAggregation(absl::Time now, const Peer& peer,
                                       const v1::SecureAggregationJoin& request,
                                       SecureSink sink) {
  const AssignmentId id(request.assignment_id());
  {
    MutexLock lock(&mutex_);
    now = Advance(now);
    MLEDGE_RETURN_IF_ERROR(Available());
  }
  MLEDGE_ASSIGN_OR_RETURN(Located located, LocateForPeer(peer, id));
  std::optional<v1::UploadResult> result;
  std::unique_ptr<SecureStream> stream;
  if (located.context == nullptr) {
    result = ResultOfEnded(located.record, "");
  } else if (TaskContext& context = *located.context;
             !context.run->plan().IsSecure(located.record.kind)) {
    return absl::InvalidArgumentError(
        StrCat("assignment ", id.value(), " has no secure aggregation"));
  } else {
    MutexLock lock(&mutex_);
    if (unrecorded_.contains(id) || !commit_status_.ok()) {
      // How it ended is not on the disk yet.
      return absl::UnavailableError(
          "the end of this assignment is being written; try again later");
    }
    TaskRun::Readiness readiness = context.run->DeviceReady(now, id);
    if (readiness.waits) {
      const uint64_t number = ++last_stream_;
      context.secure_streams[id] = number;
      WithSessions(context, [=](SecureSessions& sessions) {
        sessions.Join(now, id, peer.id, number, sink);
      });
      stream = std::make_unique<Stream>(this, &context, id, number);
    } else if (const AssignmentRecord* const record =
                   context.run->FindAssignment(id)) {
      result = ResultOfEnded(*record, context.run->FailureOf(id));
    } else {
      // Its round and the next one have ended since it was looked up.
      result = UploadResultOf(UpdateOutcome::kTooLate, located.record, "");
    }
    Apply(context, std::move(readiness.effects));
    Settle();
  }
  RunGathered();
  if (!result.has_value()) return stream;
  v1::SecureAggregationResponse response;
  *response.mutable_result() = *std::move(result);
  sink(response);
  return std::make_unique<EndedStream>();
}

void CoordinatorImpl::LeaveStream(TaskContext& context, const AssignmentId& id,
                                  uint64_t number) {
  {
    MutexLock lock(&mutex_);
    WithSessions(context, [id, number](SecureSessions& sessions) {
      sessions.Leave(id, number);
    });
    const auto found = context.secure_streams.find(id);
    // It may have another stream by now.
    if (found != context.secure_streams.end() && found->second == number) {
      context.secure_streams.erase(found);
      Apply(context, context.run->DeviceNotReady(now_, id));
      Settle();
    }
  }
  RunGathered();
}

void CoordinatorImpl::TellEndOfAssignment(TaskContext& context,
                                          const AssignmentRecord& record) {
  if (!context.run->plan().IsSecure(record.kind)) return;
  context.secure_streams.erase(record.id);
  // Who was counted is told by the session.
  if (record.state == AssignmentState::kAcknowledged) return;
  batch_.then.push_back(
      [secure = context.secure, id = record.id,
       result = ResultOfEnded(record, context.run->FailureOf(record.id))] {
        secure->EndAssignment(id, result);
      });
}

// Masked inputs.

std::optional<v1::UploadResult> CoordinatorImpl::JudgeMaskedInput(
    const TaskContext& context, AssignmentKind kind,
    const v1::UploadHeader& header) const {
  const bool masked = !header.session().empty();
  if (masked == context.run->plan().IsSecure(kind)) return std::nullopt;
  return MakeUploadResult(
      v1::UploadResult::REFUSED,
      masked ? StrCat("assignment ", header.assignment_id(),
                      " has no secure aggregation: its update travels in the "
                      "clear")
             : StrCat("assignment ", header.assignment_id(),
                      " has secure aggregation: its update is not taken in the "
                      "clear"));
}

void CoordinatorImpl::PassOnMaskedInput(UploadInHand upload) {
  const absl::StatusOr<Digest> session =
      Digest::FromBytes(upload.header.session());
  if (!session.ok()) {
    upload.writer.reset();
    upload.done(session.status());
    return;
  }
  absl::Time now;
  {
    MutexLock lock(&mutex_);
    now = now_;
  }
  const AssignmentId id = upload.assignment.id;
  // The writer keeps other uploads of the assignment away.
  const auto held = std::make_shared<UploadInHand>(std::move(upload));
  held->context->secure->OnMaskedInput(
      now, id, *session, held->content,
      [this, id] { return dependencies_.storage->ReadSpooled(id); },
      [this, id, held](absl::StatusOr<v1::UploadResult> result) {
        // From here on it lives in the session's sum; a session that dies with
        // the process is lost, and so are its inputs.
        dependencies_.storage->DiscardSpooled(std::span(&id, 1)).IgnoreError();
        held->writer.reset();
        if (!result.ok()) {
          held->done(MayPass(result.status()));
          return;
        }
        if (result->outcome() == v1::UploadResult::RECEIVED) {
          MutexLock lock(&mutex_);
          held->context->run->MaskedInputArrived(id,
                                                 held->header.size_in_bytes());
        }
        held->done(*std::move(result));
      });
}

// Sessions.

void CoordinatorImpl::RunSecureSession(TaskContext& context,
                                       const SecureSessionJob& job) {
  SecureSessions::Session session = {.job = job};
  absl::Time now;
  {
    MutexLock lock(&mutex_);
    if (context.run->ended()) return;
    now = now_;
    for (const auto& [number, version] : context.versions) {
      if (number > job.base_version) break;
      v1::SignedMessage statement;
      CHECK(statement.ParseFromString(version.signed_statement));
      session.version_entries.push_back(Sha256Of(statement.payload()));
    }
  }
  absl::StatusOr<std::unique_ptr<Aggregator>> sum =
      job.kind == AssignmentKind::kTrain
          ? MakeTrainingSum(context)
          : absl::StatusOr<std::unique_ptr<Aggregator>>(
                MakeEvaluationSum(context.run->plan().evaluation_devices));
  CHECK(sum.ok()) << sum.status();  // the same was made when it was loaded
  context.secure->Begin(now, std::move(session), *std::move(sum),
                        [this, &context, job](SecureSessions::Result result) {
                          SecureSessionEnded(context, job, std::move(result));
                        });
}

void CoordinatorImpl::SecureSessionEnded(TaskContext& context,
                                         const SecureSessionJob& job,
                                         SecureSessions::Result result) {
  if (result.status.ok() && job.kind == AssignmentKind::kTrain) {
    SaveSecureSum(context, job.round,
                  std::make_shared<SecureSessions::Result>(std::move(result)));
    return;
  }
  {
    MutexLock lock(&mutex_);
    if (result.status.ok()) {
      // The sum is what the evaluation says, and is stored with its event.
      Apply(context, context.run->SecureEvaluationDone(now_, result.end,
                                                       result.sum->sum()));
      TellCounted(context, result.end);
    } else {
      Apply(context,
            context.run->SecureSessionAborted(
                now_, result.end, std::string(result.status.message())));
    }
    Settle();
  }
  RunGathered();
}

void CoordinatorImpl::TellCounted(TaskContext& context,
                                  const SecureSessionEnd& end) {
  std::vector<AssignmentId> counted;
  for (const auto& [id, content] : end.counted) counted.push_back(id);
  unrecorded_.insert(counted.begin(), counted.end());
  batch_.then.push_back([this, secure = context.secure, now = now_,
                         counted = std::move(counted)] {
    {
      MutexLock now_recorded(&mutex_);
      for (const AssignmentId& id : counted) unrecorded_.erase(id);
    }
    secure->Saved(now);
  });
}

void CoordinatorImpl::SaveSecureSum(
    TaskContext& context, RoundNumber round,
    std::shared_ptr<SecureSessions::Result> result) {
  BeginBlobUse();
  const absl::StatusOr<Digest> saved =
      dependencies_.storage->PutBlob(result->sum->Serialize());
  if (!saved.ok()) EndBlobUse();
  {
    MutexLock lock(&mutex_);
    if (!saved.ok()) {
      // The devices' updates are used up: the sum is not given away.
      LOG(ERROR) << "task " << context.id() << ", round " << round
                 << ": the sum of secure aggregation cannot be saved yet: "
                 << saved.status();
      context.save_again = [this, &context, round, result] {
        SaveSecureSum(context, round, result);
      };
      WakeAt(now_ + TaskRun::kRetryPause);
    } else {
      context.sum = std::move(result->sum);
      context.sum_round = round;
      Apply(context, context.run->SecureSessionDone(now_, result->end, *saved));
      batch_.then.push_back([this] { EndBlobUse(); });
      TellCounted(context, result->end);
      Settle();
    }
  }
  RunGathered();
}

}  // namespace mledge
