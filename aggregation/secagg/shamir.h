#ifndef MLEDGE_AGGREGATION_SECAGG_SHAMIR_H_
#define MLEDGE_AGGREGATION_SECAGG_SHAMIR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/aggregation/secagg/field128.h"
#include "mledge/aggregation/secagg/mask_seed.h"
#include "mledge/aggregation/secagg/wiping_bytes.h"
#include "mledge/core/secret_random.h"

// Shamir's secret sharing of a 32-byte seed, as two elements of GF(2^128): any
// t shares give it, t − 1 say nothing. A share belongs to a ShareIndex, the
// point at which the polynomials are evaluated; index 0 would be the secret
// itself and cannot be made. Shares carry no proof that they are right: whoever
// reconstructs compares with a public key or a commitment. Sharing takes the
// same time whatever the seed is. Pure functions and values.

namespace mledge::secagg {

class ShareIndex {
 public:
  // Member `index` of the directory holds the share of point index + 1.
  // Precondition: index < 2^32 − 1.
  static ShareIndex OfMember(uint32_t member_index);

  uint32_t point() const { return point_; }
  uint32_t member() const { return point_ - 1; }
  auto operator<=>(const ShareIndex&) const = default;

 private:
  explicit ShareIndex(uint32_t point) : point_(point) {}
  uint32_t point_;
};

inline constexpr size_t kShareValueSize = 32;
using ShareValue = WipingBytes<kShareValueSize>;

// A share value from bytes that travelled. INVALID_ARGUMENT unless they are 32.
absl::StatusOr<ShareValue> ParseShareValue(std::string_view bytes);

// One value for each of `holders`, in their order.
// INVALID_ARGUMENT: threshold < 1 or above the holders, a holder twice.
absl::StatusOr<std::vector<ShareValue>> ShareSeed(
    const MaskSeed& seed, int64_t threshold,
    std::span<const ShareIndex> holders, SecretRandom& random);

// 1 / (x ^ y) for the points x and y of any two members, made once a session.
// Const access from several threads is safe.
class PointInverses {
 public:
  // Of members 0 … members − 1.
  explicit PointInverses(uint32_t members);

 private:
  friend class LagrangeWeights;
  bool Covers(ShareIndex holder) const {
    return holder.point() <= inverses_.size();
  }
  // Precondition: 0 < difference, of two points that it covers.
  Field128 Of(uint32_t difference) const { return inverses_[difference - 1]; }

  std::vector<Field128> inverses_;
};

// What turns the shares of one set of holders into the seed. Computing it costs
// the square of the set; using it costs the set: make it once and use it for
// every seed that the same set holds.
class LagrangeWeights {
 public:
  // INVALID_ARGUMENT: empty, or a holder twice.
  static absl::StatusOr<LagrangeWeights> Create(
      std::vector<ShareIndex> holders);
  // `removed` gives way to `added`, at a cost linear in the set.
  // INVALID_ARGUMENT: `removed` is not in it, `added` is already, or `inverses`
  // does not cover one of them or of the others.
  absl::Status Replace(ShareIndex removed, ShareIndex added,
                       const PointInverses& inverses);

  std::span<const ShareIndex> holders() const { return holders_; }
  // `values` in the order of holders(). INVALID_ARGUMENT: another number of
  // them. A wrong share, or fewer holders than the threshold of the sharing,
  // gives a wrong seed without an error.
  absl::StatusOr<MaskSeed> Reconstruct(
      std::span<const ShareValue* const> values) const;

 private:
  LagrangeWeights() = default;
  friend absl::StatusOr<struct RecoveredSeed> RecoverSeed(
      std::span<const struct ReceivedShare> shares, int64_t threshold,
      const std::function<bool(const MaskSeed&)>& is_right);
  static MaskSeed MakeSeed(Field128 first, Field128 second);

  std::vector<ShareIndex> holders_;
  std::vector<Field128> weights_;
};

struct ReceivedShare {
  ShareIndex holder;
  const ShareValue* value = nullptr;
};

struct RecoveredSeed {
  MaskSeed seed;
  // Holders whose share does not fit the seed.
  std::vector<ShareIndex> wrong;
};

// For when a plain reconstruction has failed its check: finds the seed in spite
// of up to ⌊(shares − threshold) / 2⌋ wrong shares (Berlekamp–Welch), and says
// which they are. `is_right` compares with the public key or the commitment.
// INVALID_ARGUMENT: a holder twice, or fewer shares than the threshold.
// DATA_LOSS: too many are wrong.
absl::StatusOr<RecoveredSeed> RecoverSeed(
    std::span<const ReceivedShare> shares, int64_t threshold,
    const std::function<bool(const MaskSeed&)>& is_right);

}  // namespace mledge::secagg

#endif  // MLEDGE_AGGREGATION_SECAGG_SHAMIR_H_
