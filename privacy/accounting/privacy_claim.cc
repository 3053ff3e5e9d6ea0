#include "mledge/privacy/accounting/privacy_claim.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/privacy/accounting/analytic_gaussian.h"
#include "mledge/privacy/accounting/event_codec.h"

namespace mledge {
namespace {

using Sentences = std::vector<std::string>;

constexpr std::string_view kNoiseOfCoordinator =
    "the coordinator draws the noise from a secret source, adds it before "
    "anything is released, and forgets it";
constexpr std::string_view kNoiseOfDevice =
    "devices draw their own noise from a secret source";
constexpr std::string_view kClipped =
    "each contribution is clipped, and its norm is checked after rounding";

void AddOrigin(NoiseOrigin origin, Sentences* sentences) {
  sentences->emplace_back(origin == NoiseOrigin::kDevice ? kNoiseOfDevice
                                                         : kNoiseOfCoordinator);
}

void Add(const NonPrivateEvent&, Sentences*) {}
void Add(const GaussianEvent& event, Sentences* sentences) {
  AddOrigin(event.origin, sentences);
  sentences->emplace_back(kClipped);
}
void Add(const DiscreteGaussianEvent& event, Sentences* sentences) {
  AddOrigin(event.origin, sentences);
  sentences->emplace_back(kClipped);
}
void Add(const LaplaceEvent& event, Sentences* sentences) {
  AddOrigin(event.origin, sentences);
  sentences->emplace_back(kClipped);
}
void Add(const RandomizedResponseEvent&, Sentences* sentences) {
  sentences->emplace_back(kNoiseOfDevice);
}
void Add(const PoissonSampledGaussianEvent& event, Sentences* sentences) {
  sentences->emplace_back(kNoiseOfCoordinator);
  sentences->emplace_back(kClipped);
  if (event.sampling_probability == 1) return;
  sentences->push_back(StrCat(
      "each device takes part in a round by its own secret coin with "
      "probability ",
      event.sampling_probability,
      ", over a fixed roster; no over-selection, no cap, no deadline that "
      "drops anyone, and rounds that nobody joined are released too"));
  sentences->emplace_back(
      "sums are divided by the expected size of the cohort, never by the "
      "realised one, and who took part stays secret");
}
void Add(const SampledWithoutReplacementGaussianEvent& event,
         Sentences* sentences) {
  sentences->emplace_back(kNoiseOfCoordinator);
  sentences->emplace_back(kClipped);
  sentences->push_back(
      StrCat("each round's cohort is a secret uniform sample of exactly ",
             event.cohort, " of a fixed population of ", event.population));
}
void Add(const ZcdpEvent& event, Sentences* sentences) {
  AddOrigin(event.origin, sentences);
  sentences->push_back(
      StrCat("the mechanism was proven ", event.rho, "-zCDP elsewhere"));
}
void Add(const MatrixMechanismEvent& event, Sentences* sentences) {
  sentences->emplace_back(kNoiseOfCoordinator);
  sentences->emplace_back(kClipped);
  sentences->push_back(StrCat("no device takes part more than ",
                              event.participations, " times in ", event.rounds,
                              " rounds, nor twice within ", event.separation,
                              " rounds, and this is enforced"));
  sentences->emplace_back(
      "the state of the correlated noise stays secret across restarts, and its "
      "rounding to the grid is within the bound of its planner");
}
void Add(const DistributedDiscreteGaussianEvent& event, Sentences* sentences) {
  sentences->push_back(StrCat(
      "at least ", event.honest_clients,
      " devices that are honest and stay to the end each add their noise, and "
      "only their sum is ever unmasked"));
  sentences->emplace_back(kClipped);
}
void Add(const SkellamEvent& event, Sentences* sentences) {
  sentences->push_back(StrCat(
      "devices that are honest and stay to the end add noise of variance ",
      event.total_variance, " together, and only their sum is ever unmasked"));
  sentences->emplace_back(kClipped);
}
void Add(const ComposedEvent& event, Sentences* sentences) {
  for (const PrivacyEvent& part : event.events) {
    std::visit([&](const auto& kind) { Add(kind, sentences); }, part.kind);
  }
}

std::string AdjacencySentence(Adjacency adjacency, const std::string& unit) {
  switch (adjacency) {
    case Adjacency::kAddOrRemoveOne:
      return StrCat("neighbours differ in one ", unit, " more or less");
    case Adjacency::kReplaceOne:
      return StrCat("neighbours differ in what one ", unit,
                    " contributes, whatever it is");
    case Adjacency::kZeroOut:
      return StrCat("neighbours differ in one ", unit,
                    " that contributes zero instead; who takes part and how "
                    "many is public");
  }
  return "";
}

}  // namespace

std::vector<std::string> AssumptionsOf(const PrivacyEvent& event,
                                       Adjacency adjacency,
                                       const std::string& unit) {
  Sentences all = {
      AdjacencySentence(adjacency, unit),
      "the schedule was fixed before its first round, and all of it is counted",
      "nothing else that depends on the data is released"};
  std::visit([&](const auto& kind) { Add(kind, &all); }, event.kind);
  Sentences once;
  for (std::string& sentence : all) {
    if (std::ranges::find(once, sentence) == once.end()) {
      once.push_back(std::move(sentence));
    }
  }
  return once;
}

absl::StatusOr<PrivacyClaim> ClaimFor(const PrivacyEvent& event, double delta,
                                      Observer observer,
                                      const AccountantOptions& options,
                                      const std::string& unit) {
  MLEDGE_RETURN_IF_ERROR(CheckObserver(event, observer));
  MLEDGE_ASSIGN_OR_RETURN(const double epsilon,
                          EpsilonOf(event, delta, options));
  return PrivacyClaim{
      .epsilon = epsilon,
      .delta = delta,
      .observer = observer,
      .unit = unit,
      .adjacency = options.adjacency,
      .accountant = std::string(AccountantName(options.kind)),
      .assumptions = AssumptionsOf(event, options.adjacency, unit)};
}

std::optional<std::string> DeltaWarning(double delta, double population) {
  if (delta * population < 1) return std::nullopt;
  return StrCat("delta ", delta, " is not below 1/population (1/", population,
                "): publishing one device's data outright would satisfy such a "
                "claim; choose delta well below ",
                1 / population);
}

v1::PrivacyClaim EncodeClaim(const PrivacyClaim& claim) {
  v1::PrivacyClaim message;
  message.set_epsilon(claim.epsilon);
  message.set_delta(claim.delta);
  message.set_observer(EncodeObserver(claim.observer));
  message.set_unit(claim.unit);
  message.set_adjacency(EncodeAdjacency(claim.adjacency));
  message.set_accountant(claim.accountant);
  for (const std::string& sentence : claim.assumptions) {
    message.add_assumptions(sentence);
  }
  return message;
}

absl::StatusOr<PrivacyClaim> DecodeClaim(const v1::PrivacyClaim& message) {
  if (!(message.epsilon() >= 0)) {
    return absl::InvalidArgumentError(
        StrCat("privacy claim: epsilon is ", message.epsilon(),
               "; it must be at least 0, or infinite"));
  }
  MLEDGE_RETURN_IF_ERROR(
      Annotate(ValidateDelta(message.delta()), "privacy claim"));
  if (message.unit().empty() || message.accountant().empty()) {
    return absl::InvalidArgumentError(
        "privacy claim: unit or accountant is missing; an epsilon without them "
        "says nothing");
  }
  PrivacyClaim claim{.epsilon = message.epsilon(),
                     .delta = message.delta(),
                     .unit = message.unit(),
                     .accountant = message.accountant()};
  MLEDGE_ASSIGN_OR_RETURN(claim.observer, DecodeObserver(message.observer()));
  MLEDGE_ASSIGN_OR_RETURN(claim.adjacency,
                          DecodeAdjacency(message.adjacency()));
  claim.assumptions.assign(message.assumptions().begin(),
                           message.assumptions().end());
  return claim;
}

}  // namespace mledge
