#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mledge/aggregation/secagg/mask.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/logging.h"
#include "mledge/tests/aggregation/secagg/lying_server.h"
#include "mledge/tests/aggregation/secagg/member_entries.h"

// A coordinator that cuts a stretch out of the circle of a thousand devices and
// computes its sum. It cannot do so with one story, because each cut costs
// members who count as lost and both together are too many; so it tells the
// half around each cut that only the members there were lost, whose boxes it
// kept from them. Both halves see consistent sets and enough signatures. The
// corrupt devices stand where it needs them, which happens rarely, but no check
// of the devices among themselves excludes it.

namespace mledge::secagg {
namespace {

using Outcome = ClientFinished::Outcome;

constexpr int kDevices = 1000;
constexpr int kStretch = 400;

// Gives what the system gives, and can be asked for its first 32 bytes: the
// seed of the mask key.
class RememberedRandom final : public SecretRandom {
 public:
  void Fill(std::span<uint8_t> out) override {
    system_.Fill(out);
    for (const uint8_t byte : out) {
      if (first_.size() < kMaskSeedSize) first_.push_back(byte);
    }
  }
  const std::vector<uint8_t>& first() const { return first_; }

 private:
  SystemSecretRandom system_;
  std::vector<uint8_t> first_;
};

class SameAgain final : public SecretRandom {
 public:
  explicit SameAgain(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}
  void Fill(std::span<uint8_t> out) override {
    CHECK(out.size() == bytes_.size());
    std::memcpy(out.data(), bytes_.data(), out.size());
  }

 private:
  const std::vector<uint8_t> bytes_;
};

// Members in the order in which they stand on the circle: next to each other
// are those who share the most neighbors.
std::vector<uint32_t> CircleOf(const NeighborGraph& graph) {
  std::vector<uint32_t> circle = {0};
  std::vector<bool> seen(graph.clients());
  seen[0] = true;
  while (static_cast<int64_t>(circle.size()) < graph.clients()) {
    const std::vector<uint32_t> around = graph.Neighbors(circle.back());
    uint32_t next = circle.back();
    size_t most = 0;
    for (const uint32_t candidate : around) {
      if (seen[candidate]) continue;
      std::vector<uint32_t> both;
      const std::vector<uint32_t> other = graph.Neighbors(candidate);
      std::set_intersection(around.begin(), around.end(), other.begin(),
                            other.end(), std::back_inserter(both));
      if (both.size() > most) {
        most = both.size();
        next = candidate;
      }
    }
    CHECK(next != circle.back());
    seen[next] = true;
    circle.push_back(next);
  }
  return circle;
}

enum class RegistrarIs { kHonest, kTheCoordinator };

class SplitViews {
 public:
  explicit SplitViews(RegistrarIs registrar)
      : registrar_(registrar),
        world_({.devices = kDevices,
                .corrupt_fraction = 0.1,
                .dropout_fraction = 0.02,
                .graph = GraphKind::kHarary,
                .sections = {{11, 32}},
                .identities = false}) {
    for (int i = 0; i < kDevices; ++i) {
      world_.device(i).random = std::make_unique<RememberedRandom>();
    }
    world_.to_device = [this](WorldDevice& to, v1::SecaggServerMessage& m) {
      Tell(MemberOf(to), m);
      return true;
    };
    world_.upload = [this](WorldDevice& from, std::string& bytes) {
      inputs_[MemberOf(from)] = bytes;
      return true;
    };
  }

  void Run() { world_.Run(); }
  SessionWorld& world() { return world_; }
  const std::vector<uint32_t>& stretch() const { return stretch_; }

  // The sum over the honest members of the stretch, if the coordinator can
  // compute it from what it was sent and what the corrupt members know.
  std::optional<std::vector<uint32_t>> LearnedSum() {
    const Modulus modulus = world_.offer().sections[0].modulus;
    ModularVector sum = *ModularVector::Create(modulus, 11);
    std::vector<SignedMask> masks;
    for (const uint32_t member : stretch_) {
      if (!inputs_.contains(member)) return std::nullopt;
      const std::string& input = inputs_[member];
      EXPECT_THAT(
          sum.UnpackAndAdd(
                 0, 11,
                 {reinterpret_cast<const uint8_t*>(input.data()), input.size()})
              .ok(),
          true);
      std::optional<MaskSeed> own = SelfMaskOf(member);
      if (!own.has_value()) return std::nullopt;
      masks.push_back(
          {MaskKey(CipherSuite::kAes128Ctr, *own, {MaskPurpose::kSelf, 0}),
           MaskSign::kSubtract});
      RemoveMasksWithCorrupt(member, masks);
    }
    ApplyMasks(masks, &sum, nullptr);
    std::vector<uint32_t> result;
    for (int64_t i = 0; i < 11; ++i) result.push_back(sum.residue(i));
    return result;
  }
  std::vector<uint32_t> TrueSum() {
    std::vector<uint32_t> sum(11);
    for (const uint32_t member : stretch_) {
      for (int i = 0; i < 11; ++i) {
        sum[i] += world_.device(member).values[0][i];
      }
    }
    return sum;
  }

