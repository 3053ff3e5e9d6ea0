#include "mledge/coordinator/evaluation_session.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {

std::unique_ptr<Aggregator> MakeEvaluationSum(int64_t devices) {
  // The weight plays no part in an evaluation: any will do.
  absl::StatusOr<std::unique_ptr<Aggregator>> sum =
      Aggregator::Create(EvaluationAggregationSpec(
          std::numeric_limits<int32_t>::max(), std::max<int64_t>(1, devices)));
  CHECK(sum.ok()) << sum.status();
  return *std::move(sum);
}

EvaluationSession::EvaluationSession(Plan plan)
    : plan_(std::move(plan)), sum_(MakeEvaluationSum(plan_.devices)) {}

int64_t EvaluationSession::wanted() const {
  if (done_ || closing_) return 0;
  return std::max<int64_t>(0, plan_.devices - open_ - acknowledged_);
}

const TrainingAssignment* EvaluationSession::Find(
    const AssignmentId& id) const {
  const auto found = assignments_.find(id);
  return found == assignments_.end() ? nullptr : &found->second;
}

absl::StatusOr<TrainingAssignment*> EvaluationSession::FindOwn(
    const AssignmentId& id) {
  const auto found = assignments_.find(id);
  if (found != assignments_.end()) return &found->second;
  return absl::NotFoundError(StrCat("no assignment ", id.value()));
}

absl::StatusOr<AssignmentRecord> EvaluationSession::Assign(
    absl::Time now, const DeviceId& device, AssignmentOrdinal ordinal) {
  if (done_ || asked_.contains(device)) {
    return absl::FailedPreconditionError(StrCat(
        "device ", device.value(), " cannot be asked to evaluate version ",
        plan_.version.value(), (done_ ? ": it is done" : " again")));
  }
  AssignmentRecord record;
  record.task = plan_.task;
  record.device = device;
  record.round = plan_.round;
  record.kind = AssignmentKind::kEvaluate;
  record.ordinal = ordinal;
  record.base_version = plan_.version;
  record.issued_at = now;
  record.expires_at = plan_.deadline;
  record.id = MakeAssignmentId(record);
  assignments_.emplace(record.id, TrainingAssignment(record));
  asked_.insert(device);
  ++open_;
  changes_.issued.push_back(record);
  return record;
}

absl::Status EvaluationSession::Restore(AssignmentRecord record,
                                        const UpdateView* update) {
  if (record.state == AssignmentState::kAcknowledged) {
    if (update == nullptr) {
      return absl::InvalidArgumentError(
          StrCat("no update of acknowledged assignment ", record.id.value()));
    }
    MLEDGE_RETURN_IF_ERROR(sum_->Validate(*update));
    MLEDGE_RETURN_IF_ERROR(sum_->Fold(std::span(&update, 1)));
    ++acknowledged_;
  } else if (record.state == AssignmentState::kIssued) {
    ++open_;
  }
  asked_.insert(record.device);
  const AssignmentId id = record.id;
  assignments_.emplace(id, TrainingAssignment(std::move(record)));
  if (acknowledged_ >= plan_.devices) Finish();
  return absl::OkStatus();
}

absl::StatusOr<UpdateOutcome> EvaluationSession::Acknowledge(
    absl::Time now, const AssignmentId& id, const Digest& content,
    const UpdateView& update) {
  MLEDGE_ASSIGN_OR_RETURN(TrainingAssignment* const own, FindOwn(id));
  TrainingAssignment& assignment = *own;
  if (!assignment.open() || done_ || now >= plan_.deadline) {
    return JudgeUpdate(assignment.record(), content);
  }
  const UpdateView* const one = &update;
  MLEDGE_RETURN_IF_ERROR(sum_->Fold(std::span(&one, 1)));
  MLEDGE_RETURN_IF_ERROR(assignment.Acknowledge(content));
  ++acknowledged_;
  Ended(assignment);
  if (acknowledged_ >= plan_.devices) Finish();
  return UpdateOutcome::kAcknowledged;
}

