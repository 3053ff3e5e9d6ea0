#ifndef MLEDGE_PRIVACY_ACCOUNTING_PRIVACY_CLAIM_H_
#define MLEDGE_PRIVACY_ACCOUNTING_PRIVACY_CLAIM_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/accountant.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/v1/privacy.pb.h"

// An ε that may be shown: with whom it protects from, what unit, and what has
// to be true for it. No ε leaves this library's users without one. Thread-safe.

namespace mledge {

struct PrivacyClaim {
  double epsilon = 0;
  double delta = 0;
  Observer observer = Observer::kModelRecipients;
  std::string unit = "device";
  Adjacency adjacency = Adjacency::kZeroOut;
  std::string accountant;
  // One sentence each.
  std::vector<std::string> assumptions;
  bool operator==(const PrivacyClaim&) const = default;
};

// What `event`'s theorems take for granted, under an adjacency and with respect
// to a unit: each sentence once.
std::vector<std::string> AssumptionsOf(const PrivacyEvent& event,
                                       Adjacency adjacency,
                                       const std::string& unit);

// The claim that `event`, fixed before its first round, allows against
// `observer`. INVALID_ARGUMENT as for `EpsilonOf`, and where the event gives no
// guarantee against that observer.
absl::StatusOr<PrivacyClaim> ClaimFor(const PrivacyEvent& event, double delta,
                                      Observer observer,
                                      const AccountantOptions& options,
                                      const std::string& unit = "device");

// A warning where `delta` is not below 1/population: then a mechanism that
// publishes some devices' data outright could satisfy the claim. Nothing
// otherwise.
std::optional<std::string> DeltaWarning(double delta, double population);

v1::PrivacyClaim EncodeClaim(const PrivacyClaim& claim);
// INVALID_ARGUMENT for a claim without observer, unit, adjacency or accountant
// or with numbers outside their domains; FAILED_PRECONDITION for enumerators of
// a newer version.
absl::StatusOr<PrivacyClaim> DecodeClaim(const v1::PrivacyClaim& message);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_PRIVACY_CLAIM_H_
