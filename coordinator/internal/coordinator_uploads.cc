// Updates of devices and evaluators on their way into the spool.
#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/coordinator/internal/upload_results.h"
#include "mledge/coordinator/storage_trouble.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {

absl::StatusOr<CoordinatorImpl::Located> CoordinatorImpl::Locate(
    const AssignmentId& id) {
  {
    MutexLock lock(&mutex_);
    for (const auto& [task, context] : tasks_) {
      if (const AssignmentRecord* found = context->run->FindAssignment(id)) {
        return Located{.record = *found, .context = context.get()};
      }
    }
  }
  absl::StatusOr<AssignmentRecord> record =
      dependencies_.storage->FindAssignment(id);
  if (absl::IsNotFound(record.status())) return record.status();
  MLEDGE_RETURN_IF_ERROR(MayPass(record.status()));
  {
    MutexLock lock(&mutex_);
    const auto set_aside = set_aside_.find(record->task);
    if (set_aside != set_aside_.end() &&
        set_aside->second.record.state == TaskState::kRunning) {
      // It may go on after a restart, and want what the device has.
      return absl::UnavailableError(
          StrCat("task ", record->task.value(), " was set aside; try later"));
    }
  }
  return Located{.record = *std::move(record)};
}

absl::StatusOr<CoordinatorImpl::Located> CoordinatorImpl::LocateForPeer(
    const Peer& peer, const AssignmentId& id) {
  MLEDGE_ASSIGN_OR_RETURN(Located located, Locate(id));
  // A device and an evaluator may have the same id and are two all the same.
  Peer::Role role = peer.role;
  if (located.record.kind == AssignmentKind::kTrain) {
    role = Peer::Role::kDevice;
  } else if (located.context != nullptr) {
    role = located.context->run->plan().evaluate_on_devices
               ? Peer::Role::kDevice
               : Peer::Role::kEvaluator;
  }
  if (located.record.device != peer.id || role != peer.role) {
    return absl::PermissionDeniedError(
        StrCat("assignment ", id.value(), " is not of ",
               peer.role == Peer::Role::kEvaluator ? "evaluator " : "device ",
               peer.id.value()));
  }
  return located;
}

absl::StatusOr<Coordinator::UploadStart> CoordinatorImpl::BeginUpload(
    absl::Time now, const Peer& peer, const v1::UploadHeader& header) {
  {
    MutexLock lock(&mutex_);
    now = Advance(now);
    MLEDGE_RETURN_IF_ERROR(Available());
  }
  absl::StatusOr<Digest> content = Digest::FromBytes(header.content_sha256());
  if (!content.ok()) {
    return Annotate(content.status(), "upload header: content_sha256");
  }
  const AssignmentId id(header.assignment_id());
  MLEDGE_ASSIGN_OR_RETURN(Located located, LocateForPeer(peer, id));
  UploadStart start;
  if (located.context == nullptr) {
    start.result = UploadResultOf(JudgeUpdate(located.record, *content),
                                  located.record, "");
    return start;
  }
  TaskContext& context = *located.context;
  uint64_t most = options_.maximum_update_bytes;
  {
    MutexLock lock(&mutex_);
    const std::optional<UpdateOutcome> outcome =
        context.run->Judge(now, id, *content);
    if (outcome == UpdateOutcome::kAgain && unrecorded_.contains(id)) {
      // It counts here, and will for good once the record is on the disk.
      const absl::Status why = MayPass(commit_status_);
      return Annotate(
          why.ok() ? absl::UnavailableError("it is being written") : why,
          "the update is not recorded yet, try again later");
    }
    if (outcome.has_value()) {
      start.result =
          UploadResultOf(*outcome, located.record, context.run->FailureOf(id));
      return start;
    }
    start.result = JudgeMaskedInput(context, located.record.kind, header);
    if (start.result.has_value()) return start;
    // While it runs, the layout is there.
    most = std::min(most, MaximumUpdateBytes(context, located.record.kind));
  }
  if (header.size_in_bytes() > most) {
    const std::string reason =
        StrCat("an update of ", header.size_in_bytes(),
               " bytes is larger than any that this assignment can have (",
               most, " bytes)");
    {
      MutexLock lock(&mutex_);
      Apply(context, context.run->DeviceFails(now, id, reason));
      Settle();
    }
    RunGathered();
    start.result = MakeUploadResult(v1::UploadResult::REFUSED, reason);
    return start;
  }
  absl::StatusOr<std::unique_ptr<SpoolWriter>> writer =
      dependencies_.storage->OpenSpoolWriter(id, *content,
                                             header.size_in_bytes());
  MLEDGE_RETURN_IF_ERROR(MayPass(writer.status()));
  start.writer = *std::move(writer);
  return start;
}

