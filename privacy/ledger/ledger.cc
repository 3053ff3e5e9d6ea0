#include "mledge/privacy/ledger/ledger.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/string_view.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/event_codec.h"
#include "mledge/privacy/matrix/participation.h"

namespace mledge {
namespace {

constexpr std::string_view kEmptyLedger("mledge/v1/empty-ledger\0", 23);
constexpr std::string_view kLedgerEntry("mledge/v1/ledger-entry\0", 23);

constexpr std::string_view kRemedy =
    "; restore the newest backup of the state directory, whose ledger is whole";

absl::Status Refuse(std::string message) {
  return absl::InvalidArgumentError(StrCat("ledger entry: ", message));
}

template <typename Message>
absl::Status CheckKnown(const Message& message) {
  if (message.GetReflection()->GetUnknownFields(message).empty()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      StrCat("unknown field in ", message.GetDescriptor()->name(),
             ": a newer version wrote it; run that one"));
}

absl::Status CheckDigest(std::string_view what, const std::string& bytes) {
  return Annotate(Digest::FromBytes(bytes).status(), what);
}

// Of a schedule or a charge.
template <typename Message>
absl::Status ValidateExposure(const Message& message) {
  if (!message.has_participation() && !message.has_once()) {
    return Refuse("it exposes nobody to anything");
  }
  if (message.has_participation()) {
    MLEDGE_RETURN_IF_ERROR(DecodeEvent(message.participation()).status());
  }
  return message.has_once() ? DecodeEvent(message.once()).status()
                            : absl::OkStatus();
}

absl::Status Validate(const v1::LedgerSchedule& schedule) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(schedule));
  MLEDGE_RETURN_IF_ERROR(CheckDigest("task_sha256", schedule.task_sha256()));
  MLEDGE_RETURN_IF_ERROR(
      ValidateParticipationLimits({.rounds = schedule.rounds(),
                                   .participations = schedule.participations(),
                                   .separation = schedule.separation()}));
  if (!(schedule.delta() > 0 && schedule.delta() < 1)) {
    return Refuse(StrCat("delta is ", schedule.delta(), ", not within 0 to 1"));
  }
  if (schedule.has_epsilon_limit() && !(schedule.epsilon_limit() > 0)) {
    return Refuse(StrCat("epsilon_limit is ", schedule.epsilon_limit(),
                         ", not greater than 0"));
  }
  MLEDGE_RETURN_IF_ERROR(DecodeAdjacency(schedule.adjacency()).status());
  MLEDGE_RETURN_IF_ERROR(ValidateExposure(schedule));
  return DecodeEvent(schedule.event()).status();
}

absl::Status Validate(const v1::LedgerCharge& charge) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(charge));
  if (charge.round() < 1 || charge.step() < 0 || charge.devices() < 1) {
    return Refuse(StrCat("a charge of round ", charge.round(), ", step ",
                         charge.step(), ", for ", charge.devices(),
                         " devices"));
  }
  return ValidateExposure(charge);
}

absl::Status Validate(const v1::LedgerAdoption& adoption) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(adoption));
  MLEDGE_RETURN_IF_ERROR(CheckDigest("head", adoption.head()));
  if (adoption.sequence() < 1 || adoption.lost_charges() < 0 ||
      adoption.operator_id().empty()) {
    return Refuse("an adoption without head, operator or lost charges");
  }
  return absl::OkStatus();
}

}  // namespace

LedgerHead EmptyLedgerHead(const Digest& task) {
  return {0, Sha256().Update(kEmptyLedger).Update(task.bytes).Finish()};
}

LedgerHead ExtendLedger(const LedgerHead& before, int64_t sequence,
                        const Digest& entry) {
  return {sequence, Sha256()
                        .Update(kLedgerEntry)
                        .Update(before.hash.bytes)
                        .UpdateU64(static_cast<uint64_t>(sequence))
                        .Update(entry.bytes)
                        .Finish()};
}

absl::Status ValidateLedgerEntry(const v1::LedgerEntry& entry) {
  MLEDGE_RETURN_IF_ERROR(CheckKnown(entry));
  switch (entry.kind_case()) {
    case v1::LedgerEntry::kSchedule:
      return Validate(entry.schedule());
    case v1::LedgerEntry::kCharge:
      return Validate(entry.charge());
    case v1::LedgerEntry::kAdoption:
      return Validate(entry.adoption());
    case v1::LedgerEntry::kNotPrivate:
      return CheckKnown(entry.not_private());
    case v1::LedgerEntry::KIND_NOT_SET:
      return Refuse("it has no kind");
  }
  return Refuse("it has no kind");
}

absl::Status Ledger::CheckPlace(const v1::LedgerEntry& entry) const {
  if (entry.has_schedule() != entries_.empty()) {
    return Refuse(entries_.empty()
                      ? "a ledger begins with the task's schedule"
                      : "a ledger has one schedule, at its beginning");
  }
  if (entry.has_schedule() &&
      entry.schedule().task_sha256() != task_.ToBytes()) {
    return Refuse("its schedule is another task's");
  }
  const int64_t next = head().sequence + 1;
  if (entry.has_adoption()
          ? entry.sequence() < std::max(next, entry.adoption().sequence() + 1)
          : entry.sequence() != next) {
    return Refuse(StrCat("it says that it is number ", entry.sequence(),
                         ", and ", next, " would be the next"));
  }
  return absl::OkStatus();
}

