#include "mledge/privacy/accounting/privacy_event.h"

#include <cmath>
#include <limits>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// Beyond these a number is a mistake, not a choice.
constexpr double kLeastNoiseMultiplier = 1e-6;
constexpr double kMostNoiseMultiplier = 1e9;
constexpr double kMostGridUnits = 1e15;
constexpr int64_t kMostDimension = int64_t{1} << 40;
constexpr int64_t kMostCount = 1'000'000'000'000;

// Range checks that name the kind of event and the parameter.
class Checker {
 public:
  explicit Checker(std::string_view kind) : kind_(kind) {}

  Checker& Within(std::string_view parameter, double value, double least,
                  double most) {
    if (status_.ok() && !(value >= least && value <= most)) {
      Fail(parameter, StrCat(value), StrCat("from ", least, " to ", most));
    }
    return *this;
  }
  Checker& Within(std::string_view parameter, int64_t value, int64_t least,
                  int64_t most) {
    if (status_.ok() && (value < least || value > most)) {
      Fail(parameter, StrCat(value), StrCat("from ", least, " to ", most));
    }
    return *this;
  }
  Checker& NoiseMultiplier(double value) {
    return Within("noise_multiplier", value, kLeastNoiseMultiplier,
                  kMostNoiseMultiplier);
  }
  Checker& PositiveGridUnits(std::string_view parameter, double value) {
    if (status_.ok() && !(value > 0 && value <= kMostGridUnits)) {
      Fail(parameter, StrCat(value),
           StrCat("greater than 0 and at most ", kMostGridUnits));
    }
    return *this;
  }
  // Integer vectors: ‖v‖₂ <= ‖v‖₁ <= ‖v‖₂², and no non-zero one is shorter
  // than 1.
  Checker& IntegerSensitivities(double l2, double l1) {
    Within("l2_sensitivity", l2, 1, kMostGridUnits);
    Within("l1_sensitivity", l1, 1, kMostGridUnits * kMostGridUnits);
    if (status_.ok() && l1 < l2 * (1 - 1e-12)) {
      Fail("l1_sensitivity", StrCat(l1),
           StrCat("at least l2_sensitivity, ", l2));
    }
    return *this;
  }
  Checker& Expect(bool holds, std::string_view parameter, std::string value,
                  std::string domain) {
    if (status_.ok() && !holds) {
      Fail(parameter, std::move(value), std::move(domain));
    }
    return *this;
  }
  absl::Status status() const { return status_; }

 private:
  void Fail(std::string_view parameter, std::string value, std::string domain) {
    status_ = absl::InvalidArgumentError(
        StrCat(kind_, ": ", parameter, " is ", value, "; it must be ", domain));
  }

  std::string_view kind_;
  absl::Status status_;
};

std::string_view Name(const NonPrivateEvent&) { return "non-private release"; }
std::string_view Name(const GaussianEvent&) { return "Gaussian"; }
std::string_view Name(const DiscreteGaussianEvent&) {
  return "discrete Gaussian";
}
std::string_view Name(const LaplaceEvent&) { return "Laplace"; }
std::string_view Name(const RandomizedResponseEvent&) {
  return "randomized response";
}
std::string_view Name(const PoissonSampledGaussianEvent&) {
  return "Poisson-sampled Gaussian";
}
std::string_view Name(const SampledWithoutReplacementGaussianEvent&) {
  return "Gaussian sampled without replacement";
}
std::string_view Name(const ZcdpEvent&) { return "zCDP"; }
std::string_view Name(const MatrixMechanismEvent&) {
  return "matrix mechanism";
}
std::string_view Name(const DistributedDiscreteGaussianEvent&) {
  return "distributed discrete Gaussian";
}
std::string_view Name(const SkellamEvent&) { return "Skellam"; }
std::string_view Name(const ComposedEvent&) { return "composition"; }

template <typename Event>
Checker Check(const Event& event) {
  return Checker(Name(event));
}

