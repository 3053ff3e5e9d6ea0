// What a private task exposes a device to, and what may be claimed of it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/event_codec.h"
#include "mledge/privacy/accounting/pld_accountant.h"
#include "mledge/privacy/accounting/rdp_accountant.h"
#include "mledge/privacy/plan/private_task.h"

namespace mledge {
namespace {

constexpr Adjacency kAdjacency = Adjacency::kZeroOut;

std::vector<std::string> AssumptionsOf(const PrivateTask& task,
                                       Observer observer,
                                       int64_t participations) {
  std::vector<std::string> assumptions;
  if (task.sampling_probability.has_value()) {
    assumptions = {
        StrCat("each device of a fixed roster is in each of ", participations,
               " rounds by a secret coin of its own with probability ",
               *task.sampling_probability,
               ": nobody is added, left out or given up on, and empty rounds "
               "are published too"),
        "who was drawn, and how many, is told to nobody who receives models, "
        "not even by the time at which they appear"};
  } else {
    assumptions = {
        StrCat("a device takes part in at most ", participations, " of ",
               task.limits.rounds, " rounds, ", task.limits.separation,
               " or more apart: the coordinator's selection and the device's "
               "own ledger enforce it"),
        "who takes part is public; nothing is gained from sampling"};
  }
  switch (task.mechanism) {
    case v1::Privacy::DISTRIBUTED:
      assumptions.push_back(
          StrCat("at least ", task.honest_updates,
                 " devices of each sum add their noise honestly and stay; "
                 "secure aggregation shows sums and nothing else"));
      break;
    case v1::Privacy::LOCAL:
      assumptions.push_back("the device adds the noise itself");
      break;
    default:
      if (observer == Observer::kModelRecipients) {
        assumptions.push_back(
            "the coordinator adds the noise, and its disk and memory are "
            "trusted");
      }
  }
  if (task.correlated_noise.has_value()) {
    assumptions.push_back(
        "the state of the correlated noise stays secret, also after the task");
  }
  return assumptions;
}

struct Accounted {
  double epsilon = std::numeric_limits<double>::infinity();
  std::string_view accountant = "none";
};

// By each accountant that knows the event.
absl::StatusOr<std::vector<Accounted>> Account(const PrivacyEvent& event,
                                               double delta) {
  std::vector<Accounted> accounted;
  MLEDGE_ASSIGN_OR_RETURN(RdpAccountant rdp,
                          RdpAccountant::Create({.adjacency = kAdjacency}));
  MLEDGE_RETURN_IF_ERROR(rdp.Compose(event));
  MLEDGE_ASSIGN_OR_RETURN(const double by_rdp, rdp.Epsilon(delta));
  accounted.push_back({by_rdp, "rdp"});
  MLEDGE_ASSIGN_OR_RETURN(PldAccountant pld,
                          PldAccountant::Create({.adjacency = kAdjacency}));
  // Some mechanisms have no loss distribution there.
  if (!pld.Compose(event).ok()) return accounted;
  MLEDGE_ASSIGN_OR_RETURN(const double by_pld, pld.Epsilon(delta));
  accounted.push_back({by_pld, "pld"});
  return accounted;
}

v1::PrivacyClaim MakeClaim(const PrivateTask& task, Observer observer,
                           int64_t participations, const Accounted& accounted) {
  v1::PrivacyClaim claim;
  claim.set_epsilon(accounted.epsilon);
  claim.set_delta(task.delta);
  claim.set_observer(EncodeObserver(observer));
  claim.set_unit("device");
  claim.set_adjacency(EncodeAdjacency(kAdjacency));
  claim.set_accountant(std::string(accounted.accountant));
  for (std::string& assumption :
       AssumptionsOf(task, observer, participations)) {
    claim.add_assumptions(std::move(assumption));
  }
  return claim;
}

}  // namespace

PrivacyEvent ExposureTo(const PrivateTask& task, int64_t participations) {
  std::vector<PrivacyEvent> parts;
  if (task.per_schedule.has_value()) parts.push_back(*task.per_schedule);
  if (task.per_participation.has_value()) {
    parts.push_back(Repeated(*task.per_participation, participations));
  }
  if (parts.size() == 1) return parts.front();
  return PrivacyEvent{ComposedEvent{.events = std::move(parts)}};
}

absl::StatusOr<std::vector<v1::PrivacyClaim>> ClaimsOf(const PrivateTask& task,
                                                       Observer observer,
                                                       int64_t participations) {
  if (participations < 1 || participations > task.limits.participations) {
    return absl::InvalidArgumentError(
        StrCat("participations are ", participations, "; the task allows 1 to ",
               task.limits.participations));
  }
  std::vector<v1::PrivacyClaim> claims;
  const PrivacyEvent exposure = ExposureTo(task, participations);
  if (!CheckObserver(exposure, observer).ok()) return claims;
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<Accounted> all,
                          Account(exposure, task.delta));
  for (const Accounted& accounted : all) {
    claims.push_back(MakeClaim(task, observer, participations, accounted));
  }
  return claims;
}

absl::StatusOr<v1::PrivacyClaim> ClaimOf(const PrivateTask& task,
                                         Observer observer,
                                         int64_t participations) {
  MLEDGE_ASSIGN_OR_RETURN(std::vector<v1::PrivacyClaim> claims,
                          ClaimsOf(task, observer, participations));
  if (claims.empty()) {
    return MakeClaim(task, observer, participations, Accounted());
  }
  return *std::min_element(
      claims.begin(), claims.end(),
      [](const auto& a, const auto& b) { return a.epsilon() < b.epsilon(); });
}

}  // namespace mledge