absl::Status EvaluationSession::DeviceFails(const AssignmentId& id,
                                            std::string reason) {
  MLEDGE_ASSIGN_OR_RETURN(TrainingAssignment* const own, FindOwn(id));
  if (!own->open()) return absl::OkStatus();
  // Its answer may be in the sum all the same: the session's end decides.
  if (gathering_.InSession(id)) return absl::OkStatus();
  gathering_.Remove(id);
  MLEDGE_RETURN_IF_ERROR(own->Fail(std::move(reason)));
  Ended(*own);
  return absl::OkStatus();
}

absl::StatusOr<bool> EvaluationSession::Ready(absl::Time now,
                                              const AssignmentId& id) {
  MLEDGE_ASSIGN_OR_RETURN(TrainingAssignment* const own, FindOwn(id));
  if (!own->open() || done_ || (!closing_ && now >= plan_.deadline)) {
    return false;
  }
  gathering_.Add(id);
  // A session under way takes nobody in any more; there may be another.
  if (gathering_.ready() >= plan_.devices) closing_ = true;
  return true;
}

void EvaluationSession::Settle(const SecureSessionEnd& end) {
  SettleSession(
      end, assignments_, [this](const TrainingAssignment& assignment) {
        if (assignment.record().state == AssignmentState::kAcknowledged) {
          ++acknowledged_;
        }
        Ended(assignment);
      });
}

void EvaluationSession::SessionDone(const SecureSessionEnd& end,
                                    const AggregationSum& sum) {
  gathering_.End(end);
  if (done_) return;  // cancelled meanwhile
  if (const absl::Status added = sum_->Merge(sum); !added.ok()) {
    failure_ = std::string(added.message());
  }
  Settle(end);
  Finish();
}

void EvaluationSession::SessionAborted(absl::Time now,
                                       const SecureSessionEnd& end,
                                       std::string_view reason) {
  gathering_.End(end);
  if (done_) return;
  Settle(end);
  closing_ = false;
  failure_ = StrCat("secure aggregation came to nothing: ", reason);
  if (now >= plan_.deadline) Finish();
}

void EvaluationSession::Tick(absl::Time now) {
  if (done_ || closing_) return;
  if (plan_.secure && gathering_.ready() >= plan_.devices) {
    closing_ = true;  // after a session that came to nothing
    return;
  }
  if (now < plan_.deadline) return;
  if (plan_.secure && gathering_.ready() >= plan_.minimum) {
    closing_ = true;
    return;
  }
  if (plan_.secure && failure_.empty()) {
    failure_ = StrCat("deadline reached with ", gathering_.ready(),
                      " devices ready for secure aggregation of at least ",
                      plan_.minimum, "; ", asked_.size(), " were asked");
  }
  Finish();
}

void EvaluationSession::Cancel() { Finish(); }

std::optional<EvaluationSession::Result> EvaluationSession::result() const {
  const double examples = sum_->sum().Scalar(kExamplesScalar);
  if (acknowledged_ == 0 || examples <= 0) return std::nullopt;
  return Result{.loss = sum_->sum().Scalar(kLossSumScalar) / examples,
                .metric = sum_->sum().Scalar(kMetricSumScalar) / examples,
                .examples = static_cast<int64_t>(examples)};
}

std::string EvaluationSession::failure() const {
  if (!failure_.empty()) return failure_;
  return StrCat(acknowledged_, " of ", asked_.size(),
                " that were asked answered, with no example between them");
}

void EvaluationSession::Finish() {
  done_ = true;
  for (auto& [id, assignment] : assignments_) {
    if (assignment.Expire().ok()) Ended(assignment);
  }
}

void EvaluationSession::Ended(const TrainingAssignment& assignment) {
  --open_;
  changes_.ended.push_back(assignment.record());
}

AssignmentChanges EvaluationSession::TakeChanges() {
  return std::exchange(changes_, {});
}

}  // namespace mledge
