// Private tasks: what may be unmasked, heads of ledgers that devices know, and
// what operators ask and decide.
#include <algorithm>
#include <utility>

#include "mledge/coordinator/internal/coordinator_impl.h"
#include "mledge/coordinator/internal/private_task_plan.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"

namespace mledge {
namespace {

v1::LedgerHead ToMessage(const Digest& task, const LedgerHead& head) {
  v1::LedgerHead message;
  message.set_task_sha256(task.ToBytes());
  message.set_sequence(head.sequence);
  message.set_hash(head.hash.ToBytes());
  return message;
}

absl::StatusOr<LedgerHead> FromMessage(int64_t sequence,
                                       const std::string& hash) {
  LedgerHead head = {.sequence = sequence};
  MLEDGE_ASSIGN_OR_RETURN(head.hash, Digest::FromBytes(hash));
  return head;
}

// A device works on few tasks at a time; more it may not show.
constexpr int kMostLedgerHeads = 64;

}  // namespace

SecretRandom& CoordinatorImpl::NoiseRandom() {
  static SystemSecretRandom& system = *new SystemSecretRandom();
  return dependencies_.privacy.random == nullptr
             ? system
             : *dependencies_.privacy.random;
}

std::optional<std::string> CoordinatorImpl::WhyNotPrivate() {
  if (!NoiseRandom().IsPredictable()) return std::nullopt;
  return "noise was drawn from a seed that others may know, as simulations do";
}

// Unmasking.

void CoordinatorImpl::ApproveUnmasking(
    TaskContext& context, const SecureSessionJob& job, uint32_t group,
    const std::vector<AssignmentId>& members,
    std::function<void(const absl::Status&)> approved) {
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<Effects> effects =
        context.run->UnmaskingIsDue(now_, job, group, members);
    if (effects.ok()) {
      Apply(context, *std::move(effects));
      batch_.answers.push_back(std::move(approved));
      Settle();
    } else {
      Later([approved = std::move(approved), refused = effects.status()] {
        approved(refused);
      });
    }
  }
  RunGathered();
}

// Heads that devices know.

void CoordinatorImpl::NoteLedgerHeads(DeviceRegistry::Entry& entry,
                                      const v1::CheckInRequest& request) {
  entry.ledger_heads.clear();
  int noted = 0;
  for (const v1::SignedMessage& shown : request.ledger_heads()) {
    if (++noted > kMostLedgerHeads) break;
    v1::LedgerHead message;
    if (!message.ParseFromString(shown.payload())) continue;
    const absl::StatusOr<LedgerHead> head =
        FromMessage(message.sequence(), message.hash());
    if (!head.ok()) continue;
    for (auto& [id, context] : tasks_) {
      const TaskPrivacy* const privacy = context->run->privacy();
      if (privacy == nullptr || context->run->ended() ||
          context->task_sha256.ToBytes() != message.task_sha256()) {
        continue;
      }
      if (privacy->ledger().Compare(*head) == Ledger::Relation::kKnown) {
        entry.ledger_heads[id] = *head;
        continue;
      }
      // Only what this coordinator said itself counts against it, or any device
      // could stop any task.
      if (const absl::Status own =
              dependencies_.privacy.verify_ledger_head(shown, now_);
          !own.ok()) {
        LOG(WARNING) << "device " << entry.record.id
                     << " shows a head of the privacy ledger of task " << id
                     << " that this coordinator has not signed: " << own;
        continue;
      }
      PauseForLedger(*context, *head);
    }
  }
  for (const auto& [id, head] : entry.ledger_heads) {
    TaskContext& context = *tasks_.at(id);
    // Only of devices that the task could have had in its rounds.
    if (entry.role != Peer::Role::kDevice ||
        entry.record.population != context.run->plan().population) {
      continue;
    }
    Apply(context, context.run->LedgerIsKnown(now_, head));
  }
}

void CoordinatorImpl::PauseForLedger(TaskContext& context,
                                     const LedgerHead& lost) {
  Apply(context, context.run->LedgerIsBehind(now_, lost));
  if (context.secure != nullptr) {
    WithSessions(context, [now = now_](SecureSessions& sessions) {
      sessions.Abort(now, "the task's privacy ledger is an older copy");
    });
  }
}

absl::Status CoordinatorImpl::AddLedger(TaskContext& context,
                                        const DeviceId& device,
                                        v1::Assignment* assignment) {
  const TaskPrivacy* const privacy = context.run->privacy();
  if (privacy == nullptr) return absl::OkStatus();
  const Ledger& ledger = privacy->ledger();
  const v1::LedgerHead head = ToMessage(context.task_sha256, ledger.head());
  v1::AssignmentLedger& message = *assignment->mutable_ledger();
  // Signed once for all devices that are shown it.
  if (context.signed_ledger_head.payload() != head.SerializeAsString()) {
    absl::StatusOr<v1::SignedMessage> signed_head =
        dependencies_.privacy.sign_ledger_head(head);
    if (!signed_head.ok()) {
      return absl::UnavailableError(
          StrCat("the coordinator cannot sign the head of the privacy ledger "
                 "of task ",
                 context.id().value(), ": ", signed_head.status().message()));
    }
    context.signed_ledger_head = *std::move(signed_head);
  }
  *message.mutable_head() = context.signed_ledger_head;
  const DeviceRegistry::Entry& entry = devices_.FindOrAdd(device);
  if (const auto known = entry.ledger_heads.find(context.id());
      known != entry.ledger_heads.end()) {
    for (const Ledger::Link& link : ledger.LinksAfter(known->second)) {
      v1::AssignmentLedger::Link& added = *message.add_links();
      added.set_sequence(link.sequence);
      added.set_entry_sha256(link.entry.ToBytes());
    }
  }
  if (const v1::LedgerAdoption* const adoption = ledger.last_adoption()) {
    message.mutable_adoption()->ParseFromString(adoption->signed_adoption());
  }
  return absl::OkStatus();
}

