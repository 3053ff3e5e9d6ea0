#include "mledge/coordinator/internal/private_task_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/update.h"
#include "mledge/privacy/accounting/event_codec.h"
#include "mledge/privacy/accounting/rdp_accountant.h"
#include "mledge/privacy/accounting/rdp_filter.h"

namespace mledge {
namespace {

// Epsilon if one device is in so many sums, against model recipients.
absl::StatusOr<double> EpsilonAfter(const PrivateTask& task,
                                    int64_t participations) {
  if (participations == 0) return 0.0;
  MLEDGE_ASSIGN_OR_RETURN(
      const v1::PrivacyClaim claim,
      ClaimOf(task, Observer::kModelRecipients, participations));
  return claim.epsilon();
}

// What was spent on other events than the schedule's was chosen while running:
// a filter with the limit as its budget says how many more of the schedule's
// fit beside it, whatever that choice depended on.
absl::StatusOr<int64_t> ParticipationsLeft(const PrivateTask& task,
                                           const PrivacyEvent& spent) {
  const PrivacyEvent once = ExposureTo(task, 1);
  MLEDGE_ASSIGN_OR_RETURN(RdpFilter filter,
                          RdpFilter::Create({.adjacency = Adjacency::kZeroOut,
                                             .epsilon = *task.epsilon_limit,
                                             .delta = task.delta,
                                             .typical = once}));
  const absl::Status charged = filter.Charge(spent);
  if (absl::IsResourceExhausted(charged)) return 0;
  MLEDGE_RETURN_IF_ERROR(charged);
  return filter.RemainingUses(once);
}

// The most participations within the limit; `epsilon` must not fall.
template <typename Epsilon>
absl::StatusOr<int64_t> MostWithin(double limit, int64_t most,
                                   const Epsilon& epsilon) {
  int64_t good = 0;
  int64_t bad = most + 1;
  // Most often all are.
  for (int64_t next = most; good + 1 < bad; next = good + (bad - good) / 2) {
    MLEDGE_ASSIGN_OR_RETURN(const double spent, epsilon(next));
    (spent <= limit ? good : bad) = next;
  }
  return good;
}

// What each participation, and the schedule as a whole, expose a device to.
absl::Status AddEvents(const PrivateTask& task, v1::LedgerSchedule* schedule) {
  if (task.per_participation.has_value()) {
    MLEDGE_ASSIGN_OR_RETURN(*schedule->mutable_participation(),
                            EncodeEvent(*task.per_participation));
  }
  if (task.per_schedule.has_value()) {
    MLEDGE_ASSIGN_OR_RETURN(*schedule->mutable_once(),
                            EncodeEvent(*task.per_schedule));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Spending> SpendingUnder(const PrivateTask& task,
                                       const Ledger& ledger,
                                       const v1::LedgerCharge* next) {
  MLEDGE_ASSIGN_OR_RETURN(Spending spending, next == nullptr
                                                 ? SpendingOf(ledger)
                                                 : SpendingWith(ledger, *next));
  v1::LedgerSchedule now;
  MLEDGE_RETURN_IF_ERROR(AddEvents(task, &now));
  // Both were encoded by EncodeEvent, which knows one form of an event.
  const v1::LedgerSchedule& schedule = ledger.schedule();
  spending.as_scheduled =
      spending.as_scheduled &&
      now.participation().SerializeAsString() ==
          schedule.participation().SerializeAsString() &&
      now.once().SerializeAsString() == schedule.once().SerializeAsString();
  return spending;
}

absl::StatusOr<PrivacyPlan> ResolvePrivacyPlan(const PrivateTask& task,
                                               const Digest& task_sha256,
                                               const Ledger& ledger) {
  PrivacyPlan plan;
  v1::LedgerSchedule& schedule = plan.schedule;
  schedule.set_task_sha256(task_sha256.ToBytes());
  schedule.set_mechanism(std::string(MechanismName(task.mechanism)));
  schedule.set_rounds(task.limits.rounds);
  schedule.set_participations(task.limits.participations);
  schedule.set_separation(task.limits.separation);
  schedule.set_delta(task.delta);
  schedule.set_adjacency(v1::ADJACENCY_ZERO_OUT);
  MLEDGE_ASSIGN_OR_RETURN(
      *schedule.mutable_event(),
      EncodeEvent(ExposureTo(task, task.limits.participations)));
  if (task.epsilon_limit.has_value()) {
    schedule.set_epsilon_limit(*task.epsilon_limit);
  }
  MLEDGE_RETURN_IF_ERROR(AddEvents(task, &schedule));
  plan.charged_with_version = task.mechanism == v1::Privacy::CENTRAL ||
                              task.mechanism == v1::Privacy::CORRELATED;
  plan.participations_within_budget = task.limits.participations;
  if (!task.epsilon_limit.has_value()) return plan;

  const int64_t allowed = task.limits.participations;
  if (!ledger.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(const Spending spending,
                            SpendingUnder(task, ledger));
    if (!spending.as_scheduled) {
      MLEDGE_ASSIGN_OR_RETURN(const int64_t left,
                              ParticipationsLeft(task, spending.event));
      plan.participations_within_budget =
          std::min(allowed, spending.participations + left);
      plan.budget_reason = absl::StrFormat(
          "the privacy budget is used up: the task's noise was changed while "
          "it "
          "ran, and by Renyi composition a round more would bring epsilon "
          "above privacy.epsilon_limit %.4g against model recipients (delta "
          "%.3g, unit device, zero-out adjacency). Submit a task that begins "
          "from this one's model",
          *task.epsilon_limit, task.delta);
      return plan;
    }
  }
  MLEDGE_ASSIGN_OR_RETURN(
      const int64_t within,
      MostWithin(*task.epsilon_limit, allowed, [&](int64_t participations) {
        return EpsilonAfter(task, participations);
      }));
  plan.participations_within_budget = within;
  if (within >= allowed) return plan;
  MLEDGE_ASSIGN_OR_RETURN(const double spent, EpsilonAfter(task, within));
  MLEDGE_ASSIGN_OR_RETURN(const double next, EpsilonAfter(task, within + 1));
  if (within == 0 && ledger.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "privacy.epsilon_limit is %.4g, and one round would spend %.4g against "
        "model recipients: write a larger limit or more noise",
        *task.epsilon_limit, next));
  }
  plan.budget_reason = absl::StrFormat(
      "the privacy budget is used up: epsilon %.4g of privacy.epsilon_limit "
      "%.4g is spent against model recipients (delta %.3g, unit device, "
      "zero-out adjacency), %.4g is left, and a round more would bring it to "
      "%.4g. Submit a task with a larger limit, more noise or fewer "
      "participations, that begins from this one's model",
      spent, *task.epsilon_limit, task.delta, *task.epsilon_limit - spent,
      next);
  return plan;
}

absl::StatusOr<v1::PrivacyClaim> SpentClaim(const PrivateTask& task,
                                            const Spending& spending,
                                            Observer observer) {
  // All that a claim says besides epsilon.
  MLEDGE_ASSIGN_OR_RETURN(
      v1::PrivacyClaim claim,
      ClaimOf(task, observer, std::max<int64_t>(1, spending.participations)));
  if (spending.charges + spending.lost_charges == 0) claim.set_epsilon(0);
  if (!spending.as_scheduled && std::isfinite(claim.epsilon())) {
    MLEDGE_ASSIGN_OR_RETURN(
        RdpAccountant accountant,
        RdpAccountant::Create({.adjacency = Adjacency::kZeroOut}));
    MLEDGE_RETURN_IF_ERROR(accountant.Compose(spending.event));
    MLEDGE_ASSIGN_OR_RETURN(const double epsilon,
                            accountant.Epsilon(task.delta));
    claim.set_epsilon(epsilon);
    claim.set_accountant("rdp");
    claim.add_assumptions(
        "The noise was changed while the task ran, and not because of what it "
        "had released.");
  }
  if (spending.participations < task.limits.participations) {
    claim.add_assumptions(
        "The task is not ended because of its results, by its target or by a "
        "person: else the whole schedule is spent.");
  }
  if (spending.lost_charges > 0) {
    claim.add_assumptions(
        "Devices' own ledgers kept to their participations while the "
        "coordinator's record was lost, and no copy that was restored was made "
        "in the middle of a round: the sum of one that was may have been "
        "noised twice, which is one participation more for those in it.");
    // What correlated noise was in the lost rounds, nobody knows.
    if (task.per_schedule.has_value()) claim.set_epsilon(INFINITY);
  }
  if (spending.not_private) claim.set_epsilon(INFINITY);
  return claim;
}

absl::Status AddAccounts(const PrivateTask& task, const Ledger& ledger,
                         v1::GetPrivacyLedgerResponse* response) {
  MLEDGE_ASSIGN_OR_RETURN(const Spending spending, SpendingUnder(task, ledger));
  for (const Observer observer :
       {Observer::kModelRecipients, Observer::kCoordinator}) {
    MLEDGE_ASSIGN_OR_RETURN(
        v1::PrivacyClaim schedule,
        ClaimOf(task, observer, task.limits.participations));
    if (observer == Observer::kCoordinator &&
        !std::isfinite(schedule.epsilon())) {
      continue;
    }
    MLEDGE_ASSIGN_OR_RETURN(v1::PrivacyClaim spent,
                            SpentClaim(task, spending, observer));
    if (spending.not_private) schedule.set_epsilon(INFINITY);
    v1::GetPrivacyLedgerResponse::Account& account = *response->add_accounts();
    if (observer == Observer::kModelRecipients &&
        task.epsilon_limit.has_value()) {
      account.set_left(std::max(0.0, *task.epsilon_limit - spent.epsilon()));
    }
    *account.mutable_spent() = std::move(spent);
    *account.mutable_schedule() = std::move(schedule);
  }
  response->set_mechanism(std::string(MechanismName(task.mechanism)));
  response->set_noise_multiplier(task.noise_multiplier);
  response->set_participations(spending.participations);
  response->set_participations_allowed(task.limits.participations);
  return absl::OkStatus();
}

absl::Status CheckPaid(const Ledger& ledger, VersionNumber version) {
  std::set<int64_t> steps;
  for (const v1::LedgerEntry& entry : ledger.entries()) {
    if (entry.has_charge()) steps.insert(entry.charge().step());
    // What it lost counts as spent.
    if (entry.has_adoption()) return absl::OkStatus();
  }
  for (int64_t step = 0; step < version.value(); ++step) {
    if (steps.contains(step)) continue;
    return absl::DataLossError(
        StrCat("privacy ledger: version ", step + 1,
               " was published and no entry pays for it; restore the newest "
               "backup of the state directory, whose ledger is whole"));
  }
  return absl::OkStatus();
}

absl::Status CheckPrivateUpdate(const PrivateTask& task,
                                const UpdateView& update) {
  const UpdateView::Section* const section = update.FindSection(kDeltaSection);
  if (section == nullptr) return absl::OkStatus();  // validated before
  // Magnitudes are bounded by the aggregator's check, so that squares add up.
  const double scale = std::ldexp(1.0, task.fraction_bits);
  double largest = 0;
  unsigned __int128 squares = 0;
  for (size_t i = 0; i < section->values.size(); ++i) {
    const double steps = static_cast<double>(section->values[i]) * scale;
    if (steps != std::nearbyint(steps)) {
      return absl::InvalidArgumentError(
          StrCat("value ", i, " of section \"", section->name, "\" is ",
                 section->values[i], ", which is off the task's grid of 2^-",
                 task.fraction_bits,
                 ": the device must round as the signed task says"));
    }
    largest = std::max(largest, std::abs(steps));
    if (largest >= 0x1p53) break;
    const auto q = static_cast<int64_t>(steps);
    squares += static_cast<unsigned __int128>(static_cast<__int128>(q) * q);
  }
  if (task.device_noise.has_value()) return absl::OkStatus();
  if (largest < 0x1p53 &&
      squares <= static_cast<unsigned __int128>(task.squared_norm_bound)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(StrCat(
      "the update's norm is ", std::sqrt(static_cast<double>(squares)) / scale,
      " of the clip norm, more than rounding can make of 1 (",
      std::sqrt(static_cast<double>(task.squared_norm_bound)) / scale,
      "): the device must clip as the signed task says"));
}

}  // namespace mledge
