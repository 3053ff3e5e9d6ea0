#ifndef MLEDGE_PRIVACY_MATRIX_TREE_H_
#define MLEDGE_PRIVACY_MATRIX_TREE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "mledge/privacy/matrix/participation.h"

// Tree aggregation (Dwork, Naor, Pitassi, Rothblum, "Differential privacy under
// continual observation", STOC 2010; Chan, Shi, Song, TISSEC 2011; in training:
// Kairouz et al., "Practical and Private (Deep) Learning Without Sampling or
// Shuffling", ICML 2021, arXiv 2103.00039). A node of level l covers 2^l
// neighbouring rounds and carries noise of its own; the sum of the first t
// rounds is that of the nodes in t's binary digits. Not Toeplitz, so a family
// of its own. Pure functions.

namespace mledge {

// Levels of the tree: ⌈log2(rounds + 1)⌉. It grows by one where `rounds`
// reaches a power of two: 7 rounds need 3, 8 need 4.
// INVALID_ARGUMENT: `rounds` not in 1 … kMaximumRounds.
absl::StatusOr<int64_t> TreeHeight(int64_t rounds);

// L2 sensitivity of all nodes together to one device whose contribution has
// norm 1, an upper bound, rounded up. Each round lies in at most one node a
// level, so one participation changes at most `height` of them: √height, which
// is exact (the Rényi divergence of order a at noise multiplier z is then
// a·height / (2z²)). With several, a node of level l holds at most
// m = min(participations, ⌈2^l / separation⌉) of them, and counts that sum to k
// and are at most m each have squares of sum at most ⌊k/m⌋·m² + (k mod m)²;
// levels add.
// INVALID_ARGUMENT: invalid limits.
absl::StatusOr<double> TreeSensitivity(const ParticipationLimits& limits);

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_MATRIX_TREE_H_
