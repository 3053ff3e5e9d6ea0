#include <algorithm>
#include <utility>

#include "mledge/client/device_session.h"
#include "mledge/client/internal/session_turn.h"
#include "mledge/client/training_plan.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

Digest DigestOf(const v1::Blob& blob) {
  absl::StatusOr<Digest> digest = Digest::FromBytes(blob.sha256());
  CHECK(digest.ok()) << "a blob that has not been checked";
  return *digest;
}

// Where certificates are the reason, saying so saves the reader a search.
std::string_view Remedy(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return " Is the coordinator running, and its address right?";
    case absl::StatusCode::kPermissionDenied:
      return " The coordinator does not admit this device: look at the role in "
             "its certificate and at the coordinator's log.";
    default:
      return "";
  }
}

constexpr size_t kMaximumReportLength = 1000;

}  // namespace

// What an answer that is an error, or that does not come, means to each call.
void DeviceSession::CallFailed(Turn& turn, const absl::Status& status) {
  const absl::StatusCode code = status.code();
  switch (phase_) {
    case Phase::kCheckingIn: {
      const absl::Duration pause =
          std::min(call_backoff_.Next(), options_.maximum_check_in_interval);
      turn.Warn(StrCat("Check-in failed, next one in ",
                       ToStdView(absl::FormatDuration(pause)), ": ",
                       status.message(), Remedy(code)));
      Wait(turn, pause);
      return;
    }
    case Phase::kFetching:
      if (kPermanentFetchFailures.Contains(code)) {
        Abandon(turn, Ending::kFailed, StrCat("fetching the ", BlobName()),
                status);
        return;
      }
      Retry(turn, StrCat("Fetching the ", BlobName(), " of ", Describe()),
            status);
      return;
    case Phase::kUploading:
      if (kPermanentUploadFailures.Contains(code)) {
        ++counters_.refused;
        turn.Warn(
            StrCat("The update of ", Describe(),
                   " cannot be uploaded and is dropped: ", status.message()));
        End(turn, /*success=*/false);
        return;
      }
      Retry(turn, StrCat("Uploading the update of ", Describe()), status);
      return;
    case Phase::kAggregating:
      if (kPermanentUploadFailures.Contains(code)) {
        // FAILED_PRECONDITION: this device accepts no session that it was
        // offered.
        Abandon(turn,
                code == absl::StatusCode::kFailedPrecondition ? Ending::kRefused
                                                              : Ending::kFailed,
                "secure aggregation", status);
        return;
      }
      Retry(turn, StrCat("Secure aggregation for ", Describe()), status);
      return;
    case Phase::kReporting:
      if (kPermanentReportFailures.Contains(code) ||
          ++work_->report_attempts >= options_.maximum_report_attempts) {
        turn.Warn(
            StrCat("Could not report on ", Describe(), ": ", status.message()));
        End(turn, /*success=*/false);
        return;
      }
      Retry(turn, StrCat("Reporting on ", Describe()), status);
      return;
    default:
      CHECK(false) << "no call is made in phase " << ToString(phase_);
  }
}

void DeviceSession::Retry(Turn& turn, std::string_view what,
                          const absl::Status& status) {
  awaiting_ = false;
  const absl::Duration pause = call_backoff_.Next();
  due_ = turn.now + pause;
  turn.Warn(StrCat(what, " failed, next attempt in ",
                   ToStdView(absl::FormatDuration(pause)), ": ",
                   status.message()));
}

void DeviceSession::Resume(Turn& turn) {
  switch (phase_) {
    case Phase::kWaiting:
      return CheckIn(turn);
    case Phase::kFetching:
      return Fetch(turn, work_->fetching);
    case Phase::kUploading:
    case Phase::kAggregating:
      return SendUpdate(turn);
    case Phase::kReporting:
      return Report(turn);
    default:
      CHECK(false) << "nothing to resume in phase " << ToString(phase_);
  }
}

