#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/tests/aggregation/secagg/lying_server.h"
#include "mledge/tests/support/status_matchers.h"

// A server that lies about who takes part. Each test is one lie.

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using Outcome = ClientFinished::Outcome;

TEST(MembershipAttackTest, ASwappedKeyIsNoticed) {
  SessionWorld world({});
  Lie(world, [&](v1::SecaggServerMessage& message) {
    if (!message.has_directory()) return;
    auto& entry = *message.mutable_directory()->mutable_leaves(2);
    v1::SignedSecaggLeaf outer;
    v1::SecaggLeaf leaf;
    ASSERT_TRUE(outer.ParseFromString(entry.leaf()));
    ASSERT_TRUE(leaf.ParseFromString(outer.leaf()));
    leaf.mutable_mask_public_key()->back() ^= 1;
    outer.set_leaf(leaf.SerializeAsString());
    entry.set_leaf(outer.SerializeAsString());
  });
  ExpectLeft(world, kVictim, "signature of device");
}

// The same lie told to everybody, under a root that the registrar witnessed.
TEST(MembershipAttackTest, ASwappedKeyUnderAWitnessedRootIsNoticed) {
  SessionWorld world({});
  world.ServerBelievesEverybody();
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    if (!message.has_advertise() || &from != &world.device(kVictim)) {
      return true;
    }
    v1::SignedSecaggLeaf outer;
    v1::SecaggLeaf leaf;
    EXPECT_TRUE(outer.ParseFromString(message.advertise().leaf()));
    EXPECT_TRUE(leaf.ParseFromString(outer.leaf()));
    leaf.mutable_mask_public_key()->back() ^= 1;
    outer.set_leaf(leaf.SerializeAsString());
    message.mutable_advertise()->set_leaf(outer.SerializeAsString());
    return true;
  };
  world.Run();
  ExpectLeft(world, kVictim, "own leaf");
  ExpectLeft(world, 0, "signature of device");
  EXPECT_THAT(world.finished, SizeIs(0));
}

TEST(MembershipAttackTest, AnUnsignedLeafIsNoticed) {
  SessionWorld world({});
  world.ServerBelievesEverybody();
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    if (!message.has_advertise() || &from != &world.device(kVictim)) {
      return true;
    }
    v1::SignedSecaggLeaf outer;
    EXPECT_TRUE(outer.ParseFromString(message.advertise().leaf()));
    outer.clear_signature();
    message.mutable_advertise()->set_leaf(outer.SerializeAsString());
    return true;
  };
  world.Run();
  ExpectLeft(world, 0, "signature of device");
}

void ForgeSignature(v1::SecaggAdvertise& message) {
  v1::SignedSecaggLeaf outer;
  EXPECT_TRUE(outer.ParseFromString(message.leaf()));
  outer.set_signature("forged");
  message.set_leaf(outer.SerializeAsString());
}

TEST(MembershipAttackTest, AWrongSignatureAmongManyCostsOnlyItsSender) {
  // With a pool the server verifies signatures together.
  ThreadPool pool(1);
  SessionWorld world({.devices = 12, .pool = &pool});
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    if (!message.has_advertise() || &from != &world.device(kVictim)) {
      return true;
    }
    ForgeSignature(*message.mutable_advertise());
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  ASSERT_EQ(world.finished.size(), 1u);
  EXPECT_EQ(world.finished[0].counted.size(), 11u);
  for (const DeviceId& device : world.finished[0].counted) {
    EXPECT_NE(device.value(), world.device(kVictim).id);
  }
}

// The same where the deadline closes the advertising: one device is silent, and
// fewer signatures wait than are verified at a time.
TEST(MembershipAttackTest, AWrongSignatureIsFoundWhenTheDeadlineComes) {
  ThreadPool pool(1);
  SessionWorld world({.devices = 12, .pool = &pool});
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    if (!message.has_advertise()) return true;
    if (&from == &world.device(kVictim + 1)) return false;
    if (&from != &world.device(kVictim)) return true;
    ForgeSignature(*message.mutable_advertise());
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  ASSERT_EQ(world.finished.size(), 1u);
  EXPECT_EQ(world.finished[0].counted.size(), 10u);
}

