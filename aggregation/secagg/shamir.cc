#include "mledge/aggregation/secagg/shamir.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "mledge/aggregation/secagg/internal/share_decoder.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::secagg {
namespace {

using secagg_internal::LimbsOf;
using secagg_internal::PointsOf;
using secagg_internal::WipedElements;

absl::Status CheckDistinct(std::vector<uint32_t> points) {
  std::sort(points.begin(), points.end());
  const auto twice = std::adjacent_find(points.begin(), points.end());
  if (twice == points.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("the share of member ", *twice - 1, " is there twice"));
}

}  // namespace

ShareIndex ShareIndex::OfMember(uint32_t member_index) {
  CHECK(member_index != UINT32_MAX) << "no share point is left for that member";
  return ShareIndex(member_index + 1);
}

absl::StatusOr<ShareValue> ParseShareValue(std::string_view bytes) {
  if (bytes.size() != kShareValueSize) {
    return absl::InvalidArgumentError(StrCat(
        "a share of ", bytes.size(), " bytes; it has ", kShareValueSize));
  }
  ShareValue value;
  std::copy(bytes.begin(), bytes.end(),
            value.mutable_bytes(RevealSecret()).begin());
  return value;
}

absl::StatusOr<std::vector<ShareValue>> ShareSeed(
    const MaskSeed& seed, int64_t threshold,
    std::span<const ShareIndex> holders, SecretRandom& random) {
  if (threshold < 1 || threshold > static_cast<int64_t>(holders.size())) {
    return absl::InvalidArgumentError(StrCat("a threshold of ", threshold,
                                             " for ", holders.size(),
                                             " holders of shares"));
  }
  const std::vector<uint32_t> points = PointsOf(holders);
  MLEDGE_RETURN_IF_ERROR(CheckDistinct(points));
  const size_t drawn = static_cast<size_t>(threshold - 1);
  const SecretBytes coefficients = random.Bytes(2 * 16 * drawn);
  std::vector<ShareValue> shares(holders.size());
  for (size_t limb = 0; limb < 2; ++limb) {
    // Horner's rule from the highest coefficient, for all holders at once.
    WipedElements values(holders.size());
    const auto bytes =
        coefficients.bytes(RevealSecret()).subspan(limb * 16 * drawn);
    for (size_t i = drawn; i > 0; --i) {
      MultiplyBySmallAndAdd(
          values.span(), points,
          Field128::FromBytes(bytes.subspan(16 * (i - 1)).first<16>()));
    }
    MultiplyBySmallAndAdd(values.span(), points,
                          LimbsOf(seed.bytes(RevealSecret()))[limb]);
    for (size_t i = 0; i < holders.size(); ++i) {
      values.span()[i].ToBytes(shares[i]
                                   .mutable_bytes(RevealSecret())
                                   .subspan(16 * limb)
                                   .first<16>());
    }
  }
  return shares;
}

// With c = the product of all points, w_i = Π x_j / (x_j − x_i) over j ≠ i is
// c / (x_i · Π (x_j − x_i)), and minus is exclusive or.
absl::StatusOr<LagrangeWeights> LagrangeWeights::Create(
    std::vector<ShareIndex> holders) {
  if (holders.empty()) {
    return absl::InvalidArgumentError("no holders of shares");
  }
  const std::vector<uint32_t> points = PointsOf(holders);
  MLEDGE_RETURN_IF_ERROR(CheckDistinct(points));
  LagrangeWeights weights;
  weights.holders_ = std::move(holders);
  weights.weights_.assign(points.size(), Field128{1, 0});
  std::vector<uint32_t> factors(points.size());
  Field128 product{1, 0};
  for (size_t j = 0; j < points.size(); ++j) {
    for (size_t i = 0; i < points.size(); ++i) {
      factors[i] = i == j ? points[i] : points[i] ^ points[j];
    }
    MultiplyBySmallAndAdd(weights.weights_, factors, {});
    product = MultiplyBySmall(product, points[j]);
  }
  secagg_internal::InvertAll(weights.weights_);
  for (Field128& weight : weights.weights_) weight = Multiply(weight, product);
  return weights;
}

PointInverses::PointInverses(uint32_t members)
    // Exclusive or stays below the next power of two.
    : inverses_(std::bit_ceil(uint64_t{members} + 1) - 1) {
  for (size_t i = 0; i < inverses_.size(); ++i) inverses_[i] = {i + 1, 0};
  secagg_internal::InvertAll(inverses_);
}

