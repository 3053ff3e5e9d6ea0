#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "mledge/aggregation/secagg/share_box.h"
#include "mledge/tests/aggregation/secagg/lying_server.h"
#include "mledge/tests/aggregation/secagg/member_entries.h"
#include "mledge/tests/support/status_matchers.h"

// A server that lies about boxes, about who is alive, and about what others
// said. Each test is one lie.

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using Outcome = ClientFinished::Outcome;

void SetBit(std::string& set, uint32_t member) {
  set[member / 8] = static_cast<char>(set[member / 8] | 1 << member % 8);
}
void ClearBit(std::string& set, uint32_t member) {
  set[member / 8] = static_cast<char>(set[member / 8] & ~(1 << member % 8));
}

TEST(UnmaskingAttackTest, AliveAndDeadMayNotOverlap) {
  SessionWorld world({});
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (message.has_sets()) SetBit(*message.mutable_sets()->mutable_dead(), 0);
  });
  ExpectLeft(world, kVictim, "both alive and dead");
}

TEST(UnmaskingAttackTest, OneTooManyDeclaredDeadIsRefused) {
  SessionWorld world({.devices = 20});
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (!message.has_sets()) return;
    for (uint32_t member = 10; member < 13; ++member) {
      ClearBit(*message.mutable_sets()->mutable_alive(), member);
      SetBit(*message.mutable_sets()->mutable_dead(), member);
    }
  });
  ExpectLeft(world, kVictim, "only 17 are alive");
}

TEST(UnmaskingAttackTest, ADeviceThatIsDeclaredDeadItselfReleasesNothing) {
  SessionWorld world({});
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (!message.has_sets()) return;
    ClearBit(*message.mutable_sets()->mutable_alive(), kVictim);
    SetBit(*message.mutable_sets()->mutable_dead(), kVictim);
  });
  ExpectLeft(world, kVictim, "not among those alive");
}

TEST(UnmaskingAttackTest, AMemberMayNotVanishFromTheSets) {
  SessionWorld world({});
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (message.has_sets()) {
      ClearBit(*message.mutable_sets()->mutable_alive(), 7);
    }
  });
  ExpectLeft(world, kVictim, "neither alive nor dead");
}

TEST(UnmaskingAttackTest, SetsBeyondTheMembersAreMalformed) {
  SessionWorld world({.devices = 20});
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (message.has_sets()) {
      SetBit(*message.mutable_sets()->mutable_alive(), 23);
    }
  });
  ExpectLeft(world, kVictim, "do not exist");
}

// What the honest server refuses to ask for, under a statement of a registrar
// that looks at nothing.
TEST(UnmaskingAttackTest, SetsThatLeaveItTooFewNeighborsAreNotSigned) {
  SessionWorld world(
      {.devices = 300, .graph = GraphKind::kHarary, .identities = false});
  Lie(world, [&](v1::SecaggServerMessage& message) {
    if (!message.has_sets()) return;
    const ServerGroup& group = *world.server().group(0);
    const GroupParameters& parameters = group.parameters();
    const uint32_t too_many = parameters.neighbors - parameters.threshold + 1;
    ASSERT_LE(too_many, parameters.devices - parameters.least_alive);
    const auto neighbors = group.graph().Neighbors(kVictim);
    v1::SecaggSetsMessage& sets = *message.mutable_sets();
    for (uint32_t i = 0; i < too_many; ++i) {
      ClearBit(*sets.mutable_alive(), neighbors[i]);
      SetBit(*sets.mutable_dead(), neighbors[i]);
    }
    WitnessAnew(world, sets);
  });
  ExpectLeft(world, kVictim, "neighbors are alive");
  for (const auto& message : world.device(kVictim).sent) {
    EXPECT_FALSE(message.has_sets_signature());
  }
}

