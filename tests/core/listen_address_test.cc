#include "mledge/core/listen_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mledge/core/strings.h"
#include "mledge/tests/support/status_matchers.h"

namespace mledge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ListenAddressTest, TakesNamesAndNumbersOfHosts) {
  for (const char* text :
       {"localhost:0", "0.0.0.0:7443", "[::1]:65535", "edge.example:1"}) {
    const auto address = ListenAddress::Parse("listen", text);
    ASSERT_THAT(address, IsOk()) << text;
    EXPECT_EQ(address->ToString(), text);
  }
  EXPECT_EQ(ListenAddress::Parse("listen", "[::1]:80")->host, "[::1]");
}

TEST(ListenAddressTest, WhatIsNoAddressIsRefusedWithItsField) {
  for (const char* text : {"", ":", "7443", ":7443", "localhost", "host:port",
                           "host:70000", "host:-1", "host:"}) {
    EXPECT_THAT(ListenAddress::Parse("enroll_listen", text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("enroll_listen"),
                               HasSubstr(StrCat("'", text, "'")))))
        << text;
  }
}

TEST(ListenAddressTest, AnAddressInUseIsTold) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in bound = {};
  bound.sin_family = AF_INET;
  bound.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(bound);
  auto* const address = reinterpret_cast<sockaddr*>(&bound);
  ASSERT_EQ(bind(fd, address, size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, address, &size), 0);
  const std::string text = StrCat("127.0.0.1:", ntohs(bound.sin_port));
  EXPECT_THAT(WhyNotListening("listen", *ListenAddress::Parse("listen", text)),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr(text), HasSubstr("in use"),
                             HasSubstr("`listen`"))));
  close(fd);
}

// As on a system without /etc/hosts, where even "localhost" is unknown.
TEST(ListenAddressTest, AHostThatIsUnknownIsNamed) {
  EXPECT_THAT(WhyNotListening("listen", {.host = "no-such-host.invalid"}),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("'no-such-host.invalid': ")));
}

}  // namespace
}  // namespace mledge
