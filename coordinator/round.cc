#include "mledge/coordinator/round.h"

#include <utility>

#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {

std::optional<Round::State> Round::NextState(State state, Event event) {
  struct Row {
    State from;
    Event event;
    State to;
  };
  static constexpr Row kLegalMoves[] = {
      {State::kCollecting, Event::kAssign, State::kCollecting},
      {State::kCollecting, Event::kAcknowledge, State::kCollecting},
      {State::kCollecting, Event::kDeviceFails, State::kCollecting},
      {State::kCollecting, Event::kClose, State::kClosing},
      {State::kCollecting, Event::kFail, State::kFailed},
      {State::kClosing, Event::kDeviceFails, State::kClosing},
      {State::kClosing, Event::kReopen, State::kCollecting},
      {State::kClosing, Event::kPublish, State::kPublishing},
      {State::kClosing, Event::kFail, State::kFailed},
      {State::kPublishing, Event::kPublished, State::kCompleted},
      {State::kPublishing, Event::kFail, State::kFailed},
  };
  for (const Row& row : kLegalMoves) {
    if (row.from == state && row.event == event) return row.to;
  }
  return std::nullopt;
}

Round::Round(RoundPlan plan)
    : plan_(std::move(plan)),
      session_(std::make_unique<AggregationSession>(plan_.session)) {}

Round::Round(RoundPlan plan, std::vector<AssignmentRecord> assignments,
             std::span<const AssignmentId> saved)
    : plan_(std::move(plan)),
      session_(std::make_unique<AggregationSession>(plan_.session, saved)) {
  for (AssignmentRecord& record : assignments) {
    devices_.insert(record.device);
    switch (record.state) {
      case AssignmentState::kIssued:
        ++open_;
        break;
      case AssignmentState::kAcknowledged:
        ++acknowledged_;
        // Those in the checkpoint were admitted with it.
        if (!plan_.secure) session_->Admit(record.id).IgnoreError();
        break;
      case AssignmentState::kFailed:
        ++failed_;
        break;
      case AssignmentState::kExpired:
        break;
    }
    const AssignmentId id = record.id;
    assignments_.emplace(id, TrainingAssignment(std::move(record)));
  }
  if (plan_.secure && acknowledged_ > 0) {
    // Acknowledged together with the sum that holds them.
    Close();
    session_done_ = true;
    ExpireOpen();
    if (saved.empty()) {
      Fail("its sum was saved and cannot be read any more").IgnoreError();
    }
  } else if (IsFull()) {
    Close();
  }
}

RoundRecord Round::record() const {
  RoundRecord record;
  record.task = plan_.task;
  record.round = plan_.round;
  record.base_version = plan_.base_version;
  record.started_at = plan_.started_at;
  record.deadline = plan_.deadline;
  record.state = state_ == State::kCompleted ? RoundState::kCompleted
                 : state_ == State::kFailed  ? RoundState::kFailed
                                             : RoundState::kRunning;
  return record;
}

int64_t Round::wanted() const {
  if (state_ != State::kCollecting || plan_.sampled) return 0;
  return std::max<int64_t>(0, plan_.assigned - open_ - acknowledged_);
}

const TrainingAssignment* Round::Find(const AssignmentId& id) const {
  const auto found = assignments_.find(id);
  return found == assignments_.end() ? nullptr : &found->second;
}

absl::StatusOr<TrainingAssignment*> Round::FindOwn(const AssignmentId& id) {
  const auto found = assignments_.find(id);
  if (found != assignments_.end()) return &found->second;
  return absl::NotFoundError(
      StrCat("no assignment ", id.value(), " in round ", plan_.round.value()));
}

absl::Status Round::Move(Event event) {
  const std::optional<State> next = NextState(state_, event);
  if (!next.has_value()) {
    return absl::FailedPreconditionError(StrCat(
        "round ", plan_.round.value(), " of task ", plan_.task.value(), " is ",
        ToString(state_), ", where \"", ToString(event), "\" is not possible"));
  }
  state_ = *next;
  return absl::OkStatus();
}

absl::StatusOr<AssignmentRecord> Round::Assign(absl::Time now,
                                               const DeviceId& device,
                                               AssignmentOrdinal ordinal) {
  if (Knows(device)) {
    return absl::FailedPreconditionError(
        StrCat("device ", device.value(), " takes part in round ",
               plan_.round.value(), " already"));
  }
  MLEDGE_RETURN_IF_ERROR(Move(Event::kAssign));
  AssignmentRecord record;
  record.task = plan_.task;
  record.device = device;
  record.round = plan_.round;
  record.kind = AssignmentKind::kTrain;
  record.ordinal = ordinal;
  record.base_version = plan_.base_version;
  record.issued_at = now;
  record.expires_at = plan_.deadline;
  record.id = MakeAssignmentId(record);
  assignments_.emplace(record.id, TrainingAssignment(record));
  devices_.insert(device);
  ++open_;
  changes_.issued.push_back(record);
  return record;
}

