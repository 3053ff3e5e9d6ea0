#ifndef MLEDGE_PRIVACY_ACCOUNTING_GAUSSIAN_SCHEDULE_H_
#define MLEDGE_PRIVACY_ACCOUNTING_GAUSSIAN_SCHEDULE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "mledge/privacy/accounting/privacy_event.h"

// Rounds of one size with independent Gaussian noise, in the words of people:
// what they amount to as an event. Thread-safe.

namespace mledge {

enum class Sampling {
  kPoisson,             // each device by its own secret coin
  kWithoutReplacement,  // a secret uniform sample of one size
  kNone,                // who takes part is known, and how often is enforced
};

struct GaussianSchedule {
  Sampling sampling = Sampling::kPoisson;
  double noise_multiplier = 0;      // standard deviation over clip norm
  double sampling_probability = 1;  // cohort over population; kNone: 1
  int64_t steps = 0;                // rounds
  // Devices; needed without replacement, where it times the probability is the
  // cohort's size, a whole number. 0: not said.
  int64_t population = 0;
  // kNone only: how often one device takes part at most, and how many rounds
  // lie from one time to the next at least. 0: not said; then a device may take
  // part as often as the separation allows, or in every round.
  int64_t participations = 0;
  int64_t separation = 0;
};

// INVALID_ARGUMENT where a number lies outside its domain or does not go with
// the sampling, naming it.
absl::StatusOr<PrivacyEvent> EventOfSchedule(const GaussianSchedule& schedule);

// The adjacency that claims about such a sampling are usually made for:
// add-or-remove, replace-one, zero-out.
Adjacency UsualAdjacency(Sampling sampling);

// "poisson", "without-replacement", "none".
std::string_view SamplingName(Sampling sampling);
absl::StatusOr<Sampling> ParseSampling(std::string_view name);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_ACCOUNTING_GAUSSIAN_SCHEDULE_H_