absl::StatusOr<double> CoordinatorImpl::EpsilonSpent(TaskContext& context) {
  absl::StatusOr<Spending> spending;
  {
    MutexLock lock(&mutex_);
    const TaskPrivacy& privacy = *context.run->privacy();
    // Where the noise is the devices', the sum was paid for before.
    const v1::LedgerCharge next =
        privacy.plan().ChargeAt(context.run->record().version.value());
    spending =
        SpendingUnder(*context.private_task, privacy.ledger(),
                      privacy.plan().charged_with_version ? &next : nullptr);
  }
  MLEDGE_RETURN_IF_ERROR(spending.status());
  std::pair<int64_t, double>& last = context.epsilon_after;
  if (!spending->as_scheduled || spending->lost_charges > 0 ||
      spending->participations != last.first) {
    MLEDGE_ASSIGN_OR_RETURN(const v1::PrivacyClaim claim,
                            SpentClaim(*context.private_task, *spending,
                                       Observer::kModelRecipients));
    last = {spending->participations, claim.epsilon()};
  }
  return last.second;
}

std::string CoordinatorImpl::WhyNeverAgain(
    const DeviceRegistry::Entry& entry) const {
  if (entry.role != Peer::Role::kDevice) return "";
  std::string why;
  for (const auto& [id, context] : tasks_) {
    const TaskRun& run = *context->run;
    if (run.ended() || run.plan().population != entry.record.population) {
      continue;
    }
    if (run.MayEverTrain(entry.record.id)) return "";
    why = StrCat("this device has had all its participations in task ",
                 id.value());
  }
  return why;
}

// Operators.

absl::StatusOr<v1::GetPrivacyLedgerResponse> CoordinatorImpl::GetPrivacyLedger(
    const TaskId& task) {
  std::optional<Ledger> ledger;
  std::shared_ptr<const PrivateTask> private_task;
  v1::Task signed_task;
  std::shared_ptr<const ParameterLayout> layout;
  v1::GetPrivacyLedgerResponse response;
  {
    MutexLock lock(&mutex_);
    MLEDGE_ASSIGN_OR_RETURN(const TaskContext* const context, FindTask(task));
    const TaskPrivacy* const privacy = context->run->privacy();
    if (privacy == nullptr) {
      return absl::FailedPreconditionError(
          StrCat("task \"", task.value(),
                 "\" has no differential privacy: nothing is claimed of what "
                 "its models tell about devices"));
    }
    ledger = privacy->ledger();
    private_task = context->private_task;
    signed_task = context->task;
    layout = context->layout;
    *response.mutable_lost_head() =
        ToMessage(context->task_sha256, context->run->record().lost_head);
    *response.mutable_head() = ToMessage(context->task_sha256, ledger->head());
  }
  // Accounting takes its time, so without the lock.
  if (private_task == nullptr) {
    MLEDGE_ASSIGN_OR_RETURN(PrivateTask resolved,
                            ResolveNumbers(signed_task, *layout,
                                           dependencies_.privacy.noise_cohort));
    private_task = std::make_shared<const PrivateTask>(std::move(resolved));
  }
  MLEDGE_RETURN_IF_ERROR(AddAccounts(*private_task, *ledger, &response));
  for (const v1::LedgerEntry& entry : ledger->entries()) {
    *response.add_entries() = entry;
  }
  return response;
}

void CoordinatorImpl::AdoptPrivacyLedger(
    absl::Time now, Adoption adoption,
    Done<v1::AdoptPrivacyLedgerResponse> done) {
  const absl::Status adopted = [&]() -> absl::Status {
    const v1::LedgerAdoptionStatement& statement = adoption.statement;
    MLEDGE_ASSIGN_OR_RETURN(
        const LedgerHead own,
        FromMessage(statement.own_sequence(), statement.own_hash()));
    MLEDGE_RETURN_IF_ERROR(
        FromMessage(statement.lost_sequence(), statement.lost_hash()).status());
    v1::LedgerAdoption entry;
    entry.set_operator_id(adoption.operator_id);
    entry.set_sequence(statement.lost_sequence());
    entry.set_head(statement.lost_hash());
    entry.set_signed_adoption(adoption.signed_adoption.SerializeAsString());
    MutexLock lock(&mutex_);
    now = Advance(now);
    MLEDGE_RETURN_IF_ERROR(Available());
    for (auto& [id, context] : tasks_) {
      if (context->task_sha256.ToBytes() != statement.task_sha256()) continue;
      const TaskPrivacy* const privacy = context->run->privacy();
      if (privacy == nullptr) continue;
      if (privacy->ledger().head() != own) {
        return absl::FailedPreconditionError(
            StrCat("the ledger of task ", id.value(), " ends with entry ",
                   privacy->ledger().head().sequence,
                   ", not with the one that was signed; look at it again"));
      }
      MLEDGE_ASSIGN_OR_RETURN(Effects effects,
                              context->run->AdoptLedger(now, std::move(entry)));
      LOG(WARNING) << "task " << id << ": operator " << adoption.operator_id
                   << " adopts entry " << statement.lost_sequence()
                   << " of its privacy ledger; what was lost counts as spent";
      Apply(*context, std::move(effects));
      AnswerWhenDurable(done, v1::AdoptPrivacyLedgerResponse());
      Settle();
      return absl::OkStatus();
    }
    return absl::NotFoundError(
        "no private task here is the one that the adoption was signed for");
  }();
  if (!adopted.ok()) {
    done(adopted);
    return;
  }
  RunGathered();
}

}  // namespace mledge
