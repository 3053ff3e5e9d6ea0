#ifndef MLEDGE_PRIVACY_PLAN_PRIVATE_TASK_H_
#define MLEDGE_PRIVACY_PLAN_PRIVATE_TASK_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/parameters.h"
#include "mledge/privacy/accounting/privacy_event.h"
#include "mledge/privacy/matrix/correlated_noise.h"
#include "mledge/privacy/matrix/participation.h"
#include "mledge/privacy/plan/grid_noise.h"
#include "mledge/privacy/plan/layer_clipping.h"
#include "mledge/v1/privacy.pb.h"
#include "mledge/v1/task.pb.h"

// What the `privacy` section of a validated task comes to: the numbers by which
// devices round and add noise, the coordinator adds noise, and both account for
// it. Everybody works them out alike from the signed task, so that nobody has
// to believe anybody. Values and pure functions.
//
// The way of one update (client/update_pipeline.h, coordinator/publisher.h):
//
//   clip to C, as a whole or by layers, divide by C      norm ≤ 1
//   → rotate (distributed noise)                         norm ≤ 1
//   → round to multiples of 2^-f, norm checked           norm ≤ l2_sensitivity
//   → device's noise (distributed, local)
//   → sum modulo 2^modulus_bits, or in the clear
//   → rotate back, coordinator's noise (central, correlated)
//   → divide by the fixed cohort, multiply by C
//
// Integers below count steps of the grid, 2^-f of the clip norm.

namespace mledge {

struct PrivateTaskOptions {
  // The layout's shared size after the rotation has padded them
  // (secagg::HadamardRotation).
  int64_t rotated_size = 0;
  // The simulator's (Simulation.noise_cohort): the noise on the mean is that of
  // a cohort of so many devices, and claims are that deployment's. 0: nothing
  // is simulated.
  int64_t noise_cohort = 0;
};

struct PrivateTask {
  v1::Privacy::Mechanism mechanism = v1::Privacy::NONE;
  double delta = 0;
  double noise_multiplier = 0;  // as in task.proto, given or found
  ParticipationLimits limits;
  std::optional<double> epsilon_limit;
  // Updates in a sum that is seen by itself (of a group, where there are
  // groups), and those of them that are honest and stay to the end, at least.
  int64_t updates = 0;
  int64_t honest_updates = 0;
  // Distributed noise: what devices demand of a session before they release its
  // sum, so many honest members beside that fraction of corrupt ones; else 0.
  int64_t least_honest = 0;
  double corrupt_fraction = 0;
  // What the mean divides by.
  int64_t divisor = 0;
  // Each device's, in each round, where cohorts are Poisson samples; where a
  // deployment is simulated, the deployment's. What a round costs then it costs
  // every device, drawn or not, so that all rounds count as participations.
  std::optional<double> sampling_probability;

  // C: of a whole update; of the first round, where it adapts.
  double clip_norm = 0;
  // Each clipped by itself, C being the total; none: updates are clipped as a
  // whole.
  std::vector<ClippedLayer> layers;

  // The grid.
  bool rotated = false;
  int64_t dimension = 0;  // values of an update, rotated where it is
  int fraction_bits = 0;  // f
  // After rounding, which checks it: ‖q‖² of no device is above this.
  int64_t squared_norm_bound = 0;
  double l2_sensitivity = 0;
  double l1_sensitivity = 0;
  // Of the sum of all updates: none where it is formed in the clear.
  std::optional<int> modulus_bits;
  double wrap_probability = 0;  // of any coordinate of one sum, at most
  // |value| of an update, device's noise included, in units of the clip norm.
  double value_bound = 0;

  // Of each device, in each coordinate.
  std::optional<GridNoise> device_noise;
  // Added to the sum by the coordinator: at most one of the two.
  std::optional<GridNoise> central_noise;
  std::optional<CorrelatedNoiseOptions> correlated_noise;
  // Standard deviation of the noise on the count of devices below the clip
  // norm; none without adaptive clipping.
  std::optional<double> count_noise;

  // What a device is exposed to by one participation, and once by the whole
  // schedule, however often it takes part; either may be absent.
  std::optional<PrivacyEvent> per_participation;
  std::optional<PrivacyEvent> per_schedule;
};

// INVALID_ARGUMENT, FAILED_PRECONDITION: no such task can be carried out; names
// the field and what to change: a target that no noise reaches, a grid or
// modulus that cannot hold the sum, a noise budget that adaptive clipping
// leaves nothing of, layers that are not the model's. Precondition: `task` was
// validated and has a mechanism.
absl::StatusOr<PrivateTask> ResolvePrivateTask(
    const v1::Task& task, const ParameterLayout& layout,
    const PrivateTaskOptions& options);

// The same task with the cohort that its simulation stands for: size, minimum
// and least alive in proportion, rounded down; a roster is the population.
v1::Task Deployed(v1::Task task, int64_t noise_cohort);

// FAILED_PRECONDITION: the task claims what no fleet in the field can keep to,
// so that it may only be simulated. For coordinators and devices.
absl::Status CheckCanBeKept(const v1::Task& task);

// Everything that a device is exposed to that takes part `participations`
// times, of task.limits.participations at most. Not 0.
PrivacyEvent ExposureTo(const PrivateTask& task, int64_t participations);

// The least epsilon that an accountant proves of `participations`, against
// `observer`, at the task's delta; infinite where the mechanism promises
// nothing against that observer. Zero-out adjacency, unit a device.
absl::StatusOr<v1::PrivacyClaim> ClaimOf(const PrivateTask& task,
                                         Observer observer,
                                         int64_t participations);

// The same by each accountant that knows the mechanism: none where it promises
// nothing.
absl::StatusOr<std::vector<v1::PrivacyClaim>> ClaimsOf(const PrivateTask& task,
                                                       Observer observer,
                                                       int64_t participations);

// Standard deviation of the noise in one coordinate of the mean of a round,
// over the clip norm, when `present` of the cohort's devices are in the sum.
// Correlated noise: of the noise before it is correlated.
double NoiseOnMean(const PrivateTask& task, int64_t present);

// "central", …: as task files write it.
std::string_view MechanismName(v1::Privacy::Mechanism mechanism);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_PLAN_PRIVATE_TASK_H_