TEST(UnmaskingAttackTest, SetsWithoutTheRegistrarsWordAreNotSigned) {
  struct Case {
    std::function<void(SessionWorld&, SetsStatement&)> change;
    std::string why;
  };
  const std::vector<Case> cases = {
      {[](SessionWorld&, SetsStatement& s) { s.signature[7] ^= 1; },
       "does not fit the witness key"},
      {[](SessionWorld&, SetsStatement& s) {
         SystemSecretRandom random;
         s.Sign(WitnessKey::Generate(random));
       },
       "does not fit the witness key"},
      {[](SessionWorld& world, SetsStatement& s) {
         s.session = Sha256Of("another session");
         s.Sign(world.registrar());
       },
       "about something else"},
      {[](SessionWorld& world, SetsStatement& s) {
         s.session_number -= 1;
         s.Sign(world.registrar());
       },
       "about something else"},
      {[](SessionWorld& world, SetsStatement& s) {
         s.group = 1;
         s.Sign(world.registrar());
       },
       "about something else"},
      {[](SessionWorld& world, SetsStatement& s) {
         s.task = Sha256Of("another task");
         s.Sign(world.registrar());
       },
       "about something else"},
      {[](SessionWorld& world, SetsStatement& s) {
         s.sets = Sha256Of("other sets");
         s.Sign(world.registrar());
       },
       "about something else"}};
  for (size_t i = 0; i <= cases.size(); ++i) {
    SCOPED_TRACE(i);
    SessionWorld world({.devices = 12});
    Lie(world, [&](v1::SecaggServerMessage& message) {
      if (!message.has_sets()) return;
      v1::SecaggSetsMessage& sets = *message.mutable_sets();
      if (i == cases.size()) {
        sets.clear_witness();
        return;
      }
      SetsStatement statement = *SetsStatement::FromProto(sets.witness());
      cases[i].change(world, statement);
      *sets.mutable_witness() = statement.ToProto();
    });
    ExpectLeft(world, kVictim,
               i == cases.size() ? "statement over sets" : cases[i].why);
    for (const auto& message : world.device(kVictim).sent) {
      EXPECT_FALSE(message.has_sets_signature());
    }
  }
}

// The registrar signs one pair of sets; whoever is shown others leaves.
TEST(UnmaskingAttackTest, TwoStoriesFindOneStatement) {
  SessionWorld world({.devices = 40, .dropout_fraction = 0.1});
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (message.has_sets() && to.id > world.device(19).id) {
      ClearBit(*message.mutable_sets()->mutable_alive(), kVictim);
      SetBit(*message.mutable_sets()->mutable_dead(), kVictim);
    }
    return true;
  };
  world.Run();
  EXPECT_THAT(world.finished, SizeIs(0));
  for (int i = 20; i < 40; ++i) ExpectLeft(world, i, "about something else");
}

TEST(UnmaskingAttackTest, ARegistrarThatSignsNoSetsEndsTheGroupCleanly) {
  for (const bool refuses : {true, false}) {
    SessionWorld world({.devices = 12});
    world.sets_witness = [&](absl::StatusOr<SetsStatement>& statement) {
      if (refuses) {
        statement = absl::FailedPreconditionError("has other sets already");
      } else {
        statement->sets = Sha256Of("of something else");
      }
    };
    world.Run();
    EXPECT_THAT(world.finished, SizeIs(0));
    ASSERT_THAT(world.aborted, SizeIs(1));
    EXPECT_THAT(world.aborted[0].reason.message(),
                HasSubstr(refuses ? "other sets already" : "something else"));
    EXPECT_EQ(world.CountOf(Outcome::kAborted), 12);
  }
}

TEST(UnmaskingAttackTest, ARegistrarThatDoesNotAnswerEndsTheGroupInTime) {
  SessionWorld world({.devices = 12});
  world.sets_witness_answers = false;
  world.Run();
  EXPECT_THAT(world.finished, SizeIs(0));
  ASSERT_THAT(world.aborted, SizeIs(1));
  EXPECT_THAT(world.aborted[0].reason,
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("did not witness the sets")));
}

// Half of the devices hear that the victim is alive, half that it is dead, so
// that between them they would release both of its seeds; and the registrar is
// on the server's side and signs both. What remains are the neighbors.
TEST(UnmaskingAttackTest, TwoStoriesAboutOneDeviceReleaseNothing) {
  SessionWorld world({.devices = 40, .dropout_fraction = 0.1});
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (message.has_sets() && to.id > world.device(19).id) {
      ClearBit(*message.mutable_sets()->mutable_alive(), kVictim);
      SetBit(*message.mutable_sets()->mutable_dead(), kVictim);
      WitnessAnew(world, *message.mutable_sets());
    }
    if (message.has_signatures() && to.id > world.device(19).id) {
      // The victim is not alive in this story.
      auto& list = *message.mutable_signatures()->mutable_signatures();
      for (int i = 0; i < list.size(); ++i) {
        if (list[i].member() == kVictim) list.DeleteSubrange(i, 1);
      }
    }
    return true;
  };
  world.Run();
  EXPECT_THAT(world.finished, SizeIs(0));
  for (int i = 0; i < world.size(); ++i) {
    ExpectLeft(world, i, "neighbors signed the sets");
  }
}

