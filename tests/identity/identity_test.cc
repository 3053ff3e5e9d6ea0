#include "mledge/identity/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::HasSubstr;

TEST(RoleTest, NamesRoundTrip) {
  for (const Role role : kAllRoles) {
    EXPECT_THAT(ParseRole(ToString(role)), IsOkAndHolds(role));
  }
}

TEST(RoleTest, UnknownNameListsTheRoles) {
  EXPECT_THAT(ParseRole("Device"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model-signer, evaluator, device")));
}

TEST(IdentityTest, UriRoundTrips) {
  for (const Role role : kAllRoles) {
    const Identity identity{role, "A.b_c-9"};
    EXPECT_THAT(Identity::FromUri(identity.ToUri()), IsOkAndHolds(identity));
  }
  EXPECT_EQ((Identity{Role::kModelSigner, "eve"}).ToUri(),
            "mledge://model-signer/eve");
}

class MalformedUriTest : public ::testing::TestWithParam<std::string> {};

TEST_P(MalformedUriTest, IsRefused) {
  EXPECT_THAT(
      Identity::FromUri(GetParam()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("identity: ")));
}

INSTANTIATE_TEST_SUITE_P(
    Uris, MalformedUriTest,
    ::testing::Values("", "device/device-1", "http://device/device-1",
                      "MLEDGE://device/device-1", "mledge://",
                      "mledge://device", "mledge://device/",
                      "mledge:///device-1", "mledge://Device/device-1",
                      "mledge://devices/device-1", "mledge://device/a/b",
                      "mledge://device/a?b", "mledge://device/a%20b",
                      "mledge://device/.hidden", "mledge://device/../root",
                      " mledge://device/a", "mledge://device/a ",
                      "mledge://user@device/a", "mledge://device:1/a",
                      "mledge://device/" + std::string(129, 'a'),
                      std::string("mledge://device/a\0b", 19)));

}  // namespace
}  // namespace mledge
