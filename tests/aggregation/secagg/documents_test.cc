#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "mledge/aggregation/secagg/directory.h"
#include "mledge/aggregation/secagg/member_set.h"
#include "mledge/aggregation/secagg/offer.h"
#include "mledge/aggregation/secagg/transcript.h"
#include "mledge/tests/aggregation/secagg/session_world.h"
#include "mledge/tests/support/status_matchers.h"

// Offers, directories, sets and what is hashed and signed: one test for each
// kind of bad value.

namespace mledge::secagg {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

v1::SecaggOffer GoodOffer() {
  static const v1::SecaggOffer offer =
      SessionWorld({.devices = 3}).offer_message;
  return offer;
}

struct BadOffer {
  const char* name;
  std::function<void(v1::SecaggOffer&)> damage;
  const char* message;
};

class BadOfferTest : public ::testing::TestWithParam<BadOffer> {};

TEST_P(BadOfferTest, IsRefusedByName) {
  v1::SecaggOffer offer = GoodOffer();
  ASSERT_THAT(Offer::Make(offer), IsOk());
  GetParam().damage(offer);
  const absl::StatusOr<Offer> parsed = Offer::Make(offer);
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(parsed.status().message()),
              HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadOfferTest,
    ::testing::Values(
        BadOffer{"Version", [](auto& o) { o.set_protocol_version(2); },
                 "version 2"},
        BadOffer{"Suite", [](auto& o) { o.set_agreement_suite(2); }, "P-256"},
        BadOffer{"Cipher", [](auto& o) { o.set_cipher_suite(99); }, ""},
        BadOffer{"Number", [](auto& o) { o.set_session_number(0); },
                 "session_number"},
        BadOffer{"Task", [](auto& o) { o.set_task_sha256("short"); },
                 "task_sha256"},
        BadOffer{"OtherTask",
                 [](auto& o) { o.set_task_sha256(std::string(32, 'x')); },
                 "another task"},
        BadOffer{"Package", [](auto& o) { o.clear_package_sha256(); },
                 "package_sha256"},
        BadOffer{"NoLog", [](auto& o) { o.clear_version_log(); }, ""},
        BadOffer{"LogEntry",
                 [](auto& o) { o.set_entries(0, std::string(32, 'x')); },
                 "version log"},
        BadOffer{"LogEntries", [](auto& o) { o.clear_entries(); }, "entries"},
        BadOffer{"Staleness", [](auto& o) { o.set_maximum_staleness(1001); },
                 "maximum_staleness"},
        BadOffer{"Corrupt", [](auto& o) { o.set_corrupt_ppm(1'000'000); },
                 "corrupt_ppm"},
        BadOffer{"Devices", [](auto& o) { o.set_least_devices(2); },
                 "least_devices"},
        BadOffer{"Alive", [](auto& o) { o.set_least_alive(0); }, "least_alive"},
        BadOffer{"NoSections", [](auto& o) { o.clear_sections(); }, "sections"},
        BadOffer{"EmptySection",
                 [](auto& o) { o.mutable_sections(0)->set_length(0); },
                 "sections"},
        BadOffer{"HugeSection",
                 [](auto& o) { o.mutable_sections(0)->set_length(1ull << 60); },
                 "sections"},
        BadOffer{"Modulus",
                 [](auto& o) { o.mutable_sections(0)->set_modulus_bits(33); },
                 "sections"},
        BadOffer{"Expiry", [](auto& o) { o.set_expires_unix_milliseconds(-1); },
                 "expires"},
        BadOffer{"Nonce", [](auto& o) { o.clear_nonce(); }, "nonce"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(OfferTest, HasOneSpelling) {
  const std::string bytes = GoodOffer().SerializeAsString();
  EXPECT_THAT(Offer::Parse(bytes), IsOk());
  // An unknown field, and a known one that is written twice.
  EXPECT_THAT(Offer::Parse(bytes + "\xf8\x07\x01"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Offer::Parse(bytes + bytes),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Offer::Parse(""), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(Offer::Parse(std::string(300'000, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

v1::SecaggDirectory GoodDirectory() {
  v1::SecaggDirectory directory;
  directory.set_offer_sha256(std::string(32, 'o'));
  directory.set_merkle_root(std::string(32, 'r'));
  directory.set_devices(41);
  directory.set_groups(2);
  for (const uint32_t size : {21, 20}) {
    auto& group = *directory.add_parameters();
    group.set_devices(size);
    group.set_neighbors(10);
    group.set_threshold(7);
    group.set_least_alive(18);
  }
  auto& versions = *directory.add_versions();
  versions.set_version(3);
  versions.set_devices(41);
  return directory;
}

TEST(DirectoryTest, IsRefusedWhereItsNumbersDoNotFit) {
  ASSERT_THAT(Directory::Make(GoodDirectory()), IsOk());
  using Damage = std::function<void(v1::SecaggDirectory&)>;
  const std::vector<Damage> damages = {
      [](auto& d) { d.clear_offer_sha256(); },
      [](auto& d) { d.clear_merkle_root(); },
      [](auto& d) { d.set_devices(0); },
      [](auto& d) { d.set_devices(42); },
      [](auto& d) { d.set_devices(4'000'000'000); },
      [](auto& d) { d.set_groups(0); },
      [](auto& d) { d.set_groups(42); },
      [](auto& d) { d.set_groups(1); },
      [](auto& d) { d.mutable_parameters()->RemoveLast(); },
      [](auto& d) { d.mutable_parameters(0)->set_devices(20); },
      [](auto& d) { d.mutable_parameters(0)->set_neighbors(21); },
      [](auto& d) { d.mutable_parameters(0)->set_neighbors(11); },
      [](auto& d) { d.mutable_parameters(0)->set_neighbors(0); },
      [](auto& d) { d.mutable_parameters(1)->set_threshold(11); },
      [](auto& d) { d.mutable_parameters(1)->set_threshold(0); },
      [](auto& d) { d.mutable_parameters(1)->set_least_alive(21); },
      [](auto& d) { d.mutable_parameters(1)->set_least_alive(0); },
      [](auto& d) { d.clear_versions(); },
      [](auto& d) { d.mutable_versions(0)->set_devices(40); },
      [](auto& d) { d.add_versions()->set_version(4); },
      [](auto& d) { *d.add_versions() = d.versions(0); }};
  for (size_t i = 0; i < damages.size(); ++i) {
    v1::SecaggDirectory directory = GoodDirectory();
    damages[i](directory);
    EXPECT_THAT(Directory::Make(directory),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << i;
  }
}

TEST(GroupsTest, CoverEverybodyOnceAndDependOnTheWitnessAlone) {
  const auto groups = DivideIntoGroups(1003, 7, "signature");
  ASSERT_THAT(groups, SizeIs(7));
  std::vector<int> seen(1003);
  for (const auto& group : groups) {
    EXPECT_GE(group.size(), 143u);
    EXPECT_LE(group.size(), 144u);
    EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
    for (const uint32_t member : group) ++seen[member];
  }
  EXPECT_EQ(seen, std::vector<int>(1003, 1));
  EXPECT_EQ(DivideIntoGroups(1003, 7, "signature"), groups);
  EXPECT_NE(DivideIntoGroups(1003, 7, "another signature"), groups);
}

TEST(MemberSetTest, ReadsOnlyWhatItWouldWrite) {
  MemberSet set(11);
  set.Insert(0);
  set.Insert(10);
  EXPECT_EQ(set.bytes(), std::string("\x01\x04", 2));
  EXPECT_THAT(MemberSet::FromBytes("x", set.bytes(), 11), IsOkAndHolds(set));
  EXPECT_EQ(set.ToVector(), (std::vector<uint32_t>{0, 10}));
  for (const char* bad : {"", "\x01", "\x01\x04\x01", "\x01\x08", "\x01\x80"}) {
    EXPECT_THAT(MemberSet::FromBytes("x", bad, 11),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(TranscriptTest, FieldsDoNotRunIntoEachOther) {
  EXPECT_NE(SignedBytes("sets", {"ab", "c"}), SignedBytes("sets", {"a", "bc"}));
  EXPECT_NE(SignedBytes("sets", {"a"}), SignedBytes("leaf", {"a"}));
  EXPECT_NE(SessionId("ab", "c", 0), SessionId("a", "bc", 0));
  EXPECT_NE(SessionId("a", "b", 0), SessionId("a", "b", 1));
}

// Pinned: devices and coordinators of different builds must agree.
TEST(TranscriptTest, Vectors) {
  EXPECT_EQ(SessionId("offer", "directory", 3).ToHex(),
            Sha256()
                .UpdateField("mledge/v1/secagg/session")
                .UpdateField("offer")
                .UpdateField("directory")
                .UpdateU64(3)
                .Finish()
                .ToHex());
  EXPECT_EQ(SignedBytes("sets", {"a"}),
            std::string("mledge/v1/secagg\0\0\0\0\0\0\0\0\4sets"
                        "\0\0\0\0\0\0\0\1a",
                        16 + 1 + 8 + 4 + 8 + 1));
}

}  // namespace
}  // namespace mledge::secagg