// Replaces one device's identity with one from `pki` and has a lying server
// take it into the directory.
void JoinWith(SessionWorld& world, const TestPki& pki, Role role) {
  const PrivateKey key = PrivateKey::Generate();
  IssueOptions options{.identity = {role, world.device(kVictim).id},
                       .now = world.now(),
                       .validity = absl::Hours(1000)};
  if (role == Role::kCoordinator) options.hosts = {"localhost"};
  const Certificate certificate =
      pki.registrar().Issue(key.public_key(), options).value();
  class Impostor final : public MemberSigner {
   public:
    Impostor(std::string id, std::string certificate, PrivateKey key)
        : id_(std::move(id)), certificates_({certificate}), key_(key) {}
    const std::string& id() const override { return id_; }
    const std::vector<std::string>& certificates() const override {
      return certificates_;
    }
    std::string Sign(std::string_view message) const override {
      return key_.Sign(message);
    }

   private:
    std::string id_;
    std::vector<std::string> certificates_;
    PrivateKey key_;
  };
  world.device(kVictim).signer = std::make_unique<Impostor>(
      world.device(kVictim).id, certificate.ToDer(), key);
  world.ServerBelievesEverybody();
}

TEST(MembershipAttackTest, AForeignCertificateIsNoMember) {
  SessionWorld world({});
  const TestPki foreign(world.now(), "foreign");
  JoinWith(world, foreign, Role::kDevice);
  world.Run();
  ExpectLeft(world, 0, "does not lead to the trusted root");
}

// A coordinator that made itself a registrar of the same name.
TEST(MembershipAttackTest, ACertificateThatTheCoordinatorMadeIsNoMember) {
  SessionWorld world({});
  const TestPki own(world.now(), "test");
  JoinWith(world, own, Role::kDevice);
  world.Run();
  ExpectLeft(world, 0, "certificate");
}

TEST(MembershipAttackTest, ACoordinatorsCertificateIsNoDevices) {
  SessionWorld world({});
  JoinWith(world, world.pki(), Role::kCoordinator);
  world.Run();
  ExpectLeft(world, 0, "is no device");
}

TEST(MembershipAttackTest, ACohortPaddedWithInventedDevicesIsNoticed) {
  SessionWorld world({.devices = 20});
  world.ServerBelievesEverybody();
  // They exist nowhere but in the server's mind.
  for (int i = 10; i < 20; ++i) {
    world.device(i).signer =
        std::make_unique<UnauthenticatedSigner>(world.device(i).id);
  }
  world.Run();
  for (int i = 0; i < 10; ++i) ExpectLeft(world, i, "certificate");
}

TEST(MembershipAttackTest, TheHonestServerRefusesAllOfThem) {
  SessionWorld world({.devices = 20, .dropout_fraction = 0.15});
  world.device(1).signer =
      std::make_unique<UnauthenticatedSigner>(world.device(1).id);
  // Another device's leaf.
  world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
    if (message.has_advertise() && &from == &world.device(5)) {
      *message.mutable_advertise() = world.device(3).sent[0].advertise();
    }
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  ASSERT_THAT(world.refused, SizeIs(2));
  EXPECT_EQ(world.refused[0].first, world.device(1).id);
  EXPECT_THAT(world.refused[1].second,
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("sent by device-00005")));
  EXPECT_THAT(world.finished[0].counted, SizeIs(18));
}

TEST(MembershipAttackTest, ARevokedDeviceIsNoMember) {
  SessionWorld world({});
  v1::RevocationList list;
  list.add_identities("mledge://device/" + world.device(kVictim).id);
  world.UseRevocationList(list);
  world.ServerBelievesEverybody();
  world.Run();
  ExpectLeft(world, 0, "revoked");
}