void DeviceSession::CheckIn(Turn& turn) {
  phase_ = Phase::kCheckingIn;
  v1::CheckInRequest request;
  request.set_protocol_version(kProtocolVersion);
  request.set_population(options_.policy.population);
  request.set_software(options_.software);
  for (v1::SignedMessage& head : privacy_ledger_.Heads()) {
    *request.add_ledger_heads() = std::move(head);
  }
  turn.Add(SendCheckIn{NextCall(turn.now + options_.check_in_timeout),
                       std::move(request)});
}

void DeviceSession::Accept(Turn& turn, v1::Assignment assignment) {
  awaiting_ = false;
  work_ = Work();
  work_->record.assignment = std::move(assignment);
  const absl::Status status =
      CheckAssignment(work_->record.assignment, options_.policy, turn.now);
  if (!status.ok()) {
    Abandon(turn, Ending::kRefused, "the assignment", status);
    return;
  }
  ++counters_.accepted;
  // With the model's hash, which owners of devices can compare: everybody is to
  // be given the same.
  turn.Say(StrCat("Takes on ", Describe(), " with parameters ",
                  DigestOf(work_->record.assignment.parameters()).ToHex(),
                  "."));
  phase_ = Phase::kAccepting;
  turn.Add(Persist{NextCall(absl::InfiniteFuture()), work_->record, {}});
}

void DeviceSession::Fetch(Turn& turn, Blob blob) {
  phase_ = Phase::kFetching;
  work_->fetching = blob;
  const v1::Assignment& assignment = work_->record.assignment;
  const v1::Blob& wanted = blob == Blob::kTask      ? assignment.signed_task()
                           : blob == Blob::kPackage ? assignment.package()
                                                    : assignment.parameters();
  turn.Add(FetchBlob{NextCall(turn.now + options_.transfer_timeout),
                     DigestOf(wanted), wanted.size_in_bytes()});
}

