#include "mledge/privacy/ledger/spending.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/privacy/accounting/event_codec.h"

namespace mledge {
namespace {

// How many of `steps` one device can have been in.
int64_t MostAmong(const std::set<int64_t>& steps,
                  const ParticipationLimits& limits) {
  // The earliest that is allowed leaves most room for the others.
  int64_t most = 0;
  int64_t earliest = 0;
  for (const int64_t step : steps) {
    if (most > 0 && step < earliest) continue;
    ++most;
    earliest = step + limits.separation;
  }
  return std::min(most, limits.participations);
}

// The charges of a ledger, by what they exposed a device to.
struct Charges {
  // Steps, by serialized event.
  std::map<std::string, std::set<int64_t>> participations;
  std::set<std::string> once;
  std::set<int64_t> steps;
  // A step whose noise is correlated with others' was drawn twice.
  bool repeated = false;

  void Add(const v1::LedgerCharge& charge) {
    const bool first = steps.insert(charge.step()).second;
    if (charge.has_participation()) {
      participations[charge.participation().SerializeAsString()].insert(
          charge.step());
    }
    if (charge.has_once()) {
      once.insert(charge.once().SerializeAsString());
      repeated = repeated || !first;
    }
  }
};

absl::StatusOr<PrivacyEvent> Decode(const std::string& serialized) {
  v1::PrivacyEvent message;
  if (!message.ParseFromString(serialized)) {
    return absl::InvalidArgumentError("a privacy event is unreadable");
  }
  return DecodeEvent(message);
}

absl::StatusOr<Spending> Add(const Ledger& ledger,
                             const v1::LedgerCharge* next) {
  if (ledger.empty()) {
    return absl::InvalidArgumentError("the privacy ledger is empty");
  }
  const v1::LedgerSchedule& schedule = ledger.schedule();
  const ParticipationLimits limits = LimitsOf(schedule);
  Spending spending;
  spending.not_private = ledger.not_private();
  Charges charges;
  for (const v1::LedgerEntry& entry : ledger.entries()) {
    spending.lost_charges += entry.adoption().lost_charges();
    if (!entry.has_charge()) continue;
    ++spending.charges;
    charges.Add(entry.charge());
  }
  if (next != nullptr) {
    ++spending.charges;
    charges.Add(*next);
  }
  const auto with_lost = [&](int64_t participations) {
    return std::min(participations + spending.lost_charges,
                    limits.participations);
  };
  spending.participations = with_lost(MostAmong(charges.steps, limits));
  // Of the schedule's kind, at steps that nobody knows any more.
  const bool lost = spending.lost_charges > 0;
  const std::string scheduled = schedule.participation().SerializeAsString();
  if (lost && schedule.has_participation()) charges.participations[scheduled];
  ComposedEvent all;
  for (const auto& [serialized, steps] : charges.participations) {
    MLEDGE_ASSIGN_OR_RETURN(PrivacyEvent event, Decode(serialized));
    const bool foreseen =
        schedule.has_participation() && serialized == scheduled;
    const int64_t most = MostAmong(steps, limits);
    spending.as_scheduled = spending.as_scheduled && foreseen;
    all.events.push_back(
        Repeated(std::move(event), foreseen ? with_lost(most) : most));
  }
  for (const std::string& serialized : charges.once) {
    MLEDGE_ASSIGN_OR_RETURN(PrivacyEvent event, Decode(serialized));
    all.events.push_back(std::move(event));
    spending.as_scheduled = spending.as_scheduled && schedule.has_once() &&
                            serialized == schedule.once().SerializeAsString();
  }
  // Correlated noise of which rounds were lost or drawn twice is no mechanism
  // that a theorem covers.
  if (charges.repeated || (lost && schedule.has_once()) ||
      spending.not_private) {
    all.events.push_back({NonPrivateEvent{}});
  }
  spending.event = PrivacyEvent{std::move(all)};
  return spending;
}

}  // namespace

ParticipationLimits LimitsOf(const v1::LedgerSchedule& schedule) {
  return {.rounds = schedule.rounds(),
          .participations = schedule.participations(),
          .separation = schedule.separation()};
}

absl::StatusOr<Spending> SpendingOf(const Ledger& ledger) {
  return Add(ledger, nullptr);
}

absl::StatusOr<Spending> SpendingWith(const Ledger& ledger,
                                      const v1::LedgerCharge& next) {
  return Add(ledger, &next);
}

}  // namespace mledge