absl::StatusOr<UpdateOutcome> Round::Acknowledge(absl::Time now,
                                                 const AssignmentId& id,
                                                 const Digest& content) {
  MLEDGE_ASSIGN_OR_RETURN(TrainingAssignment* const own, FindOwn(id));
  TrainingAssignment& assignment = *own;
  if (!assignment.open() || now >= assignment.record().expires_at ||
      state_ != State::kCollecting) {
    return JudgeUpdate(assignment.record(), content);
  }
  MLEDGE_RETURN_IF_ERROR(Move(Event::kAcknowledge));
  MLEDGE_RETURN_IF_ERROR(session_->Admit(id));
  MLEDGE_RETURN_IF_ERROR(assignment.Acknowledge(content));
  ++acknowledged_;
  Ended(assignment);
  if (IsFull()) Close();
  return UpdateOutcome::kAcknowledged;
}

absl::StatusOr<bool> Round::Ready(absl::Time now, const AssignmentId& id) {
  MLEDGE_ASSIGN_OR_RETURN(TrainingAssignment* const own, FindOwn(id));
  if (!own->open() || session_done_) return false;
  const bool closing = state_ == State::kClosing;
  if (!closing && (state_ != State::kCollecting || now >= plan_.deadline)) {
    return false;
  }
  gathering_.Add(id);
  // A session under way takes nobody in any more; there may be another.
  if (!closing && ready() >= plan_.target) Close();
  return true;
}

void Round::Settle(const SecureSessionEnd& end) {
  gathering_.End(end);
  SettleSession(
      end, assignments_, [this](const TrainingAssignment& assignment) {
        const bool counts =
            assignment.record().state == AssignmentState::kAcknowledged;
        ++(counts ? acknowledged_ : failed_);
        Ended(assignment);
      });
}

void Round::SessionDone(const SecureSessionEnd& end) {
  Settle(end);
  session_done_ = true;
  gathering_ = SecureGathering();
  ExpireOpen();
}

void Round::SessionAborted(absl::Time now, const SecureSessionEnd& end,
                           std::string_view reason) {
  Settle(end);
  if (now >= plan_.deadline) {
    Fail(StrCat("secure aggregation came to nothing: ", reason,
                "; the deadline is reached"))
        .IgnoreError();  // legal while closing
    return;
  }
  Move(Event::kReopen).IgnoreError();  // likewise
}

absl::Status Round::DeviceFails(const AssignmentId& id, std::string reason) {
  MLEDGE_ASSIGN_OR_RETURN(TrainingAssignment* const own, FindOwn(id));
  if (!own->open()) return absl::OkStatus();
  // Its update may be in the sum all the same: the session's end decides.
  if (gathering_.InSession(id)) return absl::OkStatus();
  gathering_.Remove(id);
  MLEDGE_RETURN_IF_ERROR(Move(Event::kDeviceFails));
  MLEDGE_RETURN_IF_ERROR(own->Fail(std::move(reason)));
  ++failed_;
  Ended(*own);
  return absl::OkStatus();
}

void Round::Tick(absl::Time now) {
  if (state_ != State::kCollecting) return;
  if (plan_.sampled) {
    if (IsFull()) Close();
    return;
  }
  if (now < plan_.deadline) {
    // After a session that came to nothing.
    if (plan_.secure && ready() >= plan_.target) Close();
    return;
  }
  const int64_t here = plan_.secure ? ready() : acknowledged_;
  if (here >= plan_.minimum) {
    Close();
    return;
  }
  Fail(StrCat(
           "deadline reached with ", here,
           plan_.secure ? " devices ready for secure aggregation" : " updates",
           " of at least ", plan_.minimum, "; ", assignments_.size(),
           " devices were assigned, ", failed_, " failed"))
      .IgnoreError();  // legal while collecting
}

absl::Status Round::Fail(std::string reason) {
  MLEDGE_RETURN_IF_ERROR(Move(Event::kFail));
  failure_ = std::move(reason);
  session_->Close();
  ExpireOpen();
  return absl::OkStatus();
}

absl::Status Round::BeginPublishing() { return Move(Event::kPublish); }

absl::Status Round::Published() { return Move(Event::kPublished); }

void Round::Close() {
  Move(Event::kClose).IgnoreError();  // callers are collecting
  if (plan_.secure) return;  // the others may be needed for another session
  session_->Close();
  ExpireOpen();
}

void Round::ExpireOpen() {
  if (open_ == 0) return;
  for (auto& [id, assignment] : assignments_) {
    if (assignment.Expire().ok()) Ended(assignment);
  }
}

void Round::Ended(const TrainingAssignment& assignment) {
  --open_;
  changes_.ended.push_back(assignment.record());
}

AssignmentChanges Round::TakeChanges() { return std::exchange(changes_, {}); }

std::string_view ToString(Round::State state) {
  switch (state) {
    case Round::State::kCollecting:
      return "collecting";
    case Round::State::kClosing:
      return "closing";
    case Round::State::kPublishing:
      return "publishing";
    case Round::State::kCompleted:
      return "completed";
    case Round::State::kFailed:
      return "failed";
  }
  return "unknown";
}

std::string_view ToString(Round::Event event) {
  switch (event) {
    case Round::Event::kAssign:
      return "assign";
    case Round::Event::kAcknowledge:
      return "acknowledge";
    case Round::Event::kDeviceFails:
      return "device fails";
    case Round::Event::kClose:
      return "close";
    case Round::Event::kFail:
      return "fail";
    case Round::Event::kReopen:
      return "reopen";
    case Round::Event::kPublish:
      return "publish";
    case Round::Event::kPublished:
      return "published";
  }
  return "unknown";
}

}  // namespace mledge