absl::Status LagrangeWeights::Replace(ShareIndex removed, ShareIndex added,
                                      const PointInverses& inverses) {
  const auto found = std::find(holders_.begin(), holders_.end(), removed);
  if (found == holders_.end() ||
      std::find(holders_.begin(), holders_.end(), added) != holders_.end()) {
    return absl::InvalidArgumentError(
        StrCat("cannot take member ", added.member(), " for member ",
               removed.member(), " in a set of ", holders_.size(),
               " holders: the one must be outside, the other inside"));
  }
  if (!inverses.Covers(added) ||
      !std::all_of(holders_.begin(), holders_.end(),
                   [&](ShareIndex h) { return inverses.Covers(h); })) {
    return absl::InvalidArgumentError(
        "inverses for fewer members than there are");
  }
  *found = added;
  // w_i · (x_r − x_i) / x_r · x_a / (x_a − x_i), for all but the new one. The
  // weights turn shares that are all 1 into 1, so that one follows from the
  // others.
  const uint32_t old_point = removed.point();
  const uint32_t new_point = added.point();
  const Field128 ratio = MultiplyBySmall(inverses.Of(old_point), new_point);
  Field128 last{1, 0};
  Field128* last_weight = nullptr;
  for (size_t i = 0; i < holders_.size(); ++i) {
    const uint32_t point = holders_[i].point();
    if (point == new_point) {
      last_weight = &weights_[i];
      continue;
    }
    const Field128 factor = Multiply(MultiplyBySmall(ratio, point ^ old_point),
                                     inverses.Of(point ^ new_point));
    weights_[i] = Multiply(weights_[i], factor);
    last ^= weights_[i];
  }
  *last_weight = last;
  return absl::OkStatus();
}

MaskSeed LagrangeWeights::MakeSeed(Field128 first, Field128 second) {
  WipingBytes<kMaskSeedSize> bytes;
  const auto out = bytes.mutable_bytes(RevealSecret());
  first.ToBytes(out.first<16>());
  second.ToBytes(out.last<16>());
  return MaskSeed(std::move(bytes));
}

absl::StatusOr<MaskSeed> LagrangeWeights::Reconstruct(
    std::span<const ShareValue* const> values) const {
  if (values.size() != weights_.size()) {
    return absl::InvalidArgumentError(
        StrCat(values.size(), " shares for ", weights_.size(), " holders"));
  }
  std::array<Field128, 2> sums{};
  for (size_t i = 0; i < values.size(); ++i) {
    const std::array<Field128, 2> limbs =
        LimbsOf(values[i]->bytes(RevealSecret()));
    sums[0] ^= Multiply(limbs[0], weights_[i]);
    sums[1] ^= Multiply(limbs[1], weights_[i]);
  }
  return MakeSeed(sums[0], sums[1]);
}

absl::StatusOr<RecoveredSeed> RecoverSeed(
    std::span<const ReceivedShare> shares, int64_t threshold,
    const std::function<bool(const MaskSeed&)>& is_right) {
  if (threshold < 1 || static_cast<int64_t>(shares.size()) < threshold) {
    return absl::InvalidArgumentError(
        StrCat(shares.size(), " shares where ", threshold, " are needed"));
  }
  std::vector<uint32_t> points;
  for (const ReceivedShare& share : shares) {
    points.push_back(share.holder.point());
  }
  MLEDGE_RETURN_IF_ERROR(CheckDistinct(points));
  std::array<Field128, 2> secret{};
  std::vector<bool> is_wrong(shares.size(), false);
  for (size_t limb = 0; limb < 2; ++limb) {
    WipedElements values(shares.size());
    for (size_t i = 0; i < shares.size(); ++i) {
      values.span()[i] = LimbsOf(shares[i].value->bytes(RevealSecret()))[limb];
    }
    const std::optional<Field128> constant = secagg_internal::DecodeConstant(
        points, values.span(), static_cast<size_t>(threshold), is_wrong);
    if (!constant.has_value()) {
      return absl::DataLossError(StrCat(
          "too many of ", shares.size(),
          " shares are wrong to find the seed of threshold ", threshold));
    }
    secret[limb] = *constant;
  }
  RecoveredSeed recovered{LagrangeWeights::MakeSeed(secret[0], secret[1]), {}};
  if (!is_right(recovered.seed)) {
    return absl::DataLossError(
        StrCat("the ", shares.size(),
               " shares agree on a seed, but it is not the one that was "
               "committed to"));
  }
  for (size_t i = 0; i < shares.size(); ++i) {
    if (is_wrong[i]) recovered.wrong.push_back(shares[i].holder);
  }
  return recovered;
}

}  // namespace mledge::secagg
