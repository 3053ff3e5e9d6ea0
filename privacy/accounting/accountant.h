#ifndef MLEDGE_PRIVACY_ACCOUNTING_ACCOUNTANT_H_
#define MLEDGE_PRIVACY_ACCOUNTING_ACCOUNTANT_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/privacy/accounting/rdp_accountant.h"

// One question, whichever accountant answers it: the ε of a schedule that is
// fixed before its first round. Thread-safe.

namespace mledge {

enum class AccountantKind {
  kPld,  // tight; not for zCDP and Skellam
  kRdp,  // for every event
};

struct AccountantOptions {
  AccountantKind kind = AccountantKind::kPld;
  Adjacency adjacency = Adjacency::kAddOrRemoveOne;
  // Of RDP alone; see `RdpAccountant::Options`.
  std::vector<double> orders;
  RdpConversion conversion = RdpConversion::kImproved;
};

// ε of `event` at `delta`, rounded up; infinite after a non-private event.
// INVALID_ARGUMENT where event or delta lies outside its domain, or the event
// does not support the adjacency or the accountant.
absl::StatusOr<double> EpsilonOf(const PrivacyEvent& event, double delta,
                                 const AccountantOptions& options);
// δ of `event` at `epsilon`, the same way.
absl::StatusOr<double> DeltaOf(const PrivacyEvent& event, double epsilon,
                               const AccountantOptions& options);

// "pld", "rdp".
std::string_view AccountantName(AccountantKind kind);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_ACCOUNTANT_H_