 private:
  // What somebody is told: nobody is dead, and these never shared.
  struct View {
    std::set<uint32_t> missing;
    MemberSet alive{kDevices};
    MemberSet dead{kDevices};
  };

  uint32_t MemberOf(const WorldDevice& device) {
    return static_cast<uint32_t>(std::stoul(device.id.substr(7)));
  }

  // On the circle: the stretch, one cut of k/2 members behind it, the rest, the
  // other cut of k/2 before it. A cut works where t − k/2 of its members are
  // corrupt. In the middle of the stretch, where the two stories meet, so many
  // corrupt members sign both that enough honest ones get t signatures.
  void Plan() {
    if (!circle_.empty()) return;
    const ServerGroup& group = *world_.server().group(0);
    const GroupParameters& p = group.parameters();
    circle_ = CircleOf(group.graph());
    const uint32_t half = p.neighbors / 2;
    const uint32_t needed = p.threshold - half;
    const uint32_t dropouts = p.devices - p.least_alive;
    // One story with both cuts is refused; one with one cut is not.
    ASSERT_LE(half - needed, dropouts);
    ASSERT_GT(2 * (half - needed), dropouts);

    std::vector<bool> is_cut(kDevices);
    for (const uint32_t start : {uint32_t{kStretch}, kDevices - half}) {
      View& view = views_[start == kStretch ? 0 : 1];
      for (uint32_t i = 0; i < half; ++i) {
        const uint32_t member = circle_[start + i];
        is_cut[start + i] = true;
        if ((i + 1) * needed / half != i * needed / half) {
          corrupt_.insert(member);
        } else {
          view.missing.insert(member);
        }
      }
    }
    const uint32_t spare = (half - needed) / 2;
    const uint32_t beside = needed > spare ? needed - spare + 3 : 3;
    for (uint32_t i = 0; i < beside; ++i) {
      corrupt_.insert(circle_[kStretch / 2 + i]);
      corrupt_.insert(circle_[kStretch / 2 - 1 - i]);
    }
    ASSERT_LE(corrupt_.size(), kDevices / 10);

    for (View* view : {&views_[0], &views_[1], &views_[2]}) {
      for (uint32_t i = 0; i < kDevices; ++i) {
        if (!view->missing.contains(i)) view->alive.Insert(i);
      }
    }
    view_of_.resize(kDevices);
    const uint32_t rest_middle = (kStretch + half + kDevices - half) / 2;
    for (uint32_t place = 0; place < kDevices; ++place) {
      const uint32_t member = circle_[place];
      // Corrupt members and those of the cuts: everybody is alive.
      view_of_[member] = corrupt_.contains(member) || is_cut[place] ? &views_[2]
                         : place >= kStretch / 2 && place < rest_middle
                             ? &views_[0]
                             : &views_[1];
      if (place < kStretch && !corrupt_.contains(member)) {
        stretch_.push_back(member);
      }
    }
  }

  std::string BytesToSign(const View& view) {
    return SignedBytes(kSetsContext,
                       {world_.server().group(0)->session().ToBytes(),
                        view.alive.bytes(), view.dead.bytes()});
  }

  void Tell(uint32_t to, v1::SecaggServerMessage& message) {
    if (message.has_directory()) Plan();
    if (message.has_boxes()) {
      MemberEntries boxes = BoxesIn(message.boxes());
      std::erase_if(boxes, [&](const auto& box) {
        return view_of_[to]->missing.contains(box.first);
      });
      PutBoxes(boxes, *message.mutable_boxes());
    } else if (message.has_sets()) {
      v1::SecaggSetsMessage& sets = *message.mutable_sets();
      sets.set_alive(view_of_[to]->alive.bytes());
      sets.set_dead(view_of_[to]->dead.bytes());
      // An honest registrar signs one story. What the corrupt are told is the
      // way of this test to have them release what they hold.
      v1::SecaggSetsMessage& first = signed_sets_;
      if (first.alive().empty()) {
        first = sets;
        first.set_alive(views_[0].alive.bytes());
        first.set_dead(views_[0].dead.bytes());
        WitnessAnew(world_, first);
      }
      if (registrar_ == RegistrarIs::kTheCoordinator || corrupt_.contains(to)) {
        WitnessAnew(world_, sets);
      } else {
        *sets.mutable_witness() = first.witness();
      }
    } else if (message.has_signatures()) {
      const View* const view = view_of_[to];
      auto& list = *message.mutable_signatures()->mutable_signatures();
      list.Clear();
      for (const uint32_t neighbor :
           world_.server().group(0)->graph().Neighbors(to)) {
        // The corrupt sign every story, and believe every signature.
        const bool signs = corrupt_.contains(neighbor) ||
                           view_of_[neighbor] == view || corrupt_.contains(to);
        if (!signs || !view->alive.Contains(neighbor)) continue;
        v1::SecaggSignaturesMessage::Signature& entry = *list.Add();
        entry.set_member(neighbor);
        entry.set_signature(
            world_.device(neighbor).signer->Sign(BytesToSign(*view)));
      }
    }
  }