void CoordinatorImpl::FinishUpload(absl::Time now, const Peer& peer,
                                   const v1::UploadHeader& header,
                                   std::unique_ptr<SpoolWriter> writer,
                                   Done<v1::UploadResult> done) {
  absl::Status refused;
  {
    MutexLock lock(&mutex_);
    Advance(now);
    refused = Available();
  }
  absl::StatusOr<Located> located =
      LocateForPeer(peer, AssignmentId(header.assignment_id()));
  absl::StatusOr<Digest> content = Digest::FromBytes(header.content_sha256());
  if (refused.ok()) refused = located.status();
  if (refused.ok()) refused = content.status();
  if (!refused.ok()) {
    done(refused);
    return;
  }
  if (located->context == nullptr) {  // its round is long over
    done(UploadResultOf(JudgeUpdate(located->record, *content), located->record,
                        ""));
    return;
  }
  auto upload =
      std::make_shared<UploadInHand>(UploadInHand{.assignment = located->record,
                                                  .header = header,
                                                  .content = *content,
                                                  .context = located->context,
                                                  .writer = std::move(writer),
                                                  .done = std::move(done)});
  {
    MutexLock lock(&mutex_);
    Later([this, upload] { ReceiveUpload(std::move(*upload)); });
  }
  RunGathered();
}

void CoordinatorImpl::ReceiveUpload(UploadInHand upload) {
  const AssignmentId id = upload.assignment.id;
  const uint64_t here = upload.writer->offset();
  if (here != upload.header.size_in_bytes()) {
    upload.writer.reset();
    upload.done(absl::AbortedError(
        StrCat("upload for assignment ", id.value(), " ended after ", here,
               " of ", upload.header.size_in_bytes(),
               " bytes; begin it again, it goes on from there")));
    return;
  }
  const absl::StatusOr<Digest> received = upload.writer->Sync();
  if (!received.ok()) {
    // The system forgets what it could not write: the bytes can still be read
    // and would sync well the next time without being on the disk.
    dependencies_.storage->DiscardSpooled(std::span(&id, 1)).IgnoreError();
    FailUpload(std::move(upload), MayPass(received.status()));
    return;
  }
  if (*received != upload.content) {
    dependencies_.storage->DiscardSpooled(std::span(&id, 1)).IgnoreError();
    const absl::Status damaged = absl::AbortedError(
        StrCat("upload for assignment ", id.value(), " arrived with SHA-256 ",
               received->ToHex(), " instead of ", upload.content.ToHex(),
               "; begin it again"));
    FailUpload(std::move(upload), damaged);
    return;
  }
  if (!upload.header.session().empty()) {
    PassOnMaskedInput(std::move(upload));
    return;
  }
  const absl::StatusOr<std::unique_ptr<SpooledUpdate>> update =
      dependencies_.storage->OpenSpooled(id);
  if (!update.ok()) {
    if (absl::IsInvalidArgument(update.status())) {
      RefuseUpload(std::move(upload), update.status());
    } else {
      FailUpload(std::move(upload), MayPass(update.status()));
    }
    return;
  }
  if (const absl::Status valid =
          ValidateUpdate(*upload.context, upload.assignment, (*update)->view());
      !valid.ok()) {
    RefuseUpload(std::move(upload), valid);
    return;
  }
  CountUpload(std::move(upload), (*update)->view());
}

