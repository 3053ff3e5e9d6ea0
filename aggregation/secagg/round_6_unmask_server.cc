#include <algorithm>
#include <iterator>

#include "mledge/aggregation/secagg/internal/server_group.h"
#include "mledge/aggregation/secagg/key_agreement.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

// Round 6 on the server: seeds are rebuilt from shares, each is compared with
// what its device committed to, and their masks are taken out of the sum.

namespace mledge::secagg {
namespace {

// Among `neighbors`, which ascend; as many as they are if it is not there.
size_t PlaceOf(uint32_t member, const std::vector<uint32_t>& neighbors) {
  const auto found =
      std::lower_bound(neighbors.begin(), neighbors.end(), member);
  return found != neighbors.end() && *found == member
             ? static_cast<size_t>(found - neighbors.begin())
             : neighbors.size();
}

}  // namespace

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
  if (message.shares().size() != message.members_size() * kShareValueSize) {
    return absl::InvalidArgumentError(StrCat(
        message.shares().size(), " bytes of shares of ", message.members_size(),
        " members; a share has ", kShareValueSize));
  }
  // All or none of them are taken.
  auto next = sender.neighbors.begin();
  for (const uint32_t target : message.members()) {
    while (next != sender.neighbors.end() && *next < target) ++next;
    if (next == sender.neighbors.end() || *next != target ||
        (!alive_.Contains(target) && !dead_.Contains(target))) {
      return absl::InvalidArgumentError(
          StrCat("a share of member ", target,
                 ", whom it has none of or gave one of before"));
    }
    ++next;
  }
  std::string_view shares = message.shares();
  for (const uint32_t index : message.members()) {
    Member& target = members_[index];
    target.shares.resize(target.neighbors.size());
    MLEDGE_ASSIGN_OR_RETURN(target.shares[PlaceOf(member, target.neighbors)],
                            ParseShareValue(shares.substr(0, kShareValueSize)));
    shares.remove_prefix(kShareValueSize);
  }
  sender.unmasked = true;
  return absl::OkStatus();
}

// Weights for holders whose shares of `member` are here, made from those of the
// member before where the two sets differ little: along the circle they do. Of
// those who ever lied no more than it takes.
absl::Status ServerGroup::FitWeights(
    const Member& member, const PointInverses& inverses,
    std::optional<LagrangeWeights>& weights) const {
  const size_t threshold = setup_.parameters.threshold;
  const std::vector<uint32_t>& neighbors = member.neighbors;
  // Whose shares may be used, by their place among the neighbours.
  std::vector<bool> free(neighbors.size());
  for (size_t i = 0; i < neighbors.size(); ++i) {
    free[i] = member.shares[i].has_value() && !liars_[neighbors[i]];
  }
  if (weights.has_value()) {
    std::vector<ShareIndex> surplus;
    for (const ShareIndex holder : weights->holders()) {
      const size_t place = PlaceOf(holder.member(), neighbors);
      if (place < neighbors.size() && free[place]) {
        free[place] = false;
      } else {
        surplus.push_back(holder);
      }
    }
    std::vector<ShareIndex> added;
    for (size_t i = 0; i < free.size() && added.size() < surplus.size(); ++i) {
      if (free[i]) added.push_back(ShareIndex::OfMember(neighbors[i]));
    }
    // Each exchange is linear in the set, a new set quadratic.
    if (added.size() == surplus.size() && surplus.size() * 4 < threshold) {
      for (size_t i = 0; i < surplus.size(); ++i) {
        MLEDGE_RETURN_IF_ERROR(
            weights->Replace(surplus[i], added[i], inverses));
      }
      return absl::OkStatus();
    }
  }
  // Read once: other threads may find out a liar meanwhile, and nobody is to be
  // chosen twice.
  std::vector<bool> lied(neighbors.size());
  for (size_t i = 0; i < neighbors.size(); ++i) {
    lied[i] = liars_[neighbors[i]];
  }
  std::vector<ShareIndex> chosen;
  for (const bool among_liars : {false, true}) {
    for (size_t i = 0; i < neighbors.size(); ++i) {
      if (chosen.size() < threshold && member.shares[i].has_value() &&
          lied[i] == among_liars) {
        chosen.push_back(ShareIndex::OfMember(neighbors[i]));
      }
    }
  }
  MLEDGE_ASSIGN_OR_RETURN(weights, LagrangeWeights::Create(std::move(chosen)));
  return absl::OkStatus();
}