  std::optional<MaskSeed> SelfMaskOf(uint32_t member) {
    const uint32_t threshold = world_.server().group(0)->parameters().threshold;
    std::vector<ShareIndex> holders;
    std::vector<ShareValue> values;
    for (const uint32_t holder :
         world_.server().group(0)->graph().Neighbors(member)) {
      for (const auto& message : world_.device(holder).sent) {
        const MemberEntries shares = SharesIn(message.unmask());
        const auto share = shares.find(member);
        if (share == shares.end() || holders.size() == threshold) continue;
        holders.push_back(ShareIndex::OfMember(holder));
        values.push_back(*ParseShareValue(share->second));
      }
    }
    if (holders.size() < threshold) return std::nullopt;
    std::vector<const ShareValue*> pointers;
    for (const ShareValue& value : values) pointers.push_back(&value);
    return *LagrangeWeights::Create(holders)->Reconstruct(pointers);
  }

  void RemoveMasksWithCorrupt(uint32_t member, std::vector<SignedMask>& masks) {
    v1::SignedSecaggLeaf outer;
    v1::SecaggLeaf leaf;
    CHECK(outer.ParseFromString(
        world_.device(member).sent[0].advertise().leaf()));
    CHECK(leaf.ParseFromString(outer.leaf()));
    const auto key = *AgreementPublicKey::Parse(leaf.mask_public_key(),
                                                AgreementSuite::kX25519);
    for (const uint32_t neighbor :
         world_.server().group(0)->graph().Neighbors(member)) {
      if (!corrupt_.contains(neighbor)) continue;
      SameAgain again(
          static_cast<RememberedRandom&>(*world_.device(neighbor).random)
              .first());
      const MaskSeed pair =
          AgreementKeyPair::FromSeed(AgreementSuite::kX25519,
                                     MaskSeed::Generate(again), KeyRole::kMask)
              ->Agree(key)
              ->DeriveMaskSeed(
                  {world_.server().group(0)->session(), neighbor, member});
      masks.push_back(
          {MaskKey(CipherSuite::kAes128Ctr, pair, {MaskPurpose::kPair, 0}),
           Opposite(SignInPair(member, neighbor))});
    }
  }

  const RegistrarIs registrar_;
  SessionWorld world_;
  std::vector<uint32_t> circle_;
  std::vector<uint32_t> stretch_;  // honest members
  std::set<uint32_t> corrupt_;
  View views_[3];
  std::vector<const View*> view_of_;
  std::map<uint32_t, std::string> inputs_;
  v1::SecaggSetsMessage signed_sets_;
};

TEST(SplitViewsAttackTest, OneStatementOverTheSetsStopsIt) {
  SplitViews attack(RegistrarIs::kHonest);
  attack.Run();
  ASSERT_GT(attack.stretch().size(), 300u);
  EXPECT_EQ(attack.LearnedSum(), std::nullopt);
  // Half of the stretch was shown sets that nobody witnessed.
  int64_t left = 0;
  for (const uint32_t member : attack.stretch()) {
    const auto& finished = attack.world().device(member).finished;
    left += finished.has_value() && finished->outcome == Outcome::kLeft &&
            testing::Matches(testing::HasSubstr("about something else"))(
                std::string(finished->reason.message()));
  }
  EXPECT_GT(left, 150);
}

// The same with a registrar that signs whatever it is asked: it is the
// statement, and nothing else, that stops the attack.
TEST(SplitViewsAttackTest, ARegistrarInTheSameHandDoesNot) {
  SplitViews attack(RegistrarIs::kTheCoordinator);
  attack.Run();
  EXPECT_EQ(attack.LearnedSum(), attack.TrueSum());
}

}  // namespace
}  // namespace mledge::secagg