TEST(UnmaskingAttackTest, BothKindsOfShareAreNotGivenOneAfterTheOther) {
  SessionWorld world({});
  // After its answer the victim is told that a member died.
  Lie(world, [&](v1::SecaggServerMessage& message) {
    if (!message.has_signatures()) return;
    world.Deliver(world.device(kVictim), message);
    v1::SecaggServerMessage second;
    v1::SecaggSetsMessage& sets = *second.mutable_sets();
    sets.set_session(message.signatures().session());
    MemberSet alive(20), dead(20);
    for (uint32_t i = 0; i < 20; ++i) (i == 7 ? dead : alive).Insert(i);
    sets.set_alive(alive.bytes());
    sets.set_dead(dead.bytes());
    message = second;
  });
  const WorldDevice& victim = world.device(kVictim);
  EXPECT_EQ(victim.finished->outcome, Outcome::kLeft);
  EXPECT_EQ(std::count_if(victim.sent.begin(), victim.sent.end(),
                          [](const auto& m) { return m.has_unmask(); }),
            0);
}

TEST(UnmaskingAttackTest, BothKindsOfShareAreNotGivenAcrossARestart) {
  SessionWorld world({});
  bool lied = false;
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (&to != &world.device(kVictim) || !message.has_signatures() || lied) {
      return true;
    }
    lied = true;
    // It signed; then it crashes, and another story is waiting.
    EXPECT_THAT(world.Restart(to), IsOk());
    v1::SecaggServerMessage second;
    v1::SecaggSetsMessage& sets = *second.mutable_sets();
    sets.set_session(message.signatures().session());
    MemberSet alive(20), dead(20);
    for (uint32_t i = 0; i < 20; ++i) (i == 7 ? dead : alive).Insert(i);
    sets.set_alive(alive.bytes());
    sets.set_dead(dead.bytes());
    world.Deliver(to, second);
    return false;
  };
  world.Run();
  ExpectLeft(world, kVictim, "signed before the restart");
}

TEST(UnmaskingAttackTest, TooFewSignaturesReleaseNothing) {
  SessionWorld world({.devices = 20});
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (!message.has_signatures()) return;
    auto& list = *message.mutable_signatures()->mutable_signatures();
    list.DeleteSubrange(0, list.size() - 5);
  });
  ExpectLeft(world, kVictim, "only 5 neighbors signed");
}

TEST(UnmaskingAttackTest, ForgedSignaturesDoNotCount) {
  SessionWorld world({.devices = 20});
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (!message.has_signatures()) return;
    for (auto& entry : *message.mutable_signatures()->mutable_signatures()) {
      entry.mutable_signature()->back() ^= 1;
    }
  });
  ExpectLeft(world, kVictim, "only 0 neighbors signed");
}

TEST(UnmaskingAttackTest, BoxesKeptBackAreNoticed) {
  SessionWorld world({.devices = 20});
  // One is missing, which an honest loss would look like until the sets come.
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (!message.has_boxes()) return;
    MemberEntries boxes = BoxesIn(message.boxes());
    boxes.erase(std::next(boxes.begin(), 7));
    PutBoxes(boxes, *message.mutable_boxes());
  });
  ExpectLeft(world, kVictim, "its box was kept back");
}

TEST(UnmaskingAttackTest, TooFewBoxesEndTheSession) {
  SessionWorld world({.devices = 20});
  Lie(world, [](v1::SecaggServerMessage& message) {
    if (!message.has_boxes()) return;
    MemberEntries boxes = BoxesIn(message.boxes());
    while (boxes.size() > 3) boxes.erase(boxes.begin());
    PutBoxes(boxes, *message.mutable_boxes());
  });
  ExpectLeft(world, kVictim, "boxes of 3 neighbors");
  EXPECT_THAT(world.device(kVictim).uploads, SizeIs(0));
}

TEST(UnmaskingAttackTest, ABoxForAnotherDeviceDoesNotOpen) {
  SessionWorld world({.devices = 20});
  std::string stolen;
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (!message.has_boxes()) return true;
    MemberEntries boxes = BoxesIn(message.boxes());
    if (&to == &world.device(0)) {
      stolen = boxes.at(10);
    } else if (&to == &world.device(kVictim)) {
      boxes.at(10) = stolen;  // of the same sender, to another device
      PutBoxes(boxes, *message.mutable_boxes());
    }
    return true;
  };
  world.Run();
  // Its mask is applied, nothing is released for it, and the rest suffices.
  world.ExpectExactSum();
  EXPECT_THAT(world.finished[0].counted, SizeIs(20));
  EXPECT_EQ(world.device(kVictim).client->boxes_refused(), 1);
}

