#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "mledge/coordinator/internal/secure_sessions.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

// What the session under way asks for, and how it ends.

namespace mledge {
namespace {

// A registrar that does not answer.
constexpr absl::Duration kAskAgainAfter = absl::Seconds(1);

}  // namespace

void SecureSessions::Apply(absl::Time now, secagg::ServerEffects effects) {
  for (secagg::ServerEffect& effect : effects) {
    std::visit([&](auto& e) { Do(now, e); }, effect);
  }
  if (session_ != nullptr && server_ != nullptr && EveryGroupHasEnded()) {
    Finish();
  }
}

// A group with a sum ends for the server only when that is saved.
bool SecureSessions::EveryGroupHasEnded() const {
  if (server_->group(0) == nullptr) return server_->finished();
  for (uint32_t group = 0; server_->group(group) != nullptr; ++group) {
    if (!ended_groups_.contains(group)) return false;
  }
  return true;
}

void SecureSessions::Do(absl::Time, secagg::SendToDevices& effect) {
  v1::SecureAggregationResponse response;
  const bool same_for_all = effect.message != nullptr;
  if (same_for_all) *response.mutable_secagg() = *effect.message;
  for (const DeviceId& device : effect.devices) {
    const auto assignment = assignment_of_.find(device);
    if (assignment == assignment_of_.end() ||
        !streams_.Has(assignment->second)) {
      continue;
    }
    if (same_for_all ||
        (server_ != nullptr &&
         server_->MessageFor(effect, device, *response.mutable_secagg()))) {
      streams_.Send(assignment->second, response);
    }
  }
}

template <typename Statement>
std::function<void(absl::StatusOr<Statement>)> SecureSessions::WhenWitnessed(
    absl::Time now, std::function<void()> ask_again,
    std::function<secagg::ServerEffects(
        absl::Time now, const absl::StatusOr<Statement>& statement)>
        pass_on) {
  return InSession<Statement>(
      now,
      [this, ask_again = std::move(ask_again), pass_on = std::move(pass_on)](
          absl::Time later, absl::StatusOr<Statement> statement) {
        if (server_ == nullptr) return;
        if (absl::IsUnavailable(statement.status()) ||
            absl::IsDeadlineExceeded(statement.status())) {
          // Asking is harmless; the session's own deadline ends it.
          LOG(WARNING) << "the registrar: " << statement.status();
          ask_again_.push_back(ask_again);
          environment_.wake_at(later + kAskAgainAfter);
          return;
        }
        Apply(later, pass_on(later, statement));
      });
}

void SecureSessions::Do(absl::Time now, secagg::RequestWitness& effect) {
  environment_.services->witness->WitnessDirectory(
      effect.task, effect.session_number, effect.directory,
      WhenWitnessed<WitnessStatement>(
          now, [this, now, effect]() mutable { Do(now, effect); },
          [this](absl::Time later,
                 const absl::StatusOr<WitnessStatement>& statement) {
            return server_->OnWitnessed(later, statement);
          }));
}

void SecureSessions::Do(absl::Time now, secagg::RequestSetsWitness& effect) {
  environment_.services->witness->WitnessSets(
      effect.task, effect.session_number, effect.group, effect.session,
      effect.sets,
      WhenWitnessed<SetsStatement>(
          now, [this, now, effect]() mutable { Do(now, effect); },
          [this, group = effect.group](
              absl::Time later,
              const absl::StatusOr<SetsStatement>& statement) {
            return server_->OnSetsWitnessed(later, group, statement);
          }));
}

void SecureSessions::Do(absl::Time now, secagg::ApproveUnmask& effect) {
  if (environment_.approve_unmask == nullptr) {
    Apply(now, server_->OnUnmaskApproved(now, effect.group, absl::OkStatus()));
    return;
  }
  std::vector<AssignmentId> members;
  for (const DeviceId& device : effect.devices) {
    members.push_back(assignment_of_.at(device));
  }
  environment_.approve_unmask(
      session_->job, effect.group, std::move(members),
      [weak = weak_from_this(), now, number = session_->job.session_number,
       group = effect.group](const absl::Status& status) {
        const std::shared_ptr<SecureSessions> self = weak.lock();
        if (self == nullptr) return;
        self->Run([raw = self.get(), now, number, group, status] {
          if (raw->session_ == nullptr || raw->server_ == nullptr ||
              raw->session_->job.session_number != number) {
            return;
          }
          const absl::Time later = raw->Now(now);
          raw->Apply(later,
                     raw->server_->OnUnmaskApproved(later, group, status));
        });
      });
}

void SecureSessions::Do(absl::Time, secagg::WakeServerAt& effect) {
  environment_.wake_at(effect.time);
}

void SecureSessions::Lose(const std::vector<secagg::LostDevice>& devices) {
  for (const secagg::LostDevice& lost : devices) {
    LOG(WARNING) << "secure aggregation of round " << session_->job.round
                 << ": device " << lost.device << " was lost at "
                 << secagg::ToString(lost.round) << ": "
                 << absl::CHexEscape(lost.reason);
    const auto assignment = assignment_of_.find(lost.device);
    if (assignment == assignment_of_.end()) continue;
    result_.end.lost[assignment->second] =
        StrCat("was lost at \"", secagg::ToString(lost.round),
               "\" of secure aggregation");
  }
}

void SecureSessions::Do(absl::Time, secagg::GroupFinished& effect) {
  ended_groups_.insert(effect.group);
  Lose(effect.lost);
  const absl::Status added = [&]() -> absl::Status {
    MLEDGE_ASSIGN_OR_RETURN(
        const AggregationSum sum,
        KindOfSession().codec.Decode(
            effect.sum, static_cast<int64_t>(effect.counted.size())));
    return result_.sum->Merge(sum);
  }();
  if (!added.ok()) {
    aborted_.push_back(std::string(added.message()));
    return;
  }
  finished_groups_.push_back(effect.group);
  for (const DeviceId& device : effect.counted) {
    const AssignmentId& assignment = assignment_of_.at(device);
    result_.end.counted[assignment] = inputs_.at(assignment);
  }
}

void SecureSessions::Do(absl::Time, secagg::GroupAborted& effect) {
  ended_groups_.insert(effect.group);
  Lose(effect.lost);
  aborted_.push_back(std::string(effect.reason.message()));
}

void SecureSessions::Finish() {
  for (const std::string& reason : aborted_) {
    LOG(WARNING) << "secure aggregation of round " << session_->job.round
                 << ": " << reason;
  }
  for (const auto& [assignment, content] : result_.end.counted) {
    result_.end.lost.erase(assignment);
  }
  for (const auto& [assignment, content] : inputs_) {
    if (!result_.end.counted.contains(assignment)) {
      result_.end.lost[assignment] =
          "its update was used up in a session of secure aggregation that "
          "came to no sum with it";
    }
  }
  if (result_.end.counted.empty()) {
    result_.status =
        absl::AbortedError(aborted_.empty() ? "no device was left"
                                            : absl::StrJoin(aborted_, "; "));
  }
  // With a sum, the server stays until it is saved, to tell the devices.
  if (!result_.status.ok()) server_.reset();
  session_.reset();
  if (Done done = std::exchange(done_, nullptr)) done(std::move(result_));
}

}  // namespace mledge