absl::Status Validate(const NonPrivateEvent&, int) { return absl::OkStatus(); }
absl::Status Validate(const GaussianEvent& event, int) {
  return Check(event).NoiseMultiplier(event.noise_multiplier).status();
}
absl::Status Validate(const DiscreteGaussianEvent& event, int) {
  return Check(event)
      .PositiveGridUnits("sigma", event.sigma)
      .IntegerSensitivities(event.l2_sensitivity, event.l1_sensitivity)
      .Within("dimension", event.dimension, 1, kMostDimension)
      .Within("sigma over l2_sensitivity", event.sigma / event.l2_sensitivity,
              kLeastNoiseMultiplier, kMostNoiseMultiplier)
      .status();
}
absl::Status Validate(const LaplaceEvent& event, int) {
  return Check(event).NoiseMultiplier(event.noise_multiplier).status();
}
absl::Status Validate(const RandomizedResponseEvent& event, int) {
  return Check(event)
      .Within("epsilon", event.epsilon, 1e-9, 100.0)
      .Within("categories", event.categories, 2, kMostDimension)
      .status();
}
absl::Status Validate(const PoissonSampledGaussianEvent& event, int) {
  return Check(event)
      .Expect(event.sampling_probability > 0 && event.sampling_probability <= 1,
              "sampling_probability", StrCat(event.sampling_probability),
              "greater than 0 and at most 1")
      .NoiseMultiplier(event.noise_multiplier)
      .status();
}
absl::Status Validate(const SampledWithoutReplacementGaussianEvent& event,
                      int) {
  return Check(event)
      .Within("population", event.population, 1, kMostAccountedDevices)
      .Within("cohort", event.cohort, 1, event.population)
      .NoiseMultiplier(event.noise_multiplier)
      .status();
}
absl::Status Validate(const ZcdpEvent& event, int) {
  return Check(event).Within("rho", event.rho, 1e-18, 1e12).status();
}
absl::Status Validate(const MatrixMechanismEvent& event, int) {
  return Check(event)
      .NoiseMultiplier(event.noise_multiplier)
      .Within("sensitivity", event.sensitivity, 1e-9, 1e9)
      .Within("noise_multiplier over sensitivity",
              event.noise_multiplier / event.sensitivity, kLeastNoiseMultiplier,
              kMostNoiseMultiplier)
      .Within("rounds", event.rounds, 1, kMostCount)
      .Within("participations", event.participations, 1, event.rounds)
      .Within("separation", event.separation, 1, kMostCount)
      // Evaluated before the above is heard, so of any numbers.
      .Expect(
          event.separation < 1 || event.participations < 1 ||
              event.rounds < 1 ||
              event.participations - 1 <= (event.rounds - 1) / event.separation,
          "participations", StrCat(event.participations),
          StrCat("no more than fit into ", event.rounds,
                 " rounds at a separation of ", event.separation))
      .status();
}
absl::Status Validate(const DistributedDiscreteGaussianEvent& event, int) {
  return Check(event)
      // The bound of Kairouz, Liu, Steinke (2021), Proposition 14, is proven
      // from here on.
      .Within("local_sigma", event.local_sigma, 0.5, kMostGridUnits)
      .Within("honest_clients", event.honest_clients, 1, kMostAccountedDevices)
      .Within("dimension", event.dimension, 1, kMostDimension)
      .IntegerSensitivities(event.l2_sensitivity, event.l1_sensitivity)
      .status();
}
absl::Status Validate(const SkellamEvent& event, int) {
  return Check(event)
      .PositiveGridUnits("total_variance", event.total_variance)
      .IntegerSensitivities(event.l2_sensitivity, event.l1_sensitivity)
      .status();
}
absl::Status ValidateNested(const PrivacyEvent& event, int depth);
absl::Status Validate(const ComposedEvent& event, int depth) {
  MLEDGE_RETURN_IF_ERROR(
      Check(event)
          .Within("count", event.count, 1, kMostCount)
          .Within("nesting", int64_t{depth}, 0, kDeepestEventNesting)
          .status());
  for (size_t i = 0; i < event.events.size(); ++i) {
    MLEDGE_RETURN_IF_ERROR(Annotate(ValidateNested(event.events[i], depth + 1),
                                    StrCat("event ", i, " of a composition")));
  }
  return absl::OkStatus();
}

absl::Status ValidateNested(const PrivacyEvent& event, int depth) {
  return std::visit([&](const auto& kind) { return Validate(kind, depth); },
                    event.kind);
}

using Adjacencies = std::vector<Adjacency>;
using Observers = std::vector<Observer>;

Observers ObserversOf(NoiseOrigin origin) {
  if (origin == NoiseOrigin::kCoordinator) return {Observer::kModelRecipients};
  return {Observer::kModelRecipients, Observer::kCoordinator};
}

const Adjacencies& AllAdjacencies() {
  static const auto* all = new Adjacencies{
      Adjacency::kAddOrRemoveOne, Adjacency::kReplaceOne, Adjacency::kZeroOut};
  return *all;
}

// What has to be true of an event for a theorem to apply: one entry per kind.
struct Support {
  Adjacencies adjacencies;
  Observers observers;
};

Support Supported(const NonPrivateEvent&) {
  return {AllAdjacencies(), ObserversOf(NoiseOrigin::kDevice)};
}
Support Supported(const GaussianEvent& event) {
  return {AllAdjacencies(), ObserversOf(event.origin)};
}
Support Supported(const DiscreteGaussianEvent& event) {
  return {AllAdjacencies(), ObserversOf(event.origin)};
}
Support Supported(const LaplaceEvent& event) {
  return {AllAdjacencies(), ObserversOf(event.origin)};
}
Support Supported(const RandomizedResponseEvent&) {
  return {{Adjacency::kReplaceOne, Adjacency::kZeroOut},
          ObserversOf(NoiseOrigin::kDevice)};
}
// Replacing one changes both mixtures; no theorem here covers that.
Support Supported(const PoissonSampledGaussianEvent&) {
  return {{Adjacency::kAddOrRemoveOne, Adjacency::kZeroOut},
          {Observer::kModelRecipients}};
}
Support Supported(const SampledWithoutReplacementGaussianEvent&) {
  return {{Adjacency::kReplaceOne}, {Observer::kModelRecipients}};
}
Support Supported(const ZcdpEvent& event) {
  return {{event.adjacency}, ObserversOf(event.origin)};
}
Support Supported(const MatrixMechanismEvent&) {
  return {{Adjacency::kZeroOut}, {Observer::kModelRecipients}};
}
// A device that is taken away takes its noise with it, so that the noise of
// both sides is the same only where it stays.
Support Supported(const DistributedDiscreteGaussianEvent&) {
  return {{Adjacency::kReplaceOne, Adjacency::kZeroOut},
          ObserversOf(NoiseOrigin::kDevice)};
}
Support Supported(const SkellamEvent&) {
  return {{Adjacency::kReplaceOne, Adjacency::kZeroOut},
          ObserversOf(NoiseOrigin::kDevice)};
}

