#include "mledge/client/privacy_ledger.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/matrix/participation.h"

namespace mledge {
namespace {

constexpr size_t kMostHeads = 64;

absl::StatusOr<LedgerHead> HeadOf(int64_t sequence, const std::string& hash) {
  LedgerHead head = {.sequence = sequence};
  MLEDGE_ASSIGN_OR_RETURN(head.hash, Digest::FromBytes(hash));
  return head;
}

ParticipationRecord ParticipationsOf(const v1::DevicePrivacyRecord& record) {
  ParticipationRecord participations = {.participations =
                                            record.participations()};
  if (record.has_last_step()) participations.last_round = record.last_step();
  return participations;
}

// Whether the links lead from `head` to `wanted`.
bool Leads(LedgerHead head, const std::vector<Ledger::Link>& links,
           const LedgerHead& wanted) {
  for (const Ledger::Link& link : links) {
    if (link.sequence <= head.sequence) return false;
    head = ExtendLedger(head, link.sequence, link.entry);
  }
  return head == wanted;
}

}  // namespace

absl::Status CheckPrivacyPolicy(const PrivateTask* task,
                                const PrivacyPolicy& policy,
                                const ClaimLookup& claim) {
  constexpr std::string_view kWhere =
      "this device's configuration says so under `privacy`";
  if (task == nullptr) {
    if (!policy.require.has_value()) return absl::OkStatus();
    return absl::FailedPreconditionError(StrCat(
        "the task has no differential privacy, and this device takes "
        "part only where it is protected against ",
        *policy.require == Observer::kCoordinator ? "the coordinator"
                                                  : "those who receive models",
        ": ", kWhere));
  }
  if (task->delta > policy.delta_limit) {
    return absl::FailedPreconditionError(
        StrCat("the task's delta is ", task->delta, ", this device allows ",
               policy.delta_limit, ": ", kWhere));
  }
  const Observer observer = policy.require.value_or(Observer::kModelRecipients);
  if (!policy.require.has_value() && std::isinf(policy.epsilon_limit)) {
    return absl::OkStatus();
  }
  MLEDGE_ASSIGN_OR_RETURN(const v1::PrivacyClaim promised, claim(observer));
  if (promised.epsilon() <= policy.epsilon_limit) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("the task may spend epsilon ", promised.epsilon(), " at delta ",
             task->delta, " of this device against ",
             observer == Observer::kCoordinator ? "the coordinator"
                                                : "those who receive models",
             ", in ", task->limits.participations,
             " participations; this device allows ", policy.epsilon_limit, ": ",
             kWhere));
}

absl::StatusOr<PrivacyLedger> PrivacyLedger::Restore(
    const std::map<Digest, std::string>& records) {
  PrivacyLedger ledger;
  for (const auto& [task, bytes] : records) {
    v1::DevicePrivacyRecord record;
    const bool readable =
        record.ParseFromString(bytes) && record.participations() >= 0 &&
        record.GetReflection()->GetUnknownFields(record).empty() &&
        (!record.has_head() ||
         HeadOf(record.head().sequence(), record.head().hash()).ok());
    if (!readable) {
      return absl::DataLossError(StrCat(
          "the device's record of the private task ", task.ToHex(),
          " is damaged, or was written by a newer version. It says how often "
          "this device took part and must not be forgotten: run the newer "
          "version, or give the device a new identity and state directory"));
    }
    ledger.records_[task] = std::move(record);
  }
  return ledger;
}

std::vector<v1::SignedMessage> PrivacyLedger::Heads() const {
  std::vector<const v1::DevicePrivacyRecord*> records;
  for (const auto& [task, record] : records_) {
    if (record.has_signed_head()) records.push_back(&record);
  }
  std::sort(records.begin(), records.end(), [](const auto* a, const auto* b) {
    return a->last_use() > b->last_use();
  });
  if (records.size() > kMostHeads) records.resize(kMostHeads);
  std::vector<v1::SignedMessage> heads;
  heads.reserve(records.size());
  for (const auto* record : records) heads.push_back(record->signed_head());
  return heads;
}

absl::Status PrivacyLedger::CheckShown(const Digest& task,
                                       const ShownLedger& shown) const {
  if (shown.head.task_sha256() != task.ToBytes()) {
    return absl::InvalidArgumentError(
        "the head of the privacy ledger is another task's");
  }
  MLEDGE_ASSIGN_OR_RETURN(const LedgerHead head,
                          HeadOf(shown.head.sequence(), shown.head.hash()));
  const auto record = records_.find(task);
  if (record == records_.end() || !record->second.has_head()) {
    return absl::OkStatus();
  }
  MLEDGE_ASSIGN_OR_RETURN(
      const LedgerHead known,
      HeadOf(record->second.head().sequence(), record->second.head().hash()));
  // The links may begin below what the device has learnt since.
  if (known == head || Leads(known, shown.links, head)) {
    return absl::OkStatus();
  }
  if (shown.adoption.has_value()) {
    const v1::LedgerAdoptionStatement& adoption = *shown.adoption;
    MLEDGE_ASSIGN_OR_RETURN(
        const LedgerHead own,
        HeadOf(adoption.own_sequence(), adoption.own_hash()));
    MLEDGE_ASSIGN_OR_RETURN(
        const LedgerHead lost,
        HeadOf(adoption.lost_sequence(), adoption.lost_hash()));
    const bool covered = known == lost || known.sequence < lost.sequence;
    if (adoption.task_sha256() == task.ToBytes() && covered &&
        Leads(own, shown.links, head)) {
      return absl::OkStatus();
    }
  }
  return absl::FailedPreconditionError(StrCat(
      "the coordinator's privacy ledger of this task ends with entry ",
      head.sequence,
      " and does not hold what this device was shown up to "
      "entry ",
      known.sequence,
      ": it has gone back, perhaps to a restored copy, or is another one. An "
      "operator can adopt it (`mledge privacy adopt`)"));
}

absl::Status PrivacyLedger::MayParticipate(
    const PrivateTask& task, const Participation& participation) const {
  const auto found = records_.find(participation.task);
  if (found == records_.end()) {
    return Participate(task.limits, {}, participation.step).status();
  }
  const v1::DevicePrivacyRecord& record = found->second;
  return Annotate(
      Participate(task.limits, ParticipationsOf(record), participation.step)
          .status(),
      "this device's own ledger");
}

absl::StatusOr<std::string> PrivacyLedger::Charge(
    const PrivateTask& task, const Participation& participation,
    const ShownLedger& shown) {
  MLEDGE_RETURN_IF_ERROR(MayParticipate(task, participation));
  int64_t last_use = 0;
  for (const auto& [id, record] : records_) {
    last_use = std::max(last_use, record.last_use());
  }
  v1::DevicePrivacyRecord& record = records_[participation.task];
  MLEDGE_ASSIGN_OR_RETURN(
      const ParticipationRecord after,
      Participate(task.limits, ParticipationsOf(record), participation.step));
  record.set_participations(after.participations);
  record.set_last_step(participation.step);
  *record.mutable_signed_head() = shown.signed_head;
  *record.mutable_head() = shown.head;
  record.set_last_use(last_use + 1);
  return record.SerializeAsString();
}

int64_t PrivacyLedger::participations(const Digest& task) const {
  const auto record = records_.find(task);
  return record == records_.end() ? 0 : record->second.participations();
}

}  // namespace mledge
