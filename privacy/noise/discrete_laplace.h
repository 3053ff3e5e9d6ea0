#ifndef MLEDGE_PRIVACY_NOISE_DISCRETE_LAPLACE_H_
#define MLEDGE_PRIVACY_NOISE_DISCRETE_LAPLACE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "mledge/core/secret_random.h"

// Noise of the discrete Laplace distribution of scale s: P[x] proportional to
// exp(−|x| / s) on the integers (Ghosh, Roughgarden and Sundararajan,
// "Universally utility-maximizing privacy mechanisms", STOC 2009). On integers
// of L1 sensitivity D it is (D/s)-differentially private.
//
// How: the difference of two independent geometric variables, P[g] proportional
// to e^(−g/s). The digits of a geometric variable in base 32 are independent of
// each other, exactly, so each is drawn from a short table
// (internal/draw_table.h); the last one, without bound, is cut off where less
// than 2^-130 remains. Statistical distance, work, addresses and randomness: as
// discrete_gaussian.h says for its table, for each of up to 14 digits.
//
// Immutable; const access from several threads is safe.

namespace mledge {

namespace noise_internal {
class DrawTable;
}  // namespace noise_internal

class DiscreteLaplace {
 public:
  static constexpr double kLeastScale = 0x1p-4;
  static constexpr double kMostScale = 0x1p20;
  // Statistical distance of one draw, at most; of n draws, n times this.
  static constexpr double kDistancePerDraw = 0x1p-100;

  // `scale` is s, taken as exactly the number that the double is.
  // INVALID_ARGUMENT: not within kLeastScale … kMostScale (NaN included).
  static absl::StatusOr<DiscreteLaplace> Create(double scale);

  double scale() const { return scale_; }

  // Independent draws.
  void Fill(SecretRandom& random, std::span<int32_t> out) const;

 private:
  explicit DiscreteLaplace(double scale);

  double scale_;
  // The lowest digit first.
  std::shared_ptr<const std::vector<noise_internal::DrawTable>> digits_;
};

}  // namespace mledge

#endif  // MLEDGE_PRIVACY_NOISE_DISCRETE_LAPLACE_H_
