#ifndef MLEDGE_PRIVACY_LEDGER_SPENDING_H_
#define MLEDGE_PRIVACY_LEDGER_SPENDING_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/privacy/ledger/ledger.h"
#include "mledge/privacy/matrix/participation.h"

// What a ledger's entries amount to for the device that they exposed most, as
// one event that any accountant can turn into an epsilon: from the entries
// alone, so that an old ledger can be accounted again by a better theorem. Pure
// functions.
//
// Why a device is exposed to fewer charges than there are: its participations
// are limited and enforced. Of the steps that were charged it can have been in
// at most so many as lie a separation apart, and never in more than its
// participations. Several charges of one step (groups; sessions that failed and
// were repeated with others) hold different devices.

namespace mledge {

struct Spending {
  // Of which epsilon is the privacy spent. No parts: nothing was charged.
  PrivacyEvent event;
  // The most charges that one device can have been in.
  int64_t participations = 0;
  int64_t charges = 0;
  // By adoptions: charges that a restored copy may have forgotten.
  int64_t lost_charges = 0;
  // Every charge is one that the schedule foresaw, so `event` is a part of what
  // was fixed before the first round, and any accountant may compose it. Else
  // something was chosen while running, and only a filter is valid
  // (privacy/accounting/rdp_filter.h).
  bool as_scheduled = true;
  // Randomness that others could know was used: there is no guarantee.
  bool not_private = false;
};

// Rounds up where it cannot be exact: charges of different kinds count each
// for itself, as if one device had been in as many of each as possible.
// INVALID_ARGUMENT: an empty ledger; an event that is not valid.
absl::StatusOr<Spending> SpendingOf(const Ledger& ledger);

// As it would be with one more charge.
absl::StatusOr<Spending> SpendingWith(const Ledger& ledger,
                                      const v1::LedgerCharge& next);

ParticipationLimits LimitsOf(const v1::LedgerSchedule& schedule);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_LEDGER_SPENDING_H_