void Ledger::Add(v1::LedgerEntry entry, const Digest& digest) {
  const LedgerHead next = ExtendLedger(head(), entry.sequence(), digest);
  heads_[next.sequence] = next.hash;
  digests_.push_back(digest);
  entries_.push_back(std::move(entry));
}

absl::StatusOr<StoredLedgerEntry> Ledger::Append(absl::Time now,
                                                 v1::LedgerEntry entry) {
  entry.set_sequence(head().sequence + 1);
  if (entry.has_adoption()) {
    entry.set_sequence(std::max(head().sequence, entry.adoption().sequence()) +
                       1);
  }
  entry.set_time_unix_milliseconds(absl::ToUnixMillis(now));
  MLEDGE_RETURN_IF_ERROR(ValidateLedgerEntry(entry));
  MLEDGE_RETURN_IF_ERROR(CheckPlace(entry));
  StoredLedgerEntry stored;
  stored.sequence = entry.sequence();
  stored.entry = entry.SerializeAsString();
  Add(std::move(entry), Sha256Of(stored.entry));
  stored.hash = head().hash;
  return stored;
}

absl::StatusOr<Ledger> Ledger::Restore(
    const Digest& task, std::span<const StoredLedgerEntry> entries,
    const LedgerHead& expected) {
  Ledger ledger(task);
  for (const StoredLedgerEntry& stored : entries) {
    const auto damaged = [&](absl::string_view why) {
      return absl::DataLossError(StrCat("privacy ledger, entry ",
                                        stored.sequence, ": ", why, kRemedy));
    };
    // The chain first: what was changed may look like anything.
    const Digest digest = Sha256Of(stored.entry);
    if (ExtendLedger(ledger.head(), stored.sequence, digest).hash !=
        stored.hash) {
      return damaged(
          "it is not what was written there: the chain of hashes breaks here");
    }
    v1::LedgerEntry entry;
    if (!entry.ParseFromString(stored.entry)) return damaged("is unreadable");
    if (entry.sequence() != stored.sequence) {
      return damaged(StrCat("it says that it is number ", entry.sequence()));
    }
    if (const absl::Status valid = ValidateLedgerEntry(entry); !valid.ok()) {
      if (absl::IsFailedPrecondition(valid)) {
        return Annotate(valid,
                        StrCat("privacy ledger, entry ", stored.sequence));
      }
      return damaged(valid.message());
    }
    if (const absl::Status fits = ledger.CheckPlace(entry); !fits.ok()) {
      return damaged(fits.message());
    }
    ledger.Add(std::move(entry), digest);
  }
  if (ledger.head() != expected) {
    return absl::DataLossError(StrCat(
        "privacy ledger: it ends with entry ", ledger.head().sequence,
        ", and the task's record says ", expected.sequence,
        ledger.head().sequence == expected.sequence ? " with another hash" : "",
        ": entries are missing or were made up", kRemedy));
  }
  return ledger;
}

LedgerHead Ledger::head() const {
  if (heads_.empty()) return EmptyLedgerHead(task_);
  return {heads_.rbegin()->first, heads_.rbegin()->second};
}

bool Ledger::not_private() const {
  return std::ranges::any_of(entries_, [](const v1::LedgerEntry& entry) {
    return entry.has_not_private();
  });
}

const v1::LedgerAdoption* Ledger::last_adoption() const {
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    if (entry->has_adoption()) return &entry->adoption();
  }
  return nullptr;
}

Ledger::Relation Ledger::Compare(const LedgerHead& other) const {
  if (other.sequence > head().sequence) return Relation::kAhead;
  const auto found = heads_.find(other.sequence);
  if (found != heads_.end() && found->second == other.hash) {
    return Relation::kKnown;
  }
  if (other == EmptyLedgerHead(task_)) return Relation::kKnown;
  // Of a line that ended: the operator who adopted it answers for it.
  const bool adopted =
      std::ranges::any_of(entries_, [&other](const v1::LedgerEntry& entry) {
        return entry.has_adoption() && other.sequence < entry.sequence();
      });
  return adopted ? Relation::kKnown : Relation::kForked;
}

std::vector<Ledger::Link> Ledger::LinksAfter(const LedgerHead& known) const {
  if (Compare(known) != Relation::kKnown) return {};
  // The first that does not follow from `known` by itself, or the adoption.
  size_t first = 0;
  const auto exact = heads_.find(known.sequence);
  const bool in_chain = exact != heads_.end() && exact->second == known.hash;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool adoption =
        entries_[i].has_adoption() && entries_[i].sequence() > known.sequence;
    if (adoption || (in_chain && entries_[i].sequence() <= known.sequence)) {
      first = adoption ? i : i + 1;
    }
  }
  std::vector<Link> links;
  for (size_t i = first; i < entries_.size(); ++i) {
    links.push_back({entries_[i].sequence(), digests_[i]});
  }
  return links;
}

}  // namespace mledge
