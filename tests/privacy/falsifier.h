#ifndef MLEDGE_TESTS_PRIVACY_FALSIFIER_H_
#define MLEDGE_TESTS_PRIVACY_FALSIFIER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

// Tries to prove a claim of differential privacy wrong: runs a mechanism many
// times on an update and on zero in its place, learns from one half of the runs
// which outputs tell the two apart, and tests on the other half whether they do
// so more often than the claim allows (histogram of a score, hockey-stick
// divergence over the union of its cells).
//
// A violation is a proof, but for the false-alarm rate that was asked for: the
// counts are bounded by Chernoff's inequality and all tests share the rate by a
// union bound. That nothing was found proves nothing: other updates, other
// scores, or divergences smaller than some 1/√runs may well violate the claim.

namespace mledge {

// Appends `runs` outputs of as many values as the update has.
using BatchMechanism = std::function<void(
    std::span<const float> update, int64_t runs, std::vector<int32_t>* out)>;

struct NamedUpdate {
  std::string name;
  std::vector<float> values;
};

struct FalsifierOptions {
  int64_t runs = 20'000;           // of each half, with and without the update
  double false_alarm_rate = 1e-6;  // of all tests of one call together
  std::vector<double> epsilons = {0.1, 0.5, 1, 2, 4};
};

struct Violation {
  std::string update;
  std::string score;
  double epsilon = 0;
  double claimed_delta = 0;
  double least_delta = 0;  // what the mechanism has, at least
};

// `claimed_delta` is δ as a function of ε, for zero-out adjacency.
std::optional<Violation> Falsify(
    const BatchMechanism& mechanism, const std::vector<NamedUpdate>& updates,
    const std::function<double(double)>& claimed_delta,
    const FalsifierOptions& options);

// The extremes of what may be sent: all of the clip in one value or spread
// evenly, values half way between grid points and just above them, random
// directions, updates far above the clip.
std::vector<NamedUpdate> ExtremeUpdates(size_t size, double clip_norm,
                                        double grid_step, uint64_t seed);

}  // namespace mledge

#endif  // MLEDGE_TESTS_PRIVACY_FALSIFIER_H_
