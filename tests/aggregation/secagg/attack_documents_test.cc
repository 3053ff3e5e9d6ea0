#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/core/strings.h"
#include "mledge/tests/aggregation/secagg/lying_server.h"
#include "mledge/tests/support/status_matchers.h"

// A server that lies about numbers, models, sessions and groups. Each test is
// one lie.

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using Outcome = ClientFinished::Outcome;

TEST(DocumentAttackTest, ALoweredThresholdIsRefused) {
  SessionWorld world(
      {.devices = 20, .fixed_neighbors = 19, .fixed_threshold = 10});
  world.Run();
  for (int i = 0; i < world.size(); ++i) {
    ExpectLeft(world, i, "threshold");
    EXPECT_FALSE(world.device(i).finished->update_spent);
  }
}

TEST(DocumentAttackTest, AThresholdJustAboveHalfIsRefusedBeforehand) {
  // γ = 0.1; with t = 58 a server with two stories gets both seeds of a device.
  SecaggPolicy policy;
  EXPECT_THAT(CheckParameters(1000, 114, 58, 900, policy),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  // t = 78 holds against two stories about one device, and not against one
  // story that cuts the circle.
  EXPECT_THAT(CheckParameters(1000, 114, 78, 900, policy),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  policy.losses = LossChoice::kIndependent;
  EXPECT_THAT(CheckParameters(1000, 114, 78, 900, policy), IsOk());
  policy.losses = LossChoice::kAdversarial;
  EXPECT_THAT(CheckParameters(1000, 124, 86, 900, policy), IsOk());
}

TEST(DocumentAttackTest, ParametersOfTheSemiHonestModelNeedTheDevicesConsent) {
  SessionWorld world({.devices = 20,
                      .threat_model = ThreatModel::kSemiHonest,
                      .graph = GraphKind::kFull});
  world.policy.session.threat_model = ThreatModel::kSemiMalicious;
  world.Run();
  for (int i = 0; i < world.size(); ++i) ExpectLeft(world, i, "threshold");
}

TEST(DocumentAttackTest, ASmallCohortIsRefused) {
  SessionWorld world({.devices = 20});
  world.policy.session.least_clients = 21;
  world.Run();
  for (int i = 0; i < world.size(); ++i) ExpectLeft(world, i, "21");
}

TEST(DocumentAttackTest, AFloorThatIsTooLowIsRefused) {
  SessionWorld world({.devices = 20});
  world.policy.session.least_alive = 19;  // the session promises 18
  world.Run();
  for (int i = 0; i < world.size(); ++i) ExpectLeft(world, i, "19");
}

TEST(DocumentAttackTest, ADirectoryThatNobodyWitnessedIsRefused) {
  SessionWorld world({});
  const WitnessKey own = [&] {
    SystemSecretRandom random;
    return WitnessKey::Generate(random);
  }();
  world.witness = [&](WitnessStatement& statement) { statement.Sign(own); };
  world.Run();
  for (int i = 0; i < world.size(); ++i) ExpectLeft(world, i, "directory");
}

TEST(DocumentAttackTest, AWitnessOfAnotherSessionIsRefused) {
  SessionWorld world({});
  Lie(world, [&](v1::SecaggServerMessage& message) {
    if (!message.has_directory()) return;
    WitnessStatement other =
        *WitnessStatement::FromProto(message.directory().witness());
    other.session_number += 1;
    other.Sign(world.registrar());
    *message.mutable_directory()->mutable_witness() = other.ToProto();
  });
  ExpectLeft(world, kVictim, "about something else");
}

TEST(DocumentAttackTest, AnOldWitnessIsRefused) {
  SessionWorld world({});
  world.witness = [&](WitnessStatement& statement) {
    statement.time -= absl::Hours(2);
    statement.Sign(world.registrar());
  };
  world.Run();
  ExpectLeft(world, kVictim, "which is not now");
}

TEST(DocumentAttackTest, ASecondDirectoryInOneSessionIsRefused) {
  SessionWorld world({});
  Lie(world, [&](v1::SecaggServerMessage& message) {
    if (!message.has_directory()) return;
    v1::SecaggServerMessage second = message;
    v1::SecaggDirectory directory;
    ASSERT_TRUE(directory.ParseFromString(message.directory().directory()));
    directory.mutable_merkle_root()->front() ^= 1;
    second.mutable_directory()->set_directory(directory.SerializeAsString());
    WitnessStatement statement =
        *WitnessStatement::FromProto(message.directory().witness());
    statement.directory = Sha256Of(second.directory().directory());
    statement.Sign(world.registrar());  // even a registrar that signs it
    *second.mutable_directory()->mutable_witness() = statement.ToProto();
    world.Deliver(world.device(kVictim), message);
    message = second;
  });
  ExpectLeft(world, kVictim, "a second message");
}

TEST(DocumentAttackTest, AReplayedSessionIsRefused) {
  SessionWorld world({});
  world.Run();
  world.ExpectExactSum();
  WorldDevice& device = world.device(kVictim);
  EXPECT_EQ(device.finished->outcome, Outcome::kCounted);
  // A new update, and the old offer.
  device.client.reset();
  ClientUpdate update = world.UpdateOf(device);
  update.id = "another update";
  CertificateMembers members(
      world.pki().root().certificate(), {world.pki().registrar().certificate()},
      *RevocationList::Parse(
          RevocationList::Sign(
              [&] {
                v1::RevocationList list;
                list.set_number(1);
                list.set_issued_unix_milliseconds(
                    absl::ToUnixMillis(world.now()));
                list.set_fresh_until_unix_milliseconds(
                    absl::ToUnixMillis(world.now() + absl::Hours(1)));
                return list;
              }(),
              world.pki().registrar()),
          world.pki().root().certificate(), world.now(), 0),
      absl::Hours(1));
  SystemSecretRandom random;
  auto client = SecaggClient::Create(
      world.policy, std::move(update),
      {device.signer.get(), &members, &random, world.registrar().public_key()},
      device.journal, nullptr);
  ASSERT_THAT(client, IsOk());
  v1::SecaggServerMessage offer;
  offer.mutable_offer()->set_offer(world.offer().bytes);
  const ClientEffects effects = (*client)->OnMessage(world.now(), offer);
  const auto& left = std::get<ClientFinished>(effects.back());
  EXPECT_EQ(left.outcome, Outcome::kLeft);
  EXPECT_THAT(left.reason.message(), HasSubstr("not above the last one"));
}

TEST(DocumentAttackTest, AnUpdateEntersNoSecondSession) {
  // Whether the first one succeeded, or its end was hidden from the device.
  for (const bool succeeded : {true, false}) {
    SessionWorld world({.devices = 20});
    if (!succeeded) {
      for (int i = 10; i < 20; ++i) {
        world.device(i).stops_before = Step::kUnmask;
      }
    }
    world.Run();
    WorldDevice& device = world.device(kVictim);
    ASSERT_TRUE(device.finished->update_spent);
    EXPECT_THAT(world.MakeClient(device),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("enters no other")));
  }
}

// Not only the last one is remembered.
TEST(DocumentAttackTest, NoUpdateOfADayEntersASecondSession) {
  SessionWorld world({.devices = 12, .identities = false});
  world.Run();
  const std::string journal = world.device(kVictim).journal;
  SessionWorld next({.devices = 12, .identities = false, .session_number = 8});
  WorldDevice& device = next.device(kVictim);
  device.journal = journal;
  ClientUpdate update = next.UpdateOf(device);
  update.id = "a newer update";
  SystemSecretRandom random;
  UnauthenticatedMembers members;
  const auto make = [&](std::string id) {
    ClientUpdate renamed = update;
    renamed.id = std::move(id);
    return SecaggClient::Create(
        next.policy, std::move(renamed),
        {device.signer.get(), &members, &random, next.registrar().public_key()},
        device.journal, nullptr);
  };
  auto client = make("a newer update");
  ASSERT_THAT(client, IsOk());
  device.client = *std::move(client);
  next.Run();
  next.ExpectExactSum();
  const auto refused = StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("enters no other"));
  EXPECT_THAT(make("a newer update"), refused);
  EXPECT_THAT(make(StrCat("update-of-", device.id)), refused);
  EXPECT_THAT(make("another one"), IsOk());
}