// Checks what has arrived and goes on to the next blob, or to training.
absl::Status DeviceSession::TakeBlob(Turn& turn, const std::string& bytes) {
  const v1::Assignment& assignment = work_->record.assignment;
  switch (work_->fetching) {
    case Blob::kTask: {
      MLEDGE_ASSIGN_OR_RETURN(
          VerifiedTask verified,
          cache_->Task(DigestOf(assignment.signed_task()), bytes, turn.now));
      work_->task = std::move(verified.task);
      work_->participation.task = verified.payload_sha256;
      MLEDGE_RETURN_IF_ERROR(CheckAgainstTask(
          assignment, *work_->task, verified.payload_sha256, options_.policy));
      Fetch(turn, Blob::kPackage);
      return absl::OkStatus();
    }
    case Blob::kPackage: {
      MLEDGE_ASSIGN_OR_RETURN(
          work_->package,
          cache_->Package(DigestOf(assignment.package()), bytes, turn.now));
      MLEDGE_RETURN_IF_ERROR(CheckAgainstPackage(assignment, *work_->package));
      MLEDGE_ASSIGN_OR_RETURN(
          const v1::VersionStatement statement,
          cache_->Version(assignment.version_statement(), turn.now));
      MLEDGE_RETURN_IF_ERROR(CheckVersionStatement(
          assignment, statement, *work_->task, *work_->package));
      MLEDGE_RETURN_IF_ERROR(CheckPrivacy(turn, statement.version()));
      Fetch(turn, Blob::kParameters);
      return absl::OkStatus();
    }
    case Blob::kParameters: {
      MLEDGE_ASSIGN_OR_RETURN(
          std::shared_ptr<const ParameterVector> parameters,
          cache_->Parameters(DigestOf(assignment.parameters()), bytes,
                             work_->package->layout));
      Train(turn, std::move(parameters));
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

// What the task promises, what the coordinator's ledger says, and what this
// device's own ledger allows: before any work is done for it.
absl::Status DeviceSession::CheckPrivacy(Turn& turn, int64_t version) {
  const v1::Assignment& assignment = work_->record.assignment;
  if (assignment.kind() != v1::Assignment::TRAIN) {
    // Evaluators report in the clear, of data that is nobody's.
    return options_.policy.role == AssignmentPolicy::Role::kEvaluator
               ? absl::OkStatus()
               : CheckPrivacyPolicy(nullptr, options_.privacy, nullptr);
  }
  const Digest& task = work_->participation.task;
  MLEDGE_ASSIGN_OR_RETURN(
      work_->privacy,
      cache_->Privacy(task, *work_->task, *work_->package->layout));
  MLEDGE_RETURN_IF_ERROR(CheckPrivacyPolicy(
      work_->privacy.get(), options_.privacy, [&](Observer observer) {
        return cache_->Claim(task, *work_->privacy, observer);
      }));
  if (work_->privacy == nullptr) return absl::OkStatus();
  MLEDGE_RETURN_IF_ERROR(CheckAgainstPrivacy(assignment, *work_->privacy));
  MLEDGE_ASSIGN_OR_RETURN(work_->ledger,
                          cache_->Ledger(assignment.ledger(), turn.now));
  MLEDGE_RETURN_IF_ERROR(privacy_ledger_.CheckShown(task, work_->ledger));
  // A version is the outcome of one round, so this counts rounds.
  work_->participation.step = version;
  return privacy_ledger_.MayParticipate(*work_->privacy, work_->participation);
}

void DeviceSession::Train(Turn& turn,
                          std::shared_ptr<const ParameterVector> parameters) {
  const v1::Assignment& assignment = work_->record.assignment;
  auto job = std::make_shared<TrainingJob>();
  job->assignment = AssignmentId(assignment.assignment_id());
  job->plan = MakeTrainingPlan(*work_->task, assignment, options_.device);
  job->package = work_->package;
  job->package_digest = DigestOf(assignment.package());
  job->parameters = std::move(parameters);
  job->pipeline = MakePipelineOptions(*work_->task, assignment, work_->privacy);
  phase_ = Phase::kTraining;
  turn.Add(StartTraining{NextCall(absl::InfiniteFuture()), std::move(job)});
}

void DeviceSession::SendUpdate(Turn& turn) {
  if (work_->record.assignment.has_secure()) {
    phase_ = Phase::kAggregating;
    turn.Add(AggregateSecurely{NextCall(absl::InfiniteFuture()),
                               work_->record.assignment,
                               *work_->record.update});
    return;
  }
  phase_ = Phase::kUploading;
  turn.Add(Upload{NextCall(turn.now + options_.transfer_timeout),
                  AssignmentId(work_->record.assignment.assignment_id()),
                  *work_->record.update});
}

void DeviceSession::UpdateAcknowledged(Turn& turn) {
  ++counters_.acknowledged;
  turn.Say(StrCat("Update of ", Describe(), " is acknowledged."));
  End(turn, /*success=*/true);
}

void DeviceSession::UpdateTooLate(Turn& turn, std::string_view reason) {
  ++counters_.too_late;
  turn.Say(StrCat("Update of ", Describe(), " came too late",
                  reason.empty() ? "" : ": ", reason, "."));
  End(turn, /*success=*/true);
}

void DeviceSession::UpdateRefused(Turn& turn, std::string_view reason) {
  ++counters_.refused;
  turn.Warn(StrCat("The coordinator refuses the update of ", Describe(), ": ",
                   reason));
  End(turn, /*success=*/false);
}

void DeviceSession::Abandon(Turn& turn, Ending ending, std::string_view what,
                            const absl::Status& why) {
  switch (ending) {
    case Ending::kRefused:
      ++counters_.refused;
      work_->report = StrCat("refused ", what, ": ", why.message());
      break;
    case Ending::kFailed:
      ++counters_.failed;
      work_->report = StrCat(what, " failed: ", why.message());
      break;
    case Ending::kLost:
      ++counters_.lost;
      work_->report = StrCat(what, " is lost: ", why.message());
      break;
  }
  turn.Warn(StrCat("Device ", options_.device.value(), ", ", Describe(), ": ",
                   work_->report));
  const bool trained =
      phase_ != Phase::kAccepting && phase_ != Phase::kFetching;
  if (ending == Ending::kFailed && trained &&
      (work_->record.assignment.has_secure() ||
       work_->record.assignment.has_ledger())) {
    // What went wrong with data or update may be told by a number of theirs,
    // which is for nobody but the device's owner.
    work_->report = StrCat(what, " failed; the device's own log says why");
  }
  if (work_->report.size() > kMaximumReportLength) {
    work_->report.resize(kMaximumReportLength);
  }
  Report(turn);
}

void DeviceSession::Report(Turn& turn) {
  phase_ = Phase::kReporting;
  v1::ReportRequest request;
  request.set_assignment_id(work_->record.assignment.assignment_id());
  request.set_reason(work_->report);
  turn.Add(SendReport{NextCall(turn.now + options_.report_timeout),
                      std::move(request)});
}

void DeviceSession::Expire(Turn& turn) {
  ++counters_.expired;
  if (phase_ == Phase::kTraining) turn.Add(StopTraining{false});
  turn.Warn(StrCat(
      "Time is up for ", Describe(), " while ",
      phase_ == Phase::kNotStarted ? "the device was off" : ToString(phase_),
      ". If this happens often, the task's deadline is too short "
      "for this device, or the device's clock is wrong."));
  End(turn, /*success=*/false);
}

void DeviceSession::End(Turn& turn, bool success) {
  turn.Add(Forget{AssignmentId(work_->record.assignment.assignment_id())});
  work_.reset();
  call_backoff_.Reset();
  if (success) {
    work_backoff_.Reset();
    CheckIn(turn);
  } else {
    Wait(turn, work_backoff_.Next());
  }
}

void DeviceSession::Wait(Turn& turn, absl::Duration pause) {
  phase_ = Phase::kWaiting;
  awaiting_ = false;
  due_ = turn.now + pause;
}

bool DeviceSession::Awaited(Phase phase, CallId call) const {
  return phase_ == phase && awaiting_ && call == last_call_;
}

CallId DeviceSession::NextCall(absl::Time due) {
  last_call_ = last_call_.Next();
  awaiting_ = true;
  due_ = due;
  return last_call_;
}

// Tells the driver of the next wake-up where that has changed.
Effects DeviceSession::Finish(Turn& turn) {
  last_turn_ = turn.now;
  absl::Time wake_at = due_;
  if (work_.has_value() &&
      (phase_ == Phase::kAccepting || phase_ == Phase::kFetching ||
       phase_ == Phase::kTraining)) {
    wake_at = std::min(wake_at, ExpiryOf(work_->record.assignment));
  }
  if (wake_at != wake_at_) {
    wake_at_ = wake_at;
    turn.Add(WakeAt{wake_at});
  }
  return std::move(turn.effects);
}

std::string DeviceSession::Describe() const {
  const v1::Assignment& assignment = work_->record.assignment;
  return StrCat("assignment ", assignment.assignment_id(), " (task ",
                assignment.task_id(), ", round ", assignment.round(), ")");
}

std::string_view DeviceSession::BlobName() const {
  switch (work_->fetching) {
    case Blob::kTask:
      return "task";
    case Blob::kPackage:
      return "model package";
    case Blob::kParameters:
      return "parameters";
  }
  return "blob";
}

std::string_view ToString(DeviceSession::Phase phase) {
  switch (phase) {
    case DeviceSession::Phase::kNotStarted:
      return "not started";
    case DeviceSession::Phase::kWaiting:
      return "waiting";
    case DeviceSession::Phase::kCheckingIn:
      return "checking in";
    case DeviceSession::Phase::kAccepting:
      return "storing the assignment";
    case DeviceSession::Phase::kFetching:
      return "fetching";
    case DeviceSession::Phase::kTraining:
      return "training";
    case DeviceSession::Phase::kPersisting:
      return "storing the update";
    case DeviceSession::Phase::kUploading:
      return "uploading";
    case DeviceSession::Phase::kAggregating:
      return "aggregating";
    case DeviceSession::Phase::kReporting:
      return "reporting";
    case DeviceSession::Phase::kStopped:
      return "stopped";
  }
  return "unknown";
}

}  // namespace mledge