void CoordinatorImpl::CountUpload(UploadInHand upload,
                                  const UpdateView& update) {
  const AssignmentRecord& record = upload.assignment;
  TaskRun& run = *upload.context->run;
  absl::Status failed;
  bool unwanted = false;
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<TaskRun::Arrival> arrival = run.UpdateArrived(
        now_, record.id, upload.content, upload.header.size_in_bytes(), update);
    failed = arrival.status();
    if (arrival.ok()) {
      const UpdateOutcome outcome = arrival->outcome;
      // Another content may lie where the acknowledged one lay; that one is
      // folded, or its file is the one that counts.
      unwanted = outcome == UpdateOutcome::kTooLate ||
                 outcome == UpdateOutcome::kGivenUp;
      Apply(*upload.context, std::move(arrival->effects));
      // The answer leaves once everything up to here is on disk.
      AnswerWhenDurable(
          std::move(upload.done),
          UploadResultOf(outcome, record, run.FailureOf(record.id)));
      if (outcome == UpdateOutcome::kAcknowledged) {
        unrecorded_.insert(record.id);
        batch_.then.push_back([this, id = record.id] {
          MutexLock now_recorded(&mutex_);
          unrecorded_.erase(id);
        });
      }
      if (unwanted) batch_.discard.push_back(record.id);
      // Only now may another upload for the assignment begin.
      Later(
          [writer = std::shared_ptr<SpoolWriter>(std::move(upload.writer))] {});
      Settle();
    }
  }
  if (!failed.ok()) {
    upload.writer.reset();
    upload.done(failed);
    return;
  }
  RunGathered();
}

void CoordinatorImpl::FailUpload(UploadInHand upload, const absl::Status& why) {
  upload.writer.reset();
  std::optional<v1::UploadResult> result;
  {
    MutexLock lock(&mutex_);
    const TaskRun& run = *upload.context->run;
    // When the round closes, what is spooled for it goes, also from under an
    // upload that is about to end.
    if (run.Judge(now_, upload.assignment.id, upload.content) ==
        UpdateOutcome::kTooLate) {
      result = UploadResultOf(UpdateOutcome::kTooLate, upload.assignment, "");
    }
  }
  if (result.has_value()) {
    upload.done(*std::move(result));
  } else {
    upload.done(why);
  }
}

void CoordinatorImpl::RefuseUpload(UploadInHand upload,
                                   const absl::Status& why) {
  const AssignmentRecord& record = upload.assignment;
  const std::string reason(why.message());
  // What was wrong with it may be a number of the device's.
  const std::string told = upload.context->private_task == nullptr
                               ? reason
                               : "its private update is not one that follows "
                                 "the task; only the device is told more";
  LOG(WARNING) << "task " << record.task << ", round " << record.round
               << ": update of device " << record.device
               << " refused: " << told;
  upload.writer.reset();
  {
    MutexLock lock(&mutex_);
    TaskRun& run = *upload.context->run;
    // What was acknowledged before stays; only an open assignment fails.
    if (!run.Judge(now_, record.id, upload.content).has_value()) {
      Apply(*upload.context, run.DeviceFails(now_, record.id, told));
      batch_.discard.push_back(record.id);
    }
    AnswerWhenDurable(std::move(upload.done),
                      MakeUploadResult(v1::UploadResult::REFUSED, reason));
    Settle();
  }
  RunGathered();
}

void CoordinatorImpl::Report(absl::Time now, const Peer& peer,
                             const v1::ReportRequest& request,
                             Done<v1::ReportResponse> done) {
  const absl::StatusOr<Located> located =
      LocateForPeer(peer, AssignmentId(request.assignment_id()));
  absl::Status refused = located.status();
  // The device's own words: they go into the log, where a line is a line.
  constexpr size_t kLongestReason = 1000;
  const std::string reason =
      absl::CHexEscape(request.reason().substr(0, kLongestReason));
  {
    MutexLock lock(&mutex_);
    now = Advance(now);
    if (refused.ok()) refused = Available();
    if (refused.ok()) {
      LOG(WARNING) << "task " << located->record.task << ", round "
                   << located->record.round << ": device " << peer.id
                   << " gave up: " << reason;
      if (located->context != nullptr) {
        Apply(*located->context, located->context->run->DeviceFails(
                                     now, located->record.id, reason));
      }
      AnswerWhenDurable(done, v1::ReportResponse());
      Settle();
    }
  }
  if (!refused.ok()) {
    done(refused);
    return;
  }
  RunGathered();
}

}  // namespace mledge