TEST(DocumentAttackTest, SpentUpdatesAreForgottenInOrderAndNotWithoutBound) {
  SessionWorld world({.devices = 12});
  v1::SecaggJournal journal;
  for (int i = 0; i < 300; ++i) {
    journal.add_spent_updates(StrCat("old ", i));
  }
  world.device(kVictim).journal = journal.SerializeAsString();
  world.Run();
  world.ExpectExactSum();
  ASSERT_TRUE(journal.ParseFromString(world.device(kVictim).journal));
  ASSERT_THAT(journal.spent_updates(), SizeIs(256));
  EXPECT_EQ(journal.spent_updates(254), "old 299");
  EXPECT_EQ(journal.spent_updates(255),
            StrCat("update-of-", world.device(kVictim).id));
}

TEST(DocumentAttackTest, AnUpdateWithAnEndlessNameIsRefused) {
  SessionWorld world({.devices = 12});
  WorldDevice& device = world.device(kVictim);
  ClientUpdate update = world.UpdateOf(device);
  update.id = std::string(257, 'u');
  SystemSecretRandom random;
  UnauthenticatedMembers members;
  EXPECT_THAT(SecaggClient::Create(world.policy, std::move(update),
                                   {device.signer.get(), &members, &random,
                                    world.registrar().public_key()},
                                   "", nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(DocumentAttackTest, AnUpdateIsNotOfferedTwiceWithinOneProcess) {
  SessionWorld world({});
  Lie(world, [&](v1::SecaggServerMessage& message) {
    if (!message.has_sets()) return;
    v1::SecaggOffer offer = world.offer_message;
    offer.set_session_number(100);
    message.mutable_offer()->set_offer(offer.SerializeAsString());
  });
  ExpectLeft(world, kVictim, "a second message");
}

TEST(DocumentAttackTest, ASecondMaskedInputAfterARestartIsNotMade) {
  SessionWorld world({});
  absl::Status restarted;
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (&to == &world.device(kVictim) && message.has_sets()) {
      to.masked_input = nullptr;  // the disk lost it
      restarted = world.Restart(to);
      to.stopped = true;
    }
    return true;
  };
  world.Run();
  EXPECT_THAT(restarted, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(world.device(kVictim).uploads, SizeIs(1));
}

TEST(DocumentAttackTest, ADeviceThatRestartsAfterItsSharesLeavesTheSession) {
  SessionWorld world({});
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (&to == &world.device(kVictim) && message.has_boxes() &&
        !to.finished.has_value()) {
      EXPECT_THAT(world.Restart(to), IsOk());
    }
    return true;
  };
  world.Run();
  world.ExpectExactSum();
  EXPECT_THAT(world.device(kVictim).uploads, SizeIs(0));
  EXPECT_THAT(world.finished[0].counted, SizeIs(19));
  EXPECT_FALSE(world.device(kVictim).finished->update_spent);
}

TEST(DocumentAttackTest, DevicesWithAnotherModelDoNotTakePart) {
  SessionWorld world({.dropout_fraction = 0.1});
  WorldDevice& device = world.device(kVictim);
  ASSERT_THAT(world.MakeClient(device), IsOk());
  ClientUpdate update = world.UpdateOf(device);
  update.base_version_entry = Sha256Of("a model made for this device");
  // The offer speaks of the version that everybody else has.
  SystemSecretRandom random;
  UnauthenticatedMembers members;
  device.client = *SecaggClient::Create(
      world.policy, std::move(update),
      {device.signer.get(), &members, &random, world.registrar().public_key()},
      "", nullptr);
  world.Run();
  ExpectLeft(world, kVictim, "is not the model that this device was given");
  world.ExpectExactSum();
}

// Two offers, one for each model: no key of one session is one of the other's.
TEST(DocumentAttackTest, MasksOfDifferentOffersDoNotCancel) {
  SystemSecretRandom random;
  auto a = *AgreementKeyPair::FromSeed(
      AgreementSuite::kX25519, MaskSeed::Generate(random), KeyRole::kMask);
  auto b = *AgreementKeyPair::FromSeed(
      AgreementSuite::kX25519, MaskSeed::Generate(random), KeyRole::kMask);
  const Digest one = SessionId("offer with model 1", "directory", 0);
  const Digest two = SessionId("offer with model 2", "directory", 0);
  const auto mask = [](AgreementKeyPair& own, const AgreementKeyPair& peer,
                       const Digest& session, uint32_t i, uint32_t j) {
    return own.Agree(peer.public_key())->DeriveMaskSeed({session, i, j});
  };
  EXPECT_TRUE(mask(a, b, one, 0, 1).EqualsConstantTime(mask(b, a, one, 1, 0)));
  EXPECT_FALSE(mask(a, b, one, 0, 1).EqualsConstantTime(mask(b, a, two, 1, 0)));
}

TEST(DocumentAttackTest, AVersionLogThatTheRegistrarDidNotSignIsRefused) {
  SessionWorld world({});
  const WitnessKey own = [] {
    SystemSecretRandom random;
    return WitnessKey::Generate(random);
  }();
  VersionLogHead head =
      *VersionLogHead::FromProto(world.offer_message.version_log());
  head.Sign(own);
  *world.offer_message.mutable_version_log() = head.ToProto();
  world.Run();
  for (int i = 0; i < world.size(); ++i) ExpectLeft(world, i, "version log");
}

// The victim trained from a version that the others do not have yet, which is
// allowed.
struct VictimAhead {
  explicit VictimAhead(SessionWorld& world) {
    const Digest task = Sha256Of("task");
    VersionLogHead head =
        *VersionLogHead::FromProto(world.offer_message.version_log());
    head.head = ExtendVersionLog(task, 1, head.head, Sha256Of("version 1"));
    head.length = 2;
    head.Sign(world.registrar());
    *world.offer_message.mutable_version_log() = head.ToProto();
    world.offer_message.add_entries(Sha256Of("version 1").ToBytes());
    world.offer_message.set_maximum_staleness(1);
    WorldDevice& device = world.device(kVictim);
    ClientUpdate update = world.UpdateOf(device);
    update.base_version = 1;
    update.base_version_entry = Sha256Of("version 1");
    device.client =
        *SecaggClient::Create(world.policy, std::move(update),
                              {device.signer.get(), &members, &random,
                               world.registrar().public_key()},
                              "", nullptr);
  }

  SystemSecretRandom random;
  UnauthenticatedMembers members;
};

// Buffered cohorts: who alone has a base version would be alone in the sum.
TEST(DocumentAttackTest, ABaseVersionThatNobodySharesIsRefused) {
  SessionWorld world({.devices = 20, .identities = false});
  const VictimAhead ahead(world);
  world.Run();
  ExpectLeft(world, kVictim, "only 1 devices have base version 1");
  world.ExpectExactSum();
  EXPECT_THAT(world.finished[0].counted, SizeIs(19));
  EXPECT_THAT(world.finished[0].base_versions, ::testing::Each(0u));
}

// The same, with a directory in which the numbers are exchanged, and a
// registrar that signs it: the leaves say otherwise.
TEST(DocumentAttackTest, FalseCountsOfBaseVersionsAreRefused) {
  SessionWorld world({.devices = 20, .identities = false});
  const VictimAhead ahead(world);
  Lie(world, [&](v1::SecaggServerMessage& message) {
    if (!message.has_directory()) return;
    v1::SecaggDirectoryMessage& shown = *message.mutable_directory();
    v1::SecaggDirectory directory;
    ASSERT_TRUE(directory.ParseFromString(shown.directory()));
    ASSERT_EQ(directory.versions_size(), 2);
    directory.mutable_versions(0)->set_devices(1);
    directory.mutable_versions(1)->set_devices(19);
    shown.set_directory(directory.SerializeAsString());
    WitnessStatement statement = *WitnessStatement::FromProto(shown.witness());
    statement.directory = Sha256Of(shown.directory());
    statement.Sign(world.registrar());
    *shown.mutable_witness() = statement.ToProto();
  });
  ExpectLeft(world, kVictim, "are not those of its leaves");
}

TEST(DocumentAttackTest, GroupsThatTheServerChoseAreRefused) {
  SessionWorld world({.devices = 50, .least_devices = 10, .largest_group = 25});
  // The victim is shown the leaves of the other group, with their true paths.
  v1::SecaggServerMessage first;
  world.to_device = [&](WorldDevice& to, v1::SecaggServerMessage& message) {
    if (!message.has_directory()) return true;
    const ServerGroup* const other = world.server().group(1);
    const bool in_first =
        std::none_of(other->devices().begin(), other->devices().end(),
                     [&](const DeviceId& id) { return id.value() == to.id; });
    if (in_first) {
      first = message;
      return true;
    }
    if (first.has_directory()) {
      *message.mutable_directory()->mutable_leaves() =
          first.directory().leaves();
    }
    return true;
  };
  world.Run();
  int left = 0;
  for (int i = 0; i < world.size(); ++i) {
    const auto& finished = world.device(i).finished;
    left += finished.has_value() && finished->outcome == Outcome::kLeft;
  }
  EXPECT_EQ(left, 25);
}

}  // namespace
}  // namespace mledge::secagg