// OK if `wanted` is among `supported`, else an error that lists those.
template <typename Value>
absl::Status CheckAmong(Value wanted, const std::vector<Value>& supported,
                        std::string_view kind, std::string_view what,
                        std::string_view (*name)(Value)) {
  std::string list;
  for (Value value : supported) {
    if (value == wanted) return absl::OkStatus();
    StrAppend(&list, list.empty() ? "" : ", ", name(value));
  }
  return absl::InvalidArgumentError(StrCat(kind, ": no guarantee for ", what,
                                           " ", name(wanted),
                                           "; supported: ", list));
}

// Calls `check` on every event inside that is no composition.
template <typename CheckOne>
absl::Status CheckLeaves(const PrivacyEvent& event, const CheckOne& check) {
  return std::visit(
      [&](const auto& kind) -> absl::Status {
        if constexpr (std::is_same_v<std::decay_t<decltype(kind)>,
                                     ComposedEvent>) {
          for (const PrivacyEvent& part : kind.events) {
            MLEDGE_RETURN_IF_ERROR(CheckLeaves(part, check));
          }
          return absl::OkStatus();
        } else {
          return check(kind);
        }
      },
      event.kind);
}

}  // namespace

bool ComposedEvent::operator==(const ComposedEvent& other) const {
  return count == other.count && events == other.events;
}

absl::StatusOr<RandomizedResponseEvent> RandomizedResponseFromTruthProbability(
    double truth_probability, int64_t categories) {
  const RandomizedResponseEvent named;
  MLEDGE_RETURN_IF_ERROR(
      Check(named)
          .Within("categories", categories, 2, kMostDimension)
          .Expect(truth_probability > 1.0 / static_cast<double>(categories) &&
                      truth_probability < 1,
                  "truth_probability", StrCat(truth_probability),
                  "greater than 1/categories and less than 1")
          .status());
  return RandomizedResponseEvent{
      .epsilon = std::log(truth_probability) - std::log1p(-truth_probability) +
                 std::log(static_cast<double>(categories - 1)),
      .categories = categories};
}

PrivacyEvent Repeated(PrivacyEvent event, int64_t count) {
  ComposedEvent composed{.count = count};
  composed.events.push_back(std::move(event));
  return {std::move(composed)};
}

std::string EventName(const PrivacyEvent& event) {
  return std::visit([](const auto& kind) { return std::string(Name(kind)); },
                    event.kind);
}

absl::Status ValidateEvent(const PrivacyEvent& event) {
  return ValidateNested(event, 0);
}

absl::Status CheckAdjacency(const PrivacyEvent& event, Adjacency adjacency) {
  return CheckLeaves(event, [&](const auto& kind) {
    return CheckAmong(adjacency, Supported(kind).adjacencies, Name(kind),
                      "adjacency", AdjacencyName);
  });
}

absl::Status CheckObserver(const PrivacyEvent& event, Observer observer) {
  return CheckLeaves(event, [&](const auto& kind) {
    return CheckAmong(observer, Supported(kind).observers, Name(kind),
                      "observer", ObserverName);
  });
}

std::string_view AdjacencyName(Adjacency adjacency) {
  switch (adjacency) {
    case Adjacency::kAddOrRemoveOne:
      return "add-or-remove";
    case Adjacency::kReplaceOne:
      return "replace-one";
    case Adjacency::kZeroOut:
      return "zero-out";
  }
  return "unknown";
}

std::string_view ObserverName(Observer observer) {
  switch (observer) {
    case Observer::kModelRecipients:
      return "model-recipients";
    case Observer::kCoordinator:
      return "coordinator";
  }
  return "unknown";
}

absl::StatusOr<Adjacency> ParseAdjacency(std::string_view name) {
  for (Adjacency adjacency : AllAdjacencies()) {
    if (name == AdjacencyName(adjacency)) return adjacency;
  }
  return absl::InvalidArgumentError(
      StrCat("adjacency \"", name,
             "\": it must be add-or-remove, replace-one or zero-out"));
}

absl::StatusOr<Observer> ParseObserver(std::string_view name) {
  for (Observer observer :
       {Observer::kModelRecipients, Observer::kCoordinator}) {
    if (name == ObserverName(observer)) return observer;
  }
  return absl::InvalidArgumentError(StrCat(
      "observer \"", name, "\": it must be model-recipients or coordinator"));
}

}  // namespace mledge
