#ifndef MLEDGE_PRIVACY_ACCOUNTING_PRIVACY_EVENT_H_
#define MLEDGE_PRIVACY_ACCOUNTING_PRIVACY_EVENT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Privacy events: what a mechanism of differential privacy did, apart from any
// theorem about it. A ledger keeps events; accountants (rdp_accountant.h,
// pld_accountant.h) turn them into an epsilon, today and again later.
// Plain values, thread-safe like ints. `ValidateEvent` holds every domain;
// accountants and the codec (event_codec.h) call it.
//
// Units, the same in every event: `noise_multiplier` is the noise's standard
// deviation (Laplace: scale) over the clip norm. The clip norm is the
// sensitivity when a device is added, removed or zeroed out; when it is
// replaced the sensitivity is twice that, and accountants double it themselves
// (other libraries' multipliers are sometimes over the doubled one).

namespace mledge {

// What a formula is asked about: populations and cohorts beyond this are typing
// errors.
inline constexpr int64_t kMostAccountedDevices = int64_t{1} << 40;

// Which data sets are neighbours, the unit being a device.
enum class Adjacency {
  kAddOrRemoveOne,  // one device more or less
  kReplaceOne,      // one device's update becomes any other
  kZeroOut,  // one device's update becomes zero; who takes part is unchanged
};

// Against whom an epsilon holds.
enum class Observer {
  kModelRecipients,  // whoever sees released models
  kCoordinator,      // who also sees sums and who is in them
};

// Who draws the noise. The coordinator knows what it draws, so its noise
// protects against model recipients only.
enum class NoiseOrigin { kCoordinator, kDevice };

// Something was released without noise: every accountant says infinity.
struct NonPrivateEvent {
  bool operator==(const NonPrivateEvent&) const = default;
};

struct GaussianEvent {
  double noise_multiplier = 0;
  NoiseOrigin origin = NoiseOrigin::kCoordinator;
  bool operator==(const GaussianEvent&) const = default;
};

// Noise of pmf proportional to exp(-x²/2σ²) on the integers, independent in
// each of `dimension` coordinates (Canonne, Kamath, Steinke 2020).
struct DiscreteGaussianEvent {
  double sigma = 0;           // σ, in grid units
  double l2_sensitivity = 0;  // in grid units, zero-out
  double l1_sensitivity = 0;  // in grid units, zero-out
  int64_t dimension = 0;
  NoiseOrigin origin = NoiseOrigin::kCoordinator;
  bool operator==(const DiscreteGaussianEvent&) const = default;
};

struct LaplaceEvent {
  double noise_multiplier = 0;  // scale over L1 sensitivity
  NoiseOrigin origin = NoiseOrigin::kCoordinator;
  bool operator==(const LaplaceEvent&) const = default;
};

// A device reports its category with probability e^ε / (e^ε + k - 1), each
// other one with probability 1 / (e^ε + k - 1) (Warner 1965; k-ary: Kairouz et
// al. 2016). A zeroed-out device reports some category, which ε covers.
struct RandomizedResponseEvent {
  double epsilon = 0;
  int64_t categories = 0;  // k
  bool operator==(const RandomizedResponseEvent&) const = default;
};

// The same by how often the truth is told; INVALID_ARGUMENT unless
// 1/categories < truth_probability < 1.
absl::StatusOr<RandomizedResponseEvent> RandomizedResponseFromTruthProbability(
    double truth_probability, int64_t categories);

// Each device joins a round by its own secret coin; the sum gets Gaussian
// noise and is divided by a fixed number, also when nobody came.
// Over-selection, caps, deadlines or a visible cohort make this event untrue.
struct PoissonSampledGaussianEvent {
  double sampling_probability = 0;
  double noise_multiplier = 0;
  bool operator==(const PoissonSampledGaussianEvent&) const = default;
};

// A secret uniform sample of exactly `cohort` of `population` devices.
struct SampledWithoutReplacementGaussianEvent {
  int64_t population = 0;
  int64_t cohort = 0;
  double noise_multiplier = 0;
  bool operator==(const SampledWithoutReplacementGaussianEvent&) const =
      default;
};

// Any mechanism that was proven ρ-zCDP (Bun and Steinke 2016).
struct ZcdpEvent {
  double rho = 0;
  Adjacency adjacency = Adjacency::kZeroOut;  // what ρ was proven for
  NoiseOrigin origin = NoiseOrigin::kCoordinator;
  bool operator==(const ZcdpEvent&) const = default;
};

// A whole schedule of rounds under correlated noise C⁻¹z: one Gaussian
// mechanism, however many rounds. Compose two schedules, never its rounds.
struct MatrixMechanismEvent {
  double noise_multiplier = 0;  // standard deviation of z over clip norm
  // Largest ‖Σ c_t‖₂ over the columns t of C at which one device may take part,
  // as participations and separation allow; privacy/matrix computes it.
  double sensitivity = 0;
  int64_t rounds = 0;
  int64_t participations = 0;
  int64_t separation = 0;  // rounds from one participation to the next
  bool operator==(const MatrixMechanismEvent&) const = default;
};

// Each of `honest_clients` adds its own N_Z(0, local_sigma²) before secure
// aggregation (Kairouz, Liu, Steinke 2021). Domain: local_sigma >= 1/2.
struct DistributedDiscreteGaussianEvent {
  double local_sigma = 0;      // in grid units
  int64_t honest_clients = 0;  // that stayed to the end
  int64_t dimension = 0;
  double l2_sensitivity = 0;  // in grid units, after rounding
  double l1_sensitivity = 0;
  bool operator==(const DistributedDiscreteGaussianEvent&) const = default;
};

// Skellam noise inside secure aggregation (Agarwal, Kairouz, Liu 2021).
// Sensitivities are of integer vectors, so L1 is at least L2.
struct SkellamEvent {
  double total_variance = 0;  // of the honest clients' noise together
  double l2_sensitivity = 0;  // in grid units, after rounding
  double l1_sensitivity = 0;
  bool operator==(const SkellamEvent&) const = default;
};

struct PrivacyEvent;

// How deep compositions may nest; hostile messages nest deeper.
inline constexpr int kDeepestEventNesting = 16;

// `events` one after another, all of it `count` times.
struct ComposedEvent {
  std::vector<PrivacyEvent> events;
  int64_t count = 1;
  bool operator==(const ComposedEvent&) const;
};

struct PrivacyEvent {
  std::variant<
      NonPrivateEvent, GaussianEvent, DiscreteGaussianEvent, LaplaceEvent,
      RandomizedResponseEvent, PoissonSampledGaussianEvent,
      SampledWithoutReplacementGaussianEvent, ZcdpEvent, MatrixMechanismEvent,
      DistributedDiscreteGaussianEvent, SkellamEvent, ComposedEvent>
      kind;
  bool operator==(const PrivacyEvent&) const = default;
};

// `event`, `count` times.
PrivacyEvent Repeated(PrivacyEvent event, int64_t count);

// "Gaussian", "Poisson-sampled Gaussian", ...: as messages name the kind.
std::string EventName(const PrivacyEvent& event);

// INVALID_ARGUMENT where a parameter lies outside its domain (zero, negative,
// NaN, infinite, absurdly large), naming kind, parameter, value and domain.
absl::Status ValidateEvent(const PrivacyEvent& event);

// INVALID_ARGUMENT where no theorem here covers `event` under `adjacency`,
// naming both and what is supported. A composition supports what all its parts
// do; a non-private event supports everything (its epsilon is infinite).
absl::Status CheckAdjacency(const PrivacyEvent& event, Adjacency adjacency);

// The same for whom the noise protects against: noise that the coordinator
// draws and amplification by secret sampling hold for model recipients only.
absl::Status CheckObserver(const PrivacyEvent& event, Observer observer);

// "add-or-remove", "replace-one", "zero-out"; "model-recipients",
// "coordinator": as options, JSON and messages write them.
std::string_view AdjacencyName(Adjacency adjacency);
std::string_view ObserverName(Observer observer);
absl::StatusOr<Adjacency> ParseAdjacency(std::string_view name);
absl::StatusOr<Observer> ParseObserver(std::string_view name);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_PRIVACY_EVENT_H_