absl::StatusOr<MaskSeed> ServerGroup::RebuildSeed(
    uint32_t index, const PointInverses& inverses,
    std::optional<LagrangeWeights>& weights,
    const std::function<bool(const MaskSeed&)>& is_right, Removals& removals) {
  const Member& member = members_[index];
  const size_t threshold = setup_.parameters.threshold;
  MLEDGE_RETURN_IF_ERROR(FitWeights(member, inverses, weights));
  std::vector<const ShareValue*> values;
  values.reserve(weights->holders().size());
  for (const ShareIndex holder : weights->holders()) {
    values.push_back(
        &*member.shares[PlaceOf(holder.member(), member.neighbors)]);
  }
  MLEDGE_ASSIGN_OR_RETURN(MaskSeed seed, weights->Reconstruct(values));
  if (is_right(seed)) return seed;

  // Somebody's share is wrong: the others may be enough.
  std::vector<ReceivedShare> received;
  received.reserve(member.shares.size());
  for (size_t i = 0; i < member.shares.size(); ++i) {
    if (member.shares[i].has_value()) {
      received.push_back(
          {ShareIndex::OfMember(member.neighbors[i]), &*member.shares[i]});
    }
  }
  absl::StatusOr<RecoveredSeed> recovered =
      RecoverSeed(received, static_cast<int64_t>(threshold), is_right);
  if (!recovered.ok()) {
    return Annotate(recovered.status(),
                    StrCat("shares of device ", setup_.devices[index].value()));
  }
  removals.decoded = true;
  removals.wrong = std::move(recovered->wrong);
  for (const ShareIndex holder : removals.wrong) {
    liars_[holder.member()] = true;
  }
  return std::move(recovered->seed);
}

ServerGroup::Removals ServerGroup::MasksOf(
    uint32_t member, const PointInverses& inverses,
    std::optional<LagrangeWeights>& weights) {
  Removals removals;
  const auto sections = static_cast<uint32_t>(sum_.size());
  removals.masks.resize(sections);
  const Leaf& leaf = setup_.leaves[member];
  const Offer& offer = *setup_.offer;
  if (alive_.Contains(member)) {
    const absl::StatusOr<MaskSeed> seed = RebuildSeed(
        member, inverses, weights,
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
      member, inverses, weights,
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
    const auto& held = members_[i].shares;
    const auto shares =
        std::count_if(held.begin(), held.end(),
                      [](const auto& share) { return share.has_value(); });
    if (shares < static_cast<int64_t>(setup_.parameters.threshold)) {
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
  const PointInverses inverses(setup_.parameters.devices);
  const std::vector<uint32_t> circle = setup_.graph->Circle();
  const auto count = static_cast<int64_t>(members_.size());
  const int64_t threads = setup_.pool == nullptr ? 1 : setup_.pool->size() + 1;
  // Long enough stretches to gain from similar sets of holders, short enough
  // to keep all threads busy.
  const int64_t grain = std::max<int64_t>(1, count / (32 * threads));
  ParallelFor(setup_.pool, count, grain, [&](int64_t begin, int64_t end) {
    std::optional<LagrangeWeights> weights;
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t member = circle[i];
      if (!alive_.Contains(member) && !dead_.Contains(member)) continue;
      removals[i] = MasksOf(member, inverses, weights);
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
