#ifndef MLEDGE_TESTS_PRIVACY_ACCOUNTING_SAMPLE_EVENTS_H_
#define MLEDGE_TESTS_PRIVACY_ACCOUNTING_SAMPLE_EVENTS_H_

#include <vector>

#include "mledge/privacy/accounting/privacy_event.h"

namespace mledge {

// One valid event of every kind but the composition.
inline std::vector<PrivacyEvent> OneOfEachKind() {
  return {
      {NonPrivateEvent{}},
      {GaussianEvent{.noise_multiplier = 2.5, .origin = NoiseOrigin::kDevice}},
      {DiscreteGaussianEvent{.sigma = 40,
                             .l2_sensitivity = 10,
                             .l1_sensitivity = 100,
                             .dimension = 1000}},
      {LaplaceEvent{.noise_multiplier = 3}},
      {RandomizedResponseEvent{.epsilon = 1.5, .categories = 5}},
      {PoissonSampledGaussianEvent{.sampling_probability = 0.01,
                                   .noise_multiplier = 1.25}},
      {SampledWithoutReplacementGaussianEvent{
          .population = 10000, .cohort = 100, .noise_multiplier = 1.6}},
      {ZcdpEvent{.rho = 0.5, .adjacency = Adjacency::kReplaceOne}},
      {MatrixMechanismEvent{.noise_multiplier = 4,
                            .sensitivity = 1.75,
                            .rounds = 2000,
                            .participations = 6,
                            .separation = 342}},
      {DistributedDiscreteGaussianEvent{.local_sigma = 3,
                                        .honest_clients = 100,
                                        .dimension = 64,
                                        .l2_sensitivity = 20,
                                        .l1_sensitivity = 160}},
      {SkellamEvent{
          .total_variance = 900, .l2_sensitivity = 20, .l1_sensitivity = 160}}};
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_PRIVACY_ACCOUNTING_SAMPLE_EVENTS_H_
