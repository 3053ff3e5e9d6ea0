// Check-ins and blobs.
#include <algorithm>
#include <memory>
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {
namespace {

constexpr uint32_t kProtocolVersion = 1;

v1::CheckInResponse ComeBackResponse(absl::Duration after, std::string reason) {
  v1::CheckInResponse response;
  response.mutable_come_back()->set_after_milliseconds(
      absl::ToInt64Milliseconds(after));
  response.mutable_come_back()->set_reason(std::move(reason));
  return response;
}

// What a device says of itself is stored with every assignment that it gets.
absl::Status CheckStrings(const v1::CheckInRequest& request) {
  constexpr size_t kLongestSoftware = 512;
  if (request.software().size() > kLongestSoftware) {
    return absl::InvalidArgumentError(
        StrCat("software has ", request.software().size(), " bytes, at most ",
               kLongestSoftware, " are taken"));
  }
  if (request.population().empty()) return absl::OkStatus();
  return ValidateId("population", request.population());
}

std::string_view RoleName(Peer::Role role) {
  return role == Peer::Role::kEvaluator ? "evaluator" : "device";
}

}  // namespace

void CoordinatorImpl::CheckIn(absl::Time now, const Peer& peer,
                              const v1::CheckInRequest& request,
                              absl::Time wait_until,
                              Done<v1::CheckInResponse> done) {
  if (request.protocol_version() != kProtocolVersion) {
    v1::CheckInResponse response;
    response.mutable_version_mismatch()->set_minimum_protocol_version(
        kProtocolVersion);
    response.mutable_version_mismatch()->set_maximum_protocol_version(
        kProtocolVersion);
    done(std::move(response));
    return;
  }
  absl::Status refused = CheckStrings(request);
  if (!refused.ok()) {
    done(refused);
    return;
  }
  {
    MutexLock lock(&mutex_);
    now = Advance(now);
    refused = Available();
    DeviceRegistry::Entry& entry = devices_.FindOrAdd(peer.id);
    if (refused.ok() && entry.held.has_value() && entry.role != peer.role) {
      refused = absl::PermissionDeniedError(StrCat(
          peer.id.value(), " holds an assignment as ", RoleName(entry.role),
          " and checks in as ", RoleName(peer.role)));
    }
    if (refused.ok()) {
      const std::string population =
          request.population().empty() ? "default" : request.population();
      entry.record.last_seen = now;
      entry.record.software = request.software();
      const bool moved = entry.waits && (entry.role != peer.role ||
                                         entry.record.population != population);
      entry.role = peer.role;
      entry.record.role = std::string(RoleName(peer.role));
      entry.record.population = population;
      if (moved) {
        for (auto& [id, task] : tasks_) task->run->DeviceLeaves(peer.id);
        AnswerComeBack(devices_.StopWaiting(entry),
                       "a later check-in took its place");
      }
      NoteLedgerHeads(entry, request);
      Wait(entry, wait_until, done);
      Settle();
    }
  }
  if (!refused.ok()) {
    done(refused);
    return;
  }
  RunGathered();
}

void CoordinatorImpl::Wait(DeviceRegistry::Entry& entry, absl::Time wait_until,
                           Done<v1::CheckInResponse> done) {
  if (entry.held.has_value()) {
    // The same again, as long as it is worth anything.
    TaskContext& context = *tasks_.at(entry.held->task);
    const AssignmentRecord* const record =
        context.run->FindAssignment(entry.held->assignment);
    if (record != nullptr && record->state == AssignmentState::kIssued &&
        now_ < record->expires_at) {
      if (context.run->Withholds(record->id)) {
        AnswerComeBack(std::move(done),
                       "its round waits for a device that knows the privacy "
                       "ledger's head");
        return;
      }
      AnswerAssignment(context, *record, std::move(done));
      return;
    }
    entry.held.reset();
  }
  if (std::string why = WhyNeverAgain(entry); !why.empty()) {
    AnswerComeBack(devices_.StopWaiting(entry), options_.come_back_late, why);
    AnswerComeBack(std::move(done), options_.come_back_late, std::move(why));
    return;
  }
  const bool new_here = !entry.waits;
  Done<v1::CheckInResponse> earlier = std::exchange(entry.parked, nullptr);
  // Out of mind when it stays away for longer than it was told to.
  const absl::Time waits_until = std::max(wait_until, now_) +
                                 2 * options_.come_back_after +
                                 absl::Seconds(1);
  devices_.Wait(entry, wait_until > now_ ? done : nullptr, wait_until,
                waits_until);
  if (earlier != nullptr) {
    AnswerComeBack(std::move(earlier), "a later check-in took its place");
  }
  if (new_here) {
    for (auto& [id, context] : tasks_) AddWaiting(*context, entry);
  }
  if (wait_until > now_) return;
  // Nobody stays on the line: it is handed something now or told to come back.
  entry.parked = done;
  Settle();
  if (entry.parked != nullptr) {
    entry.parked = nullptr;
    AnswerComeBack(std::move(done), "no work at the moment");
  }
}

void CoordinatorImpl::AddWaiting(TaskContext& context,
                                 DeviceRegistry::Entry& entry) {
  TaskRun& run = *context.run;
  if (run.ended() || entry.record.population != run.plan().population) return;
  if (entry.role == Peer::Role::kEvaluator) {
    run.EvaluatorWaits(entry.record.id);
    return;
  }
  const auto ordinal = entry.record.assignments.find(context.id());
  const auto last = entry.record.last_assigned.find(context.id());
  run.DeviceWaits(
      now_,
      {.device = entry.record.id,
       .next_ordinal = AssignmentOrdinal(
           ordinal == entry.record.assignments.end() ? 0 : ordinal->second)},
      last == entry.record.last_assigned.end() ? absl::InfinitePast()
                                               : last->second);
}

void CoordinatorImpl::AnswerComeBack(Done<v1::CheckInResponse> done,
                                     absl::Duration after, std::string reason) {
  if (done == nullptr) return;
  // Promises nothing, so it waits for no commit.
  Later([done = std::move(done),
         response = ComeBackResponse(after, std::move(reason))]() mutable {
    done(std::move(response));
  });
}

void CoordinatorImpl::AnswerAssignment(TaskContext& context,
                                       const AssignmentRecord& record,
                                       Done<v1::CheckInResponse> done) {
  v1::CheckInResponse response;
  *response.mutable_assignment() = MakeAssignmentMessage(context, record);
  const absl::Status added =
      AddLedger(context, record.device, response.mutable_assignment());
  if (!added.ok()) {
    // The device keeps the assignment, and is told of it when it asks again.
    LOG(ERROR) << "device " << record.device
               << " gets no assignment: " << added;
    Later([done = std::move(done), added] { done(added); });
    return;
  }
  AnswerWhenDurable(std::move(done), std::move(response));
}

namespace {

// Counts what is read for the task.
class CountingReader final : public BlobReader {
 public:
  CountingReader(std::shared_ptr<const BlobReader> reader,
                 std::shared_ptr<std::atomic<uint64_t>> bytes)
      : reader_(std::move(reader)), bytes_(std::move(bytes)) {}
  uint64_t size_in_bytes() const override { return reader_->size_in_bytes(); }
  absl::StatusOr<std::string> Read(uint64_t offset,
                                   uint64_t size) const override {
    absl::StatusOr<std::string> bytes = reader_->Read(offset, size);
    if (bytes.ok()) bytes_->fetch_add(bytes->size());
    return bytes;
  }

 private:
  const std::shared_ptr<const BlobReader> reader_;
  const std::shared_ptr<std::atomic<uint64_t>> bytes_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const BlobReader>> CoordinatorImpl::OpenBlob(
    const Peer& peer, const Digest& name) {
  std::shared_ptr<std::atomic<uint64_t>> bytes_sent;
  {
    MutexLock lock(&mutex_);
    MLEDGE_RETURN_IF_ERROR(Available());
    const auto found = fetchable_.find(name);
    if (found == fetchable_.end()) {
      return absl::NotFoundError(
          StrCat("no running task has a blob ", name.ToHex()));
    }
    // Two tasks may share a package: it counts for the one that is worked on.
    const DeviceRegistry::Entry& entry = devices_.FindOrAdd(peer.id);
    const TaskContext& context =
        entry.held.has_value() ? *tasks_.at(entry.held->task) : *found->second;
    bytes_sent = context.bytes_sent;
  }
  MLEDGE_ASSIGN_OR_RETURN(std::shared_ptr<const BlobReader> reader,
                          dependencies_.storage->OpenBlob(name));
  return std::make_shared<CountingReader>(std::move(reader),
                                          std::move(bytes_sent));
}

}  // namespace mledge
