#ifndef MLEDGE_COORDINATOR_COHORT_SELECTION_H_
#define MLEDGE_COORDINATOR_COHORT_SELECTION_H_

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "mledge/core/ids.h"
#include "mledge/core/secret_random.h"
#include "mledge/core/training_random.h"

// Who takes part in a round: drawn from the devices that wait, in the order of
// their ids, by the task's seed. So the cohort depends on who waits and not on
// who came first, and a simulation and a fleet choose alike. A check-in costs
// O(log n); only a draw looks at everybody. Poisson samples alone are drawn in
// secret. Sans-I/O, not thread-safe. What comes next: round.h.

namespace mledge {

// Devices that wait for work of one task.
class CandidatePool {
 public:
  struct Candidate {
    DeviceId device;
    AssignmentOrdinal next_ordinal;
    // Private tasks: may not be drawn before so many rounds are completed.
    int64_t earliest_step = 0;
  };

  // `minimum_interval`: how long a device rests between two assignments.
  explicit CandidatePool(absl::Duration minimum_interval)
      : minimum_interval_(minimum_interval) {}

  // `last_assigned`: InfinitePast where it never was.
  void Add(absl::Time now, Candidate candidate, absl::Time last_assigned);
  void Remove(const DeviceId& device);
  // Lets devices in whose rest is over.
  void Tick(absl::Time now);
  // So many rounds are completed: lets devices in that waited for it.
  void SetStep(absl::Time now, int64_t step);
  // When the next rest is over; InfiniteFuture: nobody rests.
  absl::Time NextTime() const;

  // Devices that could be drawn now.
  int64_t size() const { return static_cast<int64_t>(ready_.size()); }
  // Those that wait for a later step.
  int64_t early() const { return static_cast<int64_t>(early_.size()); }

  // Whether anybody could be drawn who is not in `without`.
  bool HasOtherThan(const std::set<DeviceId>& without) const;

  // Draws up to `count` and removes them. Those in `avoid` are taken only when
  // there are not enough others.
  std::vector<Candidate> Draw(int64_t count, TrainingRandom random,
                              const std::set<DeviceId>& avoid);
  // A Poisson sample of all that could be drawn, and removes it: each device by
  // a coin of its own, which comes up with `probability` or up to 2^-64 less.
  // The bits asked of `coins` do not depend on how coins fall.
  std::vector<Candidate> DrawEach(double probability, SecretRandom& coins);
  // Draws up to `count` of those not in `without`.
  std::vector<Candidate> DrawWithout(int64_t count, TrainingRandom random,
                                     const std::set<DeviceId>& without);

 private:
  absl::Duration minimum_interval_;
  absl::btree_map<DeviceId, AssignmentOrdinal> ready_;
  absl::flat_hash_map<DeviceId, std::pair<absl::Time, AssignmentOrdinal>>
      resting_;
  std::set<std::pair<absl::Time, DeviceId>> rest_ends_;
  struct Early {
    Candidate candidate;
    absl::Time last_assigned;
  };
  int64_t step_ = 0;
  absl::flat_hash_map<DeviceId, Early> early_;
  std::set<std::pair<int64_t, DeviceId>> by_earliest_step_;
};

}  // namespace mledge

#endif  // MLEDGE_COORDINATOR_COHORT_SELECTION_H_