TEST(MembershipAttackTest, AnOlderRevocationListDoesNotComeBack) {
  SessionWorld world({});
  const auto list = [&](uint64_t number, bool revokes) {
    v1::RevocationList message;
    message.set_number(number);
    message.set_issued_unix_milliseconds(absl::ToUnixMillis(world.now()));
    message.set_fresh_until_unix_milliseconds(
        absl::ToUnixMillis(world.now() + absl::Hours(1)));
    if (revokes) {
      message.add_identities("mledge://device/" + world.device(kVictim).id);
    }
    return *RevocationList::Parse(
        RevocationList::Sign(message, world.pki().registrar()),
        world.pki().root().certificate(), world.now(), 0);
  };
  CertificateMembers members(world.pki().root().certificate(),
                             {world.pki().registrar().certificate()},
                             list(5, true), absl::Hours(1));
  const auto& certificates = world.device(kVictim).signer->certificates();
  EXPECT_THAT(members.SetRevocationList(list(4, false)),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("older than list 5")));
  EXPECT_THAT(members.Identify(certificates, world.now()),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(members.SetRevocationList(list(5, false)), IsOk());
  EXPECT_THAT(members.SetRevocationList(list(6, false)), IsOk());
  EXPECT_THAT(members.Identify(certificates, world.now()), IsOk());
}

TEST(MembershipAttackTest, AStaleRevocationListIsWorthNothing) {
  SessionWorld world({});
  world.UseRevocationList({}, absl::Hours(25));
  world.ServerBelievesEverybody();
  world.Run();
  for (int i = 0; i < world.size(); ++i) {
    ASSERT_TRUE(world.device(i).finished.has_value());
    EXPECT_EQ(world.device(i).finished->outcome, Outcome::kLeft);
    EXPECT_EQ(world.device(i).finished->reason.code(),
              absl::StatusCode::kFailedPrecondition);
  }
}

// Everything that X25519 answers with zero.
TEST(MembershipAttackTest, KeysOfSmallOrderAreRefusedByBothSides) {
  for (const bool lying : {false, true}) {
    SessionWorld world({.devices = 20});
    world.to_server = [&](WorldDevice& from, v1::SecaggDeviceMessage& message) {
      if (!message.has_advertise() || &from != &world.device(kVictim)) {
        return true;
      }
      v1::SignedSecaggLeaf outer;
      v1::SecaggLeaf leaf;
      EXPECT_TRUE(outer.ParseFromString(message.advertise().leaf()));
      EXPECT_TRUE(leaf.ParseFromString(outer.leaf()));
      leaf.set_mask_public_key(std::string(1, '\x01') + std::string(32, '\0'));
      outer.set_leaf(leaf.SerializeAsString());
      outer.set_signature(from.signer->Sign(SignedBytes(
          kLeafContext, {world.offer().hash.ToBytes(), outer.leaf()})));
      message.mutable_advertise()->set_leaf(outer.SerializeAsString());
      return true;
    };
    if (lying) {
      // Shown to a neighbor by a server that does not look.
      world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
        if (!message.has_directory() || &to != &world.device(0)) return true;
        auto& entry = *message.mutable_directory()->mutable_leaves(2);
        v1::SignedSecaggLeaf outer;
        v1::SecaggLeaf leaf;
        EXPECT_TRUE(outer.ParseFromString(entry.leaf()));
        EXPECT_TRUE(leaf.ParseFromString(outer.leaf()));
        leaf.set_transport_public_key(std::string(1, '\x01') +
                                      std::string(32, '\0'));
        outer.set_leaf(leaf.SerializeAsString());
        entry.set_leaf(outer.SerializeAsString());
        return true;
      };
    }
    world.Run();
    ASSERT_FALSE(world.refused.empty());
    EXPECT_THAT(
        world.refused[0].second,
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("small order")));
    if (lying) ExpectLeft(world, 0, "small order");
  }
}

}  // namespace
}  // namespace mledge::secagg
