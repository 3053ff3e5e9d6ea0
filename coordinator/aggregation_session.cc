#include "mledge/coordinator/aggregation_session.h"

#include <algorithm>
#include <utility>

#include "mledge/core/strings.h"

namespace mledge {

AggregationSession::AggregationSession(Options options,
                                       std::span<const AssignmentId> saved)
    : options_(options) {
  for (const AssignmentId& id : saved) stages_[id] = Stage::kSaved;
}

absl::Status AggregationSession::Admit(const AssignmentId& assignment) {
  if (stages_.contains(assignment)) {
    return absl::AlreadyExistsError(StrCat("the update of assignment ",
                                           assignment.value(),
                                           " was admitted before"));
  }
  if (closed_) {
    return absl::FailedPreconditionError(
        StrCat("the session is closed; the update of assignment ",
               assignment.value(), " came too late"));
  }
  stages_[assignment] = Stage::kAdmitted;
  ++waiting_;
  return absl::OkStatus();
}

std::vector<AssignmentId> AggregationSession::AtStage(Stage stage) const {
  std::vector<AssignmentId> ids;
  for (const auto& [id, at] : stages_) {
    if (at == stage) ids.push_back(id);
  }
  return ids;
}

std::vector<AssignmentId> AggregationSession::BeginFold() {
  if (busy() || waiting_ == 0) return {};
  if (!closed_ && waiting_ < options_.updates_per_fold) return {};
  std::vector<AssignmentId> batch = AtStage(Stage::kAdmitted);
  const auto most = static_cast<size_t>(
      std::max<int64_t>(1, options_.maximum_updates_per_fold));
  if (batch.size() > most) batch.resize(most);
  for (const AssignmentId& id : batch) stages_[id] = Stage::kFolding;
  under_way_ = batch;
  work_ = Work::kFold;
  return batch;
}

absl::Status AggregationSession::FinishFold() {
  if (work_ != Work::kFold) {
    return absl::FailedPreconditionError("no fold is under way");
  }
  for (const AssignmentId& id : under_way_) stages_[id] = Stage::kFolded;
  waiting_ -= static_cast<int64_t>(under_way_.size());
  unsaved_ += static_cast<int64_t>(under_way_.size());
  under_way_.clear();
  work_ = Work::kNone;
  return absl::OkStatus();
}

std::vector<AssignmentId> AggregationSession::BeginCheckpoint() {
  if (busy() || unsaved_ == 0) return {};
  if (unsaved_ < options_.updates_per_checkpoint) return {};
  under_way_ = AtStage(Stage::kFolded);
  work_ = Work::kCheckpoint;
  std::vector<AssignmentId> all = AtStage(Stage::kSaved);
  all.insert(all.end(), under_way_.begin(), under_way_.end());
  std::sort(all.begin(), all.end());
  return all;
}

absl::StatusOr<std::vector<AssignmentId>>
AggregationSession::FinishCheckpoint() {
  if (work_ != Work::kCheckpoint) {
    return absl::FailedPreconditionError("no checkpoint is under way");
  }
  for (const AssignmentId& id : under_way_) stages_[id] = Stage::kSaved;
  unsaved_ -= static_cast<int64_t>(under_way_.size());
  work_ = Work::kNone;
  return std::exchange(under_way_, {});
}

void AggregationSession::Abandon() {
  if (work_ == Work::kFold) {
    for (const AssignmentId& id : under_way_) stages_[id] = Stage::kAdmitted;
  }
  under_way_.clear();
  work_ = Work::kNone;
}

std::vector<AssignmentId> AggregationSession::Spooled() const {
  std::vector<AssignmentId> ids;
  for (const auto& [id, stage] : stages_) {
    if (stage != Stage::kSaved) ids.push_back(id);
  }
  return ids;
}

}  // namespace mledge
