#include <algorithm>
#include <iterator>

#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 6 on the server: seeds are rebuilt from shares, each is compared with
// what its device committed to, and their masks are taken out of the sum.

namespace mledge::secagg {

absl::Status ServerGroup::OnUnmask(uint32_t member,
                                   const v1::SecaggUnmask& message) {
  MLEDGE_RETURN_IF_ERROR(CheckSession(message.session()));
  Member& sender = members_[member];
  if (!sender.signature.has_value()) {
    return absl::FailedPreconditionError("this device did not sign the sets");
  }
  if (sender.unmasked) {
    return absl::AlreadyExistsError("this device's shares are here already");
  }
  std::vector<std::pair<uint32_t, ShareValue>> shares;
  int64_t previous = -1;
  for (const v1::SecaggUnmask::Share& share : message.shares()) {
    const uint32_t target = share.member();
    if (static_cast<int64_t>(target) <= previous) {
      return absl::InvalidArgumentError(
          "shares are not in the order of their members");
    }
    previous = target;
    if (!std::binary_search(sender.neighbors.begin(), sender.neighbors.end(),
                            target) ||
        (!alive_.Contains(target) && !dead_.Contains(target))) {
      return absl::InvalidArgumentError(
          StrCat("a share of member ", target, ", whom it has none of"));
    }
    MLEDGE_ASSIGN_OR_RETURN(ShareValue value, ParseShareValue(share.share()));
    shares.emplace_back(target, std::move(value));
  }
  for (auto& [target, value] : shares) {
    members_[target].shares.emplace_back(member, std::move(value));
  }
  sender.unmasked = true;
  return absl::OkStatus();
}

namespace {

using HeldShare = std::pair<uint32_t, ShareValue>;

// Weights for these holders (ascending), made from those of the member before
// where the two sets differ little: on the full graph they do.
absl::Status FitWeights(std::vector<ShareIndex> wanted,
                        std::optional<LagrangeWeights>& weights) {
  if (weights.has_value()) {
    std::vector<ShareIndex> have(weights->holders().begin(),
                                 weights->holders().end());
    std::sort(have.begin(), have.end());
    std::vector<ShareIndex> surplus, missing;
    std::set_difference(have.begin(), have.end(), wanted.begin(), wanted.end(),
                        std::back_inserter(surplus));
    std::set_difference(wanted.begin(), wanted.end(), have.begin(), have.end(),
                        std::back_inserter(missing));
    // Each exchange is linear in the set, a new set quadratic.
    if (surplus.size() == missing.size() &&
        surplus.size() * 4 < wanted.size()) {
      for (size_t i = 0; i < surplus.size(); ++i) {
        MLEDGE_ASSIGN_OR_RETURN(weights,
                                weights->WithReplaced(surplus[i], missing[i]));
      }
      return absl::OkStatus();
    }
  }
  MLEDGE_ASSIGN_OR_RETURN(weights, LagrangeWeights::Create(std::move(wanted)));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MaskSeed> ServerGroup::RebuildSeed(
    uint32_t member, std::optional<LagrangeWeights>& weights,
    const std::function<bool(const MaskSeed&)>& is_right, Removals& removals) {
  const std::vector<HeldShare>& shares = members_[member].shares;
  const size_t threshold = setup_.parameters.threshold;
  // Of those who never lied first.
  std::vector<ShareIndex> chosen;
  for (const bool lied : {false, true}) {
    for (const HeldShare& share : shares) {
      if (chosen.size() < threshold && liars_[share.first] == lied) {
        chosen.push_back(ShareIndex::OfMember(share.first));
      }
    }
  }
  std::sort(chosen.begin(), chosen.end());
  MLEDGE_RETURN_IF_ERROR(FitWeights(std::move(chosen), weights));
  std::vector<const ShareValue*> values;
  values.reserve(weights->holders().size());
  for (const ShareIndex holder : weights->holders()) {
    const auto place = std::lower_bound(
        shares.begin(), shares.end(), holder.member(),
        [](const HeldShare& a, uint32_t b) { return a.first < b; });
    values.push_back(&place->second);
  }
  MLEDGE_ASSIGN_OR_RETURN(MaskSeed seed, weights->Reconstruct(values));
  if (is_right(seed)) return seed;

  // Somebody's share is wrong: the others may be enough.
  std::vector<ReceivedShare> received;
  received.reserve(shares.size());
  for (const HeldShare& share : shares) {
    received.push_back({ShareIndex::OfMember(share.first), &share.second});
  }
  absl::StatusOr<RecoveredSeed> recovered =
      RecoverSeed(received, static_cast<int64_t>(threshold), is_right);
  if (!recovered.ok()) {
    return Annotate(recovered.status(), StrCat("shares of device ",
                                               setup_.devices[member].value()));
  }
  removals.decoded = true;
  removals.wrong = std::move(recovered->wrong);
  for (const ShareIndex holder : removals.wrong) {
    liars_[holder.member()] = true;
  }
  return std::move(recovered->seed);
}

ServerGroup::Removals ServerGroup::MasksOf(
    uint32_t member, std::optional<LagrangeWeights>& weights) {
  Removals removals;
  const auto sections = static_cast<uint32_t>(sum_.size());
  removals.masks.resize(sections);
  const Leaf& leaf = setup_.leaves[member];
  const Offer& offer = *setup_.offer;
  std::sort(
      members_[member].shares.begin(), members_[member].shares.end(),
      [](const HeldShare& a, const HeldShare& b) { return a.first < b.first; });
  if (alive_.Contains(member)) {
    const absl::StatusOr<MaskSeed> seed = RebuildSeed(
        member, weights,
        [&](const MaskSeed& candidate) {
          return CommitTo(candidate) == leaf.self_mask_commitment;
        },
        removals);
    removals.status = seed.status();
    for (uint32_t i = 0; seed.ok() && i < sections; ++i) {
      removals.masks[i].push_back(
          {MaskKey(offer.cipher, *seed, {MaskPurpose::kSelf, i}),
           MaskSign::kSubtract});
    }
    return removals;
  }

  std::optional<AgreementKeyPair> key;
  const absl::StatusOr<MaskSeed> seed = RebuildSeed(
      member, weights,
      [&](const MaskSeed& candidate) {
        absl::StatusOr<AgreementKeyPair> pair = AgreementKeyPair::FromSeed(
            offer.agreement, candidate, KeyRole::kMask);
        if (!pair.ok() || !(pair->public_key() == leaf.mask_key)) return false;
        key = *std::move(pair);
        return true;
      },
      removals);
  removals.status = seed.status();
  if (!seed.ok()) return removals;
  for (const uint32_t neighbor : members_[member].neighbors) {
    if (!alive_.Contains(neighbor)) continue;
    const absl::StatusOr<SharedSecret> secret =
        key->Agree(setup_.leaves[neighbor].mask_key);
    ++removals.key_agreements;
    if (!secret.ok()) {
      removals.status = secret.status();
      return removals;
    }
    const MaskSeed pair = secret->DeriveMaskSeed({.session = setup_.session,
                                                  .own_index = member,
                                                  .peer_index = neighbor});
    for (uint32_t i = 0; i < sections; ++i) {
      removals.masks[i].push_back(
          {MaskKey(offer.cipher, pair, {MaskPurpose::kPair, i}),
           Opposite(SignInPair(neighbor, member))});
    }
  }
  return removals;
}

// Whether there are enough shares of every seed that has to be rebuilt.
absl::Status ServerGroup::CheckShares() const {
  for (uint32_t i = 0; i < members_.size(); ++i) {
    if (!alive_.Contains(i) && !dead_.Contains(i)) continue;
    const size_t shares = members_[i].shares.size();
    if (shares < setup_.parameters.threshold) {
      return absl::FailedPreconditionError(
          StrCat("of device ", setup_.devices[i].value(), " only ", shares,
                 " shares arrived, where ", setup_.parameters.threshold,
                 " are needed"));
    }
  }
  return absl::OkStatus();
}

absl::Status ServerGroup::RemoveMasks() {
  MLEDGE_RETURN_IF_ERROR(CheckShares());
  if (!setup_.inputs_are_masked) return absl::OkStatus();
  std::vector<Removals> removals(members_.size());
  const auto count = static_cast<int64_t>(members_.size());
  const int64_t threads = setup_.pool == nullptr ? 1 : setup_.pool->size() + 1;
  // Long enough stretches to gain from similar sets of holders, short enough
  // to keep all threads busy.
  const int64_t grain = std::max<int64_t>(1, count / (8 * threads));
  ParallelFor(setup_.pool, count, grain, [&](int64_t begin, int64_t end) {
    std::optional<LagrangeWeights> weights;
    for (int64_t i = begin; i < end; ++i) {
      const auto member = static_cast<uint32_t>(i);
      if (!alive_.Contains(member) && !dead_.Contains(member)) continue;
      removals[i] = MasksOf(member, weights);
    }
  });
  std::vector<std::vector<SignedMask>> masks(sum_.size());
  for (Removals& removal : removals) {
    MLEDGE_RETURN_IF_ERROR(removal.status);
    counters_.key_agreements += removal.key_agreements;
    counters_.wrong_shares += static_cast<int64_t>(removal.wrong.size());
    counters_.seeds_decoded += removal.decoded ? 1 : 0;
    for (size_t section = 0; section < removal.masks.size(); ++section) {
      std::move(removal.masks[section].begin(), removal.masks[section].end(),
                std::back_inserter(masks[section]));
    }
  }
  removals.clear();
  for (size_t section = 0; section < sum_.size(); ++section) {
    ModularVector& sum = sum_[section];
    ApplyMasks(masks[section], &sum, setup_.pool);
    counters_.keystream_bytes += static_cast<int64_t>(masks[section].size()) *
                                 KeystreamSize(sum.modulus(), sum.size());
  }
  return absl::OkStatus();
}

void ServerGroup::CloseUnmasking(ServerEffects& effects) {
  for (const uint32_t i : alive_.ToVector()) {
    if (!members_[i].unmasked) {
      Lose(i, Round::kUnmask, "released no shares in time");
    }
  }
  if (const absl::Status status = RemoveMasks(); !status.ok()) {
    return Abort(Annotate(status, "unmasking"), effects);
  }
  state_ = State::kFinished;
  deadline_ = absl::InfiniteFuture();
  GroupFinished finished;
  finished.group = setup_.group;
  finished.sum = std::move(sum_);
  for (const uint32_t i : alive_.ToVector()) {
    finished.counted.push_back(setup_.devices[i]);
    finished.base_versions.push_back(setup_.leaves[i].base_version);
  }
  finished.lost = lost_;
  finished.counters = counters_;
  sum_.clear();
  for (Member& member : members_) member.shares.clear();
  effects.push_back(std::move(finished));
}

}  // namespace mledge::secagg