// Recovering a lost device's mask key opens none of the boxes sent to it: their
// keys come from its transport key, which is not shared.
TEST(UnmaskingAttackTest, ARecoveredDevicesBoxesStayClosed) {
  SessionWorld world({.devices = 20});
  world.device(kVictim).stops_before = Step::kMaskedInput;
  MemberEntries boxes_to_victim;
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (message.has_boxes() && &to == &world.device(kVictim)) {
      boxes_to_victim = BoxesIn(message.boxes());
    }
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  ASSERT_THAT(boxes_to_victim, SizeIs(19));
  // What the server has: the shares that were released, and all leaves.
  std::vector<ShareIndex> holders;
  std::vector<ShareValue> values;
  std::vector<const ShareValue*> pointers;
  const uint32_t threshold = world.server().group(0)->parameters().threshold;
  for (uint32_t i = 0; i < 20 && holders.size() < threshold; ++i) {
    for (const auto& message : world.device(i).sent) {
      const MemberEntries shares = SharesIn(message.unmask());
      if (!shares.contains(kVictim)) continue;
      holders.push_back(ShareIndex::OfMember(i));
      values.push_back(*ParseShareValue(shares.at(kVictim)));
    }
  }
  for (const ShareValue& value : values) pointers.push_back(&value);
  const MaskSeed seed =
      *LagrangeWeights::Create(holders)->Reconstruct(pointers);
  const Digest session = world.server().group(0)->session();
  int tried = 0;
  for (const KeyRole role : {KeyRole::kMask, KeyRole::kTransport}) {
    auto key = *AgreementKeyPair::FromSeed(AgreementSuite::kX25519, seed, role);
    for (const auto& [from, box] : boxes_to_victim) {
      v1::SignedSecaggLeaf outer;
      v1::SecaggLeaf leaf;
      ASSERT_TRUE(
          outer.ParseFromString(world.device(from).sent[0].advertise().leaf()));
      ASSERT_TRUE(leaf.ParseFromString(outer.leaf()));
      for (const std::string& encoded :
           {leaf.mask_public_key(), leaf.transport_public_key()}) {
        const ShareBoxKeys keys =
            key.Agree(
                   *AgreementPublicKey::Parse(encoded, AgreementSuite::kX25519))
                ->DeriveShareBoxKeys({session, kVictim, from});
        for (const ShareBoxKey* box_key : {&keys.open, &keys.seal}) {
          EXPECT_THAT(OpenShares(CipherSuite::kAes128Ctr, *box_key,
                                 {session, from, kVictim}, box),
                      StatusIs(absl::StatusCode::kUnauthenticated));
          ++tried;
        }
      }
    }
  }
  EXPECT_EQ(tried, 2 * 19 * 4);
}

TEST(UnmaskingAttackTest, ALateMaskedInputOfADeadDeviceIsThrownAway) {
  SessionWorld world({.devices = 20});
  std::function<void()> deliver_late;
  world.upload = [&](WorldDevice& from, std::string& bytes) {
    if (&from != &world.device(kVictim)) return true;
    deliver_late = [&world, bytes] {
      const ServerReaction reaction = world.server().OnMaskedInput(
          world.now(), DeviceId(world.device(kVictim).id),
          world.server().group(0)->session(), Sha256Of(bytes), bytes);
      EXPECT_THAT(reaction.status,
                  StatusIs(absl::StatusCode::kFailedPrecondition,
                           HasSubstr("thrown away")));
      for (const ServerEffect& effect : reaction.effects) {
        EXPECT_TRUE(std::holds_alternative<WakeServerAt>(effect));
      }
    };
    return false;
  };
  int late = 0;
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (message.has_sets() || message.has_signatures() ||
        message.has_outcome()) {
      if (&to == &world.device(0)) {
        deliver_late();
        ++late;
      }
      // Its neighbours gave shares of its mask key, never of its self-mask.
    }
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  EXPECT_EQ(late, 3);
  EXPECT_THAT(world.finished[0].counted, SizeIs(19));
  EXPECT_EQ(world.device(kVictim).finished->outcome, Outcome::kNotCounted);
  EXPECT_TRUE(world.device(kVictim).finished->update_spent);
}

}  // namespace
}  // namespace mledge::secagg
